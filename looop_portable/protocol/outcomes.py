"""What the verbs answer. Values, not exceptions: each of these is an expected result.

They are named tuples, here and elsewhere, because every start of the command makes their classes: 0.2 ms each, where a
frozen dataclass takes 1.2 ms.
"""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.protocol.liveness import Verdict, time_to_live
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.protocol.standings import Standing
from looop_portable.typed import NamedTuple

__all__ = [
    "Broken",
    "Checked",
    "End",
    "Held",
    "OnWaiting",
    "Reaped",
    "Refused",
    "Released",
    "Renewed",
    "Retired",
    "SessionStatus",
    "Status",
    "Superseded",
    "Sweep",
    "Won",
]


def no_lease() -> dict[str, object]:
    """What `Lease.as_dict` would say of one that is not there."""
    return dict.fromkeys(("session", "incarnation", "claimed_at", "host", "note", "readers"))


def no_verdict() -> dict[str, object]:
    """What `Verdict.as_dict` would say of one that is not there."""
    return dict.fromkeys(("liveness", "evidence", "basis", "evidence_age", "until"))


def _held(outcome: str, lease: Lease, generation: int, **more: object) -> dict[str, object]:
    return {"outcome": outcome, "name": lease.name, "generation": generation, **lease.as_dict(), **more}


def _failures(failed: tuple[tuple[str, str], ...]) -> list[dict[str, object]]:
    return [{"name": name or None, "message": reason} for name, reason in failed]


class Won(NamedTuple):
    """The claim is ours from now on. `previous` is the lease that we took over, and `verdict` on what evidence."""

    lease: Lease
    previous: Lease | None = None
    verdict: Verdict | None = None

    @property
    def generation(self) -> int:
        return self.lease.generation

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json. `previous` is the session that we took over from."""
        return _held("won", self.lease, self.generation, previous=self.previous.session if self.previous else None)


class Renewed(NamedTuple):
    """The claim was ours already. Nothing was written."""

    lease: Lease

    @property
    def generation(self) -> int:
        return self.lease.generation

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        return _held("renewed", self.lease, self.generation, previous=None)


class Held(NamedTuple):
    """Another session holds the claim. It lives, or is not known to be dead."""

    lease: Lease
    verdict: Verdict

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        return _held("held", self.lease, self.lease.generation, **self.verdict.as_dict())


class HeldInLine(Held):
    """The same, for one who waits in line. `place`: 1 is the next."""

    place = 1

    @classmethod
    def of(cls, held: Held, place: int) -> HeldInLine:
        found = cls(*held)
        found.place = place
        return found


OnWaiting = Callable[[Held, float], object]
"""Called with whoever holds what is waited for, and for how many seconds that has been waited."""


class Released(NamedTuple):
    """The claim is free. `generation` is the one that says so; `previous` the lease that ended, if one did now."""

    name: str
    generation: int
    previous: Lease | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        return {"outcome": "released", "name": self.name, "generation": self.generation}


class Refused(NamedTuple):
    """Nothing was released: another session holds the claim, or a newer generation than the one named does."""

    lease: Lease
    verdict: Verdict

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        return _held("refused", self.lease, self.lease.generation, **self.verdict.as_dict())


class Retired(NamedTuple):
    """A session has ended, and what it held is released. `stopped`: it had not ended before.

    `failed` holds (claim, reason) for what could not be released (an empty name: what it held could not be listed). The
    session has ended all the same, so the next claimer takes such a claim over at once.
    """

    stopped: bool
    released: tuple[Released, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        outcome, names = "stopped" if self.stopped else "ended_before", [each.name for each in self.released]
        return {"outcome": outcome, "released": names, "failed": _failures(self.failed)}


class Checked(NamedTuple):
    """Whether a generation is current and held. `head` is the claim's latest; `lease` the current one, if any.

    Where several share the claim, the generation of each is current: the one at which he joined. `head` may be greater.

    Does not guarantee: that it is the one that was meant. In a store that was restored from a backup, or put in another's
    place, the same number may be somebody else's: `is_still` and `is_held_by` compare the holder too.
    """

    name: str
    generation: int
    head: int
    lease: Lease | None

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        outcome, lease = "current" if self.current else "superseded", self.lease.as_dict() if self.lease else no_lease()
        return {"outcome": outcome, "name": self.name, "generation": self.generation, "head": self.head, **lease}

    @property
    def current(self) -> bool:
        lease = self.lease
        return lease is not None and self.generation == (lease.generation if lease.readers else self.head)

    def is_held_by(self, holder: Holder) -> bool:
        """Whether it is current, and that of `holder`. A lease that looop wrote names no incarnation."""
        lease = self.lease
        known = lease is not None and lease.session == holder.session and lease.incarnation in ("", holder.incarnation)
        return self.current and known

    def is_still(self, lease: Lease) -> bool:
        """Whether that is `lease`. In a store that was removed and made anew, its number may be another's."""
        return self.current and self.lease is not None and self.lease[:3] == lease[:3]


class Broken(NamedTuple):
    """A claim was released by an operator's word. `previous` is the lease that ended."""

    previous: Lease
    generation: int

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        return _held("broken", self.previous, self.generation)


class Superseded(NamedTuple):
    """Nothing was broken: the generation named is not the one that holds the claim. `head` is."""

    name: str
    head: int
    lease: Lease | None

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        lease = self.lease.as_dict() if self.lease else no_lease()
        return {"outcome": "superseded", "name": self.name, "generation": self.head, **lease}


class End(NamedTuple):
    """How a holder came to its end that has not let go itself, as the events of its claims say it: `died`, `lost`."""

    event: str
    evidence: str


class Status(NamedTuple):
    """One claim as `list` and `show` tell it. `verdict` is None when the claim is not held."""

    name: str
    generation: int
    lease: Lease | None
    verdict: Verdict | None
    standing: Standing

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        lease = self.lease.as_dict() if self.lease else no_lease()
        verdict = self.verdict.as_dict() if self.verdict else no_verdict()
        outcome = "held" if self.lease else "free"
        return {"outcome": outcome, "name": self.name, "generation": self.generation, **lease, **verdict}


class Reaped(NamedTuple):
    """A claim whose session is gone, released by the reaper. `generation` is the release; `lease` the one that ended."""

    lease: Lease
    verdict: Verdict
    generation: int

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        return _held("reaped", self.lease, self.generation, **self.verdict.as_dict())


class Sweep(NamedTuple):
    """What one sweep of the reaper did, or of `Claims.prune`: `pruned` has each name, and at which generation.

    `skipped` is the reason why nothing could be judged, or empty. `failed` holds (claim, reason) for claims that could
    not be read or released; the others were swept all the same.
    """

    reaped: tuple[Reaped, ...] = ()
    kept: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    skipped: str = ""
    dry_run: bool = False
    pruned: tuple[tuple[str, int], ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For JSON. What `reaped` and `pruned` have was only found, where `dry_run` is true."""
        return {
            "reaped": [each.as_dict() for each in self.reaped],
            "kept": self.kept,
            "failed": _failures(self.failed),
            "skipped": self.skipped or None,
            "dry_run": self.dry_run,
            "pruned": [{"name": name, "generation": generation} for name, generation in self.pruned],
        }


class SessionStatus(NamedTuple):
    """One session, and whether it is alive."""

    registration: Registration
    verdict: Verdict

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json. `lease`: for how many seconds it may be silent; 0: it promises nothing.

        `ttl`: for how many seconds it lives after a renewal, if it lives by time; `until`: when that is over.
        """
        found = self.registration
        return {
            "outcome": "session",
            "session": found.session,
            "incarnation": found.incarnation or None,
            "pid": found.pid or None,
            "host": found.host or None,
            "started_at": found.started_at or None,
            "lease": found.lease_seconds,
            "ttl": int(time_to_live(found.lease_seconds)) if found.timed else None,
            "user": found.user or None,
            "command": found.command or None,
            **self.verdict.as_dict(),
        }
