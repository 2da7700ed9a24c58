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

from looop_portable.backends.base import Backend
from looop_portable.claims.events import Events, by_whom
from looop_portable.claims.judging import Verdicts
from looop_portable.claims.retiring import Steps, retire
from looop_portable.claims.sharing import SHARES_IT, TRIES, Share, Sharing
from looop_portable.config import PathLike, resolve
from looop_portable.errors import UsageError, moved
from looop_portable.protocol.liveness import Basis, Liveness, Verdict
from looop_portable.protocol.names import as_note, canonical, refuse_longer
from looop_portable.protocol.outcomes import (
    Broken,
    End,
    Held,
    Reaped,
    Refused,
    Released,
    Renewed,
    Retired,
    Superseded,
    Sweep,
    Won,
)
from looop_portable.protocol.records import Head, Holder, Judged, Lease
from looop_portable.protocol.standings import NOBODY, TABLE, Standing, advances
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.clock import timestamp
from looop_portable.system.processes import host

__all__ = ["Claims"]


class Claims(Sharing):
    """The claims in one store, as this process sees them. Safe to use from several threads. No `events`: no log."""

    def __init__(
        self,
        backend: Backend,
        events: Events | None = None,
        sessions: Sessions | None = None,
        clock: Callable[[], str] = timestamp,
    ) -> None:
        super().__init__(backend, events, sessions or Sessions(backend.sessions), clock)

    @classmethod
    def open(cls, data_dir: PathLike | None = None, backend: str | None = None) -> Claims:
        """The claims in `data_dir` (else $LOOOP_DATA_DIR, else the user's state directory), on that backend.

        `backend`: a name or a URL. Touches nothing. Raises `NoSuchBackend`, or `UsageError` for what cannot be one.
        """
        from looop_portable.backends import open_backend

        config = resolve(data_dir, backend)
        events = None if config.backend == "memory" else Events(config.events)
        return cls(open_backend(config.backend, config.data_dir), events)

    def claim(
        self, name: str, session: str | Holder | None = None, *, note: str = "", shared: bool | Share = False
    ) -> Won | Renewed | Held:
        """Claim `name` for `session` (else $LOOOP_SESSION_ID): alone or, if `shared`, beside all who share it (`sharing`).

        `note`: what others are to know who are refused; `Renewed` keeps the one that it has. Never waits. Who shares it is
        refused it alone until he has left. Raises `InvalidName`, `NoSession`, or `Unavailable`.
        """
        name, me = canonical(name), session if isinstance(session, Holder) else self.acting(session)
        note = as_note(note) if note else ""
        if shared:
            return self._claim_shared(name, me, note, shared if isinstance(shared, Share) else Share())
        recalled = self.backend.recall(name)
        for _ in range(TRIES):
            (head, seen), recalled = (recalled, None) if recalled else self.backend.look(name), None
            lease, standing, verdict = self._judge(head, me, seen=seen)
            if lease and not advances(TABLE[standing].claim):
                if standing is Standing.OURS:
                    return Held(lease, SHARES_IT) if lease.readers else Renewed(lease)
                return Held(lease, verdict)
            if lease and not self._final(lease, verdict):
                continue
            new = Lease(name, me.session, me.incarnation, head.generation + 1, self._clock(), host(), note=note)
            if self._publish(head.generation, lease, new, me):
                self._record_won(new, lease, verdict)
                return Won(new, lease, verdict if lease else None)
        raise moved(name, TRIES)

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
        for _ in range(TRIES):
            head, seen = self.backend.look(name)
            lease, standing, verdict = self._judge(head, me, seen=seen)
            if lease is None:
                return Released(name, head.generation)
            if lease.readers and standing is Standing.OURS:
                if left := self._leave(name, lambda each: each[:2] == me):
                    return left
                continue
            if not advances(TABLE[standing].unclaim):
                return Refused(lease, verdict)
            if self._final(lease, verdict) and self.backend.advance(name, Judged(head.generation, lease), None):
                died = verdict.dead and verdict.basis not in (Basis.NOTHING, Basis.REGISTRATION)
                self._record_end(lease, head.generation + 1, End("died", verdict.evidence) if died else None)
                self.announcements.announce(name)
                return Released(name, head.generation + 1, lease)
        raise moved(name, TRIES)

    def release_lease(self, lease: Lease) -> Released | Refused:
        """Release exactly `lease`, which this caller won. Its generation identifies it, so nothing is read first.

        Refused: it has been superseded, by an operator's `break` or because its session was declared dead.
        """
        if released := self._release_own(lease):
            return released
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
        return retire(self.backend, self.sessions, Steps(self._judge, self._release_own, self._release_all_of), holder, won)

    def _release_all_of(self, lease: Lease) -> Released | Refused:
        """As `release_lease`; where several share the claim, all that the session has of it."""
        shares = self._leave(lease.name, lambda each: each[:2] == lease[1:3]) if lease.readers else None
        return shares or self.release_lease(lease)

    def _release_own(self, lease: Lease) -> Released | None:
        """As `release_lease`, for a lease that may be superseded since long. Then None, and a shared one alone is read."""
        if not lease.share:
            self.won.pop((lease.name, Holder(lease.session, lease.incarnation)), None)
        if lease.readers:  # It may have moved on since: he reads first, so he knows that he was among them.
            return self._leave(lease.name, lambda each: each[:3] == lease[1:4])
        if not self.backend.advance(lease.name, Judged(lease.generation, lease), None):
            return None
        self._record_end(lease, lease.generation + 1)
        self.announcements.announce(lease.name)
        return Released(lease.name, lease.generation + 1, lease)

    def transfer(self, name: str, to: str | Holder, session: str | Holder | None = None) -> Won | Renewed | Refused:
        """Hand `name`, which `session` holds, to the session `to`: it holds the next generation. `Renewed`: it is the same.

        In one step: never free in between, and never held by both. Does not guarantee: that `to` knows of it, or that it
        still lives. Raises `NoSession` if it is not registered, `SessionEnded` if it is dead, or as `claim` does.
        """
        from looop_portable.sessions.receiving import receiver

        name, me = canonical(name), self.acting(session)
        for _ in range(TRIES):
            head = self.backend.read(name)
            lease, standing, verdict = self._judge(head, me)
            if lease and lease.readers:
                raise UsageError(f"claim {name}: it is shared, and what several share is not handed on: release it instead")
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
        raise moved(name, TRIES)

    def break_claim(self, name: str, generation: int, reason: str) -> Broken | Superseded:
        """Release `name` whoever holds it, if `generation` is the one that does. For operators: the holder is not told.

        Of several who share it, the one who has joined as `generation`.
        """
        name = canonical(name)
        refuse_longer(reason, "reason")
        head = self.backend.read(name)
        if head.lease and head.lease.readers:
            return self._break_share(name, generation, reason)
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

    def _reap_claim(self, name: str, verdicts: Verdicts, dry_run: bool, head: Head | None = None) -> tuple[Reaped, ...]:
        """Release `name` if its session is gone; nothing if it is kept, as its `head` may tell. `verdicts`: of this sweep.

        Of those who share it, the ones that are gone.
        """
        if head and not (head.lease and head.lease.readers) and not self._is_gone(head, verdicts):
            return ()
        head = self.backend.read(name)  # Who is to lose it is read once more: looop may have come in between.
        lease, standing, verdict = self._judge(head, NOBODY, verdicts)
        if lease and lease.readers:
            return self._reap_readers(head.generation, lease, verdicts, dry_run)
        if lease is None or not advances(TABLE[standing].reap):
            return ()
        if not dry_run:
            if not (self._final(lease, verdict) and self.backend.advance(name, Judged(head.generation, lease), None)):
                return ()  # Somebody has moved it since: it is theirs now. Or its session came back.
            self._record("claim_reaped", lease, head.generation + 1, evidence=verdict.evidence)
            self.announcements.announce(name)
        return (Reaped(lease, verdict, head.generation + 1),)

    def _is_gone(self, head: Head, verdicts: Verdicts) -> bool:
        return advances(TABLE[self._judge(head, NOBODY, verdicts)[1]].reap)
