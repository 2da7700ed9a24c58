"""What the verbs answer. Values, not exceptions: each of these is an expected result.

They are named tuples, here and elsewhere, because every start of the command makes their classes: 0.2 ms each, where a
frozen dataclass takes 1.2 ms.
"""

from collections.abc import Callable
from typing import NamedTuple

from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.standings import Standing

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
    "Status",
    "Superseded",
    "Sweep",
    "Won",
]


class Won(NamedTuple):
    """The claim is ours from now on. `previous` is the lease that we took over, and `verdict` on what evidence."""

    lease: Lease
    previous: Lease | None = None
    verdict: Verdict | None = None

    @property
    def generation(self) -> int:
        return self.lease.generation


class Renewed(NamedTuple):
    """The claim was ours already. Nothing was written."""

    lease: Lease

    @property
    def generation(self) -> int:
        return self.lease.generation


class Held(NamedTuple):
    """Another session holds the claim. It lives, or is not known to be dead."""

    lease: Lease
    verdict: Verdict


OnWaiting = Callable[[Held, float], object]
"""Called with whoever holds what is waited for, and for how many seconds that has been waited."""


class Released(NamedTuple):
    """The claim is free. `generation` is the one that says so; `previous` the lease that ended, if one did now."""

    name: str
    generation: int
    previous: Lease | None = None


class Refused(NamedTuple):
    """Nothing was released: another session holds the claim, or a newer generation than the one named does."""

    lease: Lease
    verdict: Verdict


class Retired(NamedTuple):
    """A session has ended, and what it held is released. `stopped`: it had not ended before.

    `failed` holds (claim, reason) for what could not be released (an empty name: what it held could not be listed). The
    session has ended all the same, so the next claimer takes such a claim over at once.
    """

    stopped: bool
    released: tuple[Released, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


class Checked(NamedTuple):
    """Whether a generation is current and held. `head` is the claim's latest; `lease` the current one, if any.

    Does not guarantee: that it is the one that was meant. In a store that was restored from a backup, or put in another's
    place, the same number may be somebody else's: `is_still` and `is_held_by` compare the holder too.
    """

    name: str
    generation: int
    head: int
    lease: Lease | None

    @property
    def current(self) -> bool:
        return self.lease is not None and self.head == self.generation

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


class Superseded(NamedTuple):
    """Nothing was broken: the generation named is not the one that holds the claim. `head` is."""

    name: str
    head: int
    lease: Lease | None


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


class Reaped(NamedTuple):
    """A claim whose session is gone, released by the reaper. `generation` is the release; `lease` the one that ended."""

    lease: Lease
    verdict: Verdict
    generation: int


class Sweep(NamedTuple):
    """What one sweep of the reaper did.

    `skipped` is the reason why nothing could be judged, or empty. `failed` holds (claim, reason) for claims that could
    not be read or released; the others were swept all the same.
    """

    reaped: tuple[Reaped, ...] = ()
    kept: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    skipped: str = ""
    dry_run: bool = False
