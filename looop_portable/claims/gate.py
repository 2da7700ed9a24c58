"""Claiming, releasing, reaping: the one place that sequences read, judge, advance.

Guarantees: at most one live session holds a claim, whatever crashes, stalls or races. A verb that returns has happened. A
verb that raises `Unavailable` may have happened, and can be repeated: what is ours already is answered as `Renewed`.
Does not guarantee: anything about a holder that is told to let go (`break_claim`, or its session stopped) and works on.
It has the generation, which grows with each transition, for whoever it writes to: refuse a lower one than was seen.
How: read the head (generation g), gather evidence about its session, judge (pure), and publish g+1 or answer. Losing g+1
means that somebody else has moved the claim: read again.
"""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.backends.base import Backend, HolderSigns
from looop_portable.claims.events import Events, by_whom
from looop_portable.claims.judging import Judging, Verdicts
from looop_portable.claims.retiring import Steps, retire
from looop_portable.config import PathLike, resolve
from looop_portable.errors import LooopError, moved
from looop_portable.protocol.liveness import Basis, Liveness, Verdict
from looop_portable.protocol.names import as_note, canonical, refuse_longer
from looop_portable.protocol.outcomes import (
    Broken,
    Checked,
    End,
    Held,
    Reaped,
    Refused,
    Released,
    Renewed,
    Retired,
    Status,
    Superseded,
    Sweep,
    Won,
)
from looop_portable.protocol.records import Head, Holder, Judged, Lease
from looop_portable.protocol.standings import NOBODY, TABLE, Standing, advances
from looop_portable.sessions.ids import named
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.clock import timestamp
from looop_portable.system.processes import host
from looop_portable.system.watch.announcing import Announcements

__all__ = ["Claims"]
_TRIES, _MOST = 256, 1000


class Claims(Judging):
    """The claims in one store, as this process sees them. Safe to use from several threads. No `events`: no log."""

    def __init__(
        self,
        backend: Backend,
        events: Events | None = None,
        sessions: Sessions | None = None,
        clock: Callable[[], str] = timestamp,
    ) -> None:
        super().__init__(backend, sessions or Sessions(backend.sessions))
        self.events = events
        if events:
            self.sessions.tell = events.tell_session
        self._clock = clock
        self.won: dict[tuple[str, Holder], Lease] = {}
        """What this process has won, and not released. It may have been superseded."""
        self.tried: dict[tuple[str, Holder], Lease] = {}
        """What it may have won: an error, or an interruption, came in its way. The latest, `_MOST` at most."""
        self.announcements = Announcements(backend.directory.stamps if backend.directory else f"{id(backend)}")
        """What was released is told to those of this process who wait for it: they need no kernel for that."""

    @classmethod
    def open(cls, data_dir: PathLike | None = None, backend: str | None = None) -> Claims:
        """The claims in `data_dir` (else $LOOOP_DATA_DIR, else the user's state directory), on that backend.

        `backend`: a name or a URL. Touches nothing. Raises `NoSuchBackend`, or `UsageError` for what cannot be one.
        """
        from looop_portable.backends import open_backend

        config = resolve(data_dir, backend)
        events = None if config.backend == "memory" else Events(config.events)
        return cls(open_backend(config.backend, config.data_dir), events)

    def claim(self, name: str, session: str | Holder | None = None, *, note: str = "") -> Won | Renewed | Held:
        """Claim `name` for `session` (else $LOOOP_SESSION_ID).

        `note`: what others are to know who are refused; `Renewed` keeps the one that it has. Never waits. Raises
        `InvalidName`, `NoSession`, or `Unavailable`.
        """
        name, me = canonical(name), session if isinstance(session, Holder) else self.acting(session)
        note = as_note(note) if note else ""
        recalled = self.backend.recall(name)
        for _ in range(_TRIES):
            (head, seen), recalled = (recalled, None) if recalled else self.backend.look(name), None
            lease, standing, verdict = self._judge(head, me, seen=seen)
            if lease and not advances(TABLE[standing].claim):
                return Renewed(lease) if standing is Standing.OURS else Held(lease, verdict)
            if lease and not self._final(lease, verdict):
                continue
            new = Lease(name, me.session, me.incarnation, head.generation + 1, self._clock(), host(), note=note)
            try:
                if self.backend.advance(name, Judged(head.generation, lease) if lease else head.generation, new):
                    self.won[name, me] = new
                    self._record_won(new, lease, verdict)
                    return Won(new, lease, verdict if lease else None)
            except BaseException:
                if len(self.tried) >= _MOST:
                    self.tried.pop(next(iter(self.tried)), None)
                self.tried[name, me] = new
                raise
        raise moved(name, _TRIES)

    def refused(self, head: Head, me: Holder, verdicts: Verdicts) -> Held | None:
        """Held, if `claim` would be refused by this head. `verdicts`: of the sessions whose leases were all read before."""
        lease, standing, verdict = self._judge(head, me, verdicts)
        return Held(lease, verdict) if lease and standing is Standing.HELD else None

    def release(self, name: str, session: str | Holder | None = None) -> Released | Refused:
        """Release `name`, if it is held by `session` or by nobody alive. A free claim is released already.

        Raises as `claim` does.
        """
        name, me = canonical(name), self.acting(session)
        won = self.won.pop((name, me), None)
        if won:  # Its generation says all; only if that is no longer the latest, there is something to be read.
            outcome = self.release_lease(won)
            if isinstance(outcome, Released):
                return outcome
        for _ in range(_TRIES):
            head, seen = self.backend.look(name)
            lease, standing, verdict = self._judge(head, me, seen=seen)
            if lease is None:
                return Released(name, head.generation)
            if not advances(TABLE[standing].unclaim):
                return Refused(lease, verdict)
            if self._final(lease, verdict) and self.backend.advance(name, Judged(head.generation, lease), None):
                died = verdict.dead and verdict.basis not in (Basis.NOTHING, Basis.REGISTRATION)
                self._record_end(lease, End("died", verdict.evidence) if died else None)
                self.announcements.announce(name)
                return Released(name, head.generation + 1, lease)
        raise moved(name, _TRIES)

    def release_lease(self, lease: Lease) -> Released | Refused:
        """Release exactly `lease`, which this caller won. Its generation identifies it, so nothing is read first.

        Refused: it has been superseded, by an operator's `break` or because its session was declared dead.
        """
        self.won.pop((lease.name, Holder(lease.session, lease.incarnation)), None)
        if self.backend.advance(lease.name, Judged(lease.generation, lease), None):
            self._record_end(lease)
            self.announcements.announce(lease.name)
            return Released(lease.name, lease.generation + 1, lease)
        head = self.backend.read(lease.name)
        if head.lease is None and head.generation == lease.generation + 1:
            return Released(lease.name, head.generation, lease)  # The reply was lost, or somebody else let go for us.
        current = head.lease or Lease(lease.name, "", generation=head.generation)
        return Refused(current, Verdict(Liveness.UNKNOWN, f"generation {lease.generation} has been superseded"))

    def retire(self, holder: Holder) -> Retired:
        """End the session `holder`, and release all that it holds, so that nobody has to find out that it is gone.

        Its end comes first: it claims nothing more that counts. Repeated, it releases what was left. Raises as
        `Sessions.stop` does; what fails after that is in the result, and does not keep the others from being released.
        Raises `NotEnded` if its end could not be published: on a full disk, where a release needs no room, and that does.
        """
        won = [lease for (_, who), lease in list(self.won.items()) if who == holder]
        return retire(self.backend, self.sessions, Steps(self._judge, self._release_own, self.release_lease), holder, won)

    def _release_own(self, lease: Lease) -> Released | None:
        """As `release_lease`, for a lease that may be superseded since long. Then None, and nothing is read."""
        self.won.pop((lease.name, Holder(lease.session, lease.incarnation)), None)
        if not self.backend.advance(lease.name, Judged(lease.generation, lease), None):
            return None
        self._record_end(lease)
        self.announcements.announce(lease.name)
        return Released(lease.name, lease.generation + 1, lease)

    def transfer(self, name: str, to: str | Holder, session: str | Holder | None = None) -> Won | Renewed | Refused:
        """Hand `name`, which `session` holds, to the session `to`: it holds the next generation. `Renewed`: it is the same.

        In one step: never free in between, and never held by both. Does not guarantee: that `to` knows of it, or that it
        still lives. Raises `NoSession` if it is not registered, `SessionEnded` if it is dead, or as `claim` does.
        """
        from looop_portable.sessions.receiving import receiver

        name, me = canonical(name), self.acting(session)
        for _ in range(_TRIES):
            head = self.backend.read(name)
            lease, standing, verdict = self._judge(head, me)
            if lease is None or standing is not Standing.OURS:
                return Refused(lease or Lease(name, "", generation=head.generation), verdict)
            other, where = receiver(self.sessions, to)
            if other == me:
                return Renewed(lease)
            new = Lease(name, *other, head.generation + 1, self._clock(), where)
            if self.backend.advance(name, Judged(head.generation, lease), new):
                self.won.pop((name, me), None)
                self._record("transferred", new, new.generation, previous=lease.session)
                self.announcements.announce(name)
                return Won(new, lease, verdict)
        raise moved(name, _TRIES)

    def check(self, name: str, generation: int) -> Checked:
        """Whether `generation` is current and held, read afresh."""
        name = canonical(name)
        head = self.backend.read(name)
        lease = self._judge(head, NOBODY)[0] if head.over else head.lease
        return Checked(name, generation, head.generation, lease)

    def show(self, name: str) -> Status:
        """One claim, and whether its holder is alive."""
        name = canonical(name)
        return self._shown(name, *self.backend.look(name))

    def _shown(self, name: str, head: Head, seen: HolderSigns | None = None, verdicts: Verdicts | None = None) -> Status:
        lease, standing, verdict = self._judge(head, NOBODY, verdicts, seen)
        return Status(name, head.generation, lease, verdict if lease else None, standing)

    def list(self) -> list[Status]:
        """Every claim that is held. One that cannot be read has no lease and an UNKNOWN verdict that says why."""
        from looop_portable.claims.scanning import each_judged

        found = list(self.backend.scan())
        verdicts = each_judged(found, self.sessions.verdict)
        return [status for name, head in found if (status := self._status(name, head, verdicts))]

    def break_claim(self, name: str, generation: int, reason: str) -> Broken | Superseded:
        """Release `name` whoever holds it, if `generation` is the one that does. For operators: the holder is not told."""
        name = canonical(name)
        refuse_longer(reason, "reason")
        head = self.backend.read(name)
        lease = head.lease if head.generation == generation else None
        if lease and self.backend.advance(name, Judged(generation, lease), None):
            self._record("broken", lease, generation + 1, reason=reason, **by_whom())
            self.announcements.announce(name)
            return Broken(lease, generation + 1)
        head = self.backend.read(name)
        if lease and head.lease is None and head.generation == generation + 1:
            return Broken(lease, head.generation)  # The reply was lost, or its holder let go of it just now.
        return Superseded(name, head.generation, head.lease)

    def reap(self, dry_run: bool = False, say: Callable[[str], object] | None = None) -> Sweep:
        """One sweep of the reaper: release every claim whose session is gone, and remove what crashes left behind."""
        from looop_portable.claims.reaper import sweep

        return sweep(self.backend, self.sessions, self._reap_claim, dry_run, say)

    def prune(self, older_than: float, dry_run: bool = False, say: Callable[[str], object] = str) -> Sweep:
        """Forget the names that are free and were not used for so many seconds: see `Backend.prune`. Never raises."""
        return self.backend.prune(older_than, dry_run=dry_run, say=say)

    def _reap_claim(self, name: str, verdicts: Verdicts, dry_run: bool, head: Head | None = None) -> Reaped | None:
        """Release `name` if its session is gone; None if it is kept, as its `head` may tell. `verdicts`: of this sweep."""
        if head and not advances(TABLE[self._judge(head, NOBODY, verdicts)[1]].reap):
            return None
        head = self.backend.read(name)  # Who is to lose it is read once more: looop may have come in between.
        lease, standing, verdict = self._judge(head, NOBODY, verdicts)
        if lease is None or not advances(TABLE[standing].reap):
            return None
        if not dry_run:
            if not (self._final(lease, verdict) and self.backend.advance(name, Judged(head.generation, lease), None)):
                return None  # Somebody has moved it since: it is theirs now. Or its session came back.
            self._record("claim_reaped", lease, head.generation + 1, evidence=verdict.evidence)
            self.announcements.announce(name)
        return Reaped(lease, verdict, head.generation + 1)

    def _status(self, name: str, head: Head | None, verdicts: Verdicts) -> Status | None:
        try:
            status = self._shown(name, head, None, verdicts) if head else self.show(name)
        except LooopError as error:
            return Status(name, 0, Lease(name, ""), Verdict(Liveness.UNKNOWN, str(error)), Standing.HELD)
        return status if status.lease else None

    def acting(self, session: str | Holder | None) -> Holder:
        """Who acts: `session`, else $LOOOP_SESSION_ID, in its current incarnation. Raises `NoSession`."""
        if isinstance(session, Holder):
            return session
        return self.sessions.holder(named(session))

    def note(self, event: str, lease: Lease, **fields: str) -> None:
        """What has happened to a claim without a change of it, for the log."""
        self._record(event, lease, lease.generation, **fields)

    def _record_won(self, lease: Lease, previous: Lease | None, verdict: Verdict) -> None:
        more = {"previous": previous.session, "evidence": verdict.evidence} if previous else {}
        self._record("taken_over" if previous else "claimed", lease, lease.generation, **more)

    def _record_end(self, lease: Lease, end: End | None = None) -> None:
        if not self.events:
            return
        if ends := self.events.ends:
            end = end or ends.get(Holder(lease.session, lease.incarnation))
        more = {"evidence": end.evidence} if end else {}
        self._record(end.event if end else "released", lease, lease.generation + 1, **more)

    def _record(self, event: str, lease: Lease, generation: int, **fields: str) -> None:
        if self.events:
            if lease.note:
                fields["note"] = lease.note
            self.events.emit(event, lease.name, session=lease.session, generation=generation, **fields)
