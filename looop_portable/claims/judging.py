"""What a claim looks like to one session, and on what evidence: the head that was read, with the life of who holds it.

Guarantees: nothing is published here, but that a session has ended whose death was inferred, before anybody acts on it.
Does not guarantee: that it is still so when somebody acts on it. The number of the head tells: see `gate`.
"""

from __future__ import annotations

from collections.abc import Iterator

from looop_portable.backends.base import Backend, HolderSigns
from looop_portable.errors import LooopError
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Checked, Status
from looop_portable.protocol.records import Head, Holder, Lease, Reader, alone, shared_lease
from looop_portable.protocol.standings import NOBODY, Standing, holders_of, is_ours, judge, own
from looop_portable.sessions.ids import named
from looop_portable.sessions.registrar import Sessions

Verdicts = dict[Holder, Verdict]
"""Of those who have been judged already."""

Surveyed = tuple[str, Head | None, HolderSigns | None]
"""A claim's name and its head (`Backend.survey`); None: it cannot be read. And what was learnt of its holder."""

Judgement = tuple[Lease, Standing, Verdict]

_LOOKS = 64

_FREE = Verdict(Liveness.DEAD, "it is not held")
_SELF = Verdict(Liveness.ALIVE, "it is ours")


class Judging:
    """What `Claims` is built on: it reads, and publishes nothing of a claim. Raises as its methods do."""

    def __init__(self, backend: Backend, sessions: Sessions) -> None:
        self.backend = backend
        self.sessions = sessions

    def check(self, name: str, generation: int, holder: Holder | None = None) -> Checked:
        """Whether `generation` is current and held, read afresh. Where several share the claim, each one's is.

        `holder`: who should have it. Who finds another looks once more (`_looks`).
        """
        name = canonical(name)
        for head in self._looks(name):
            lease = self._judge(head, NOBODY)[0] if head.over else head.lease
            if lease and lease.readers:
                which = [at for at, each in enumerate(lease.readers) if each.generation == generation]
                lease = shared_lease(name, lease.readers, which[0] if which else 0)
            found = Checked(name, generation, head.generation, lease)
            if found.current and (holder is None or found.is_held_by(holder)):
                break
        return found

    def _looks(self, name: str) -> Iterator[Head]:
        """Heads of `name`, for who finds that a share of it is gone, until two of them agree.

        While one shares a claim, others join and leave. So a listing of its generations may be old before the record is
        read that it shows to be the latest. That may have been pruned since, and somebody who had looked long ago may have
        published another under its number, which does not count. What a later listing shows to be the latest was never
        pruned before it was made.
        """
        head: Head | None = None
        for _ in range(_LOOKS):
            before, head = head, self.backend.read(name)
            if before and before.generation == head.generation:
                return
            yield head
            if self.backend.directory is None:
                return  # What it tells is the latest.

    def show(self, name: str) -> Status:
        """One claim, and whether its holder is alive."""
        name = canonical(name)
        return self._shown(name, *self.backend.look(name))

    def _shown(self, name: str, head: Head, seen: HolderSigns | None = None, verdicts: Verdicts | None = None) -> Status:
        lease, standing, verdict = self._judge(head, NOBODY, verdicts, seen)
        return Status(name, head.generation, lease, verdict if lease else None, standing)

    def list(self) -> list[Status]:
        """Every claim that is held. One that cannot be read has no lease and an UNKNOWN verdict that says why."""
        found = list(self.backend.survey())
        verdicts = each_judged(found, self.sessions)
        return [status for name, head, _ in found if (status := self._status(name, head, verdicts))]

    def _status(self, name: str, head: Head | None, verdicts: Verdicts) -> Status | None:
        try:
            status = self._shown(name, head, None, verdicts) if head else self.show(name)
        except LooopError as error:
            return Status(name, 0, Lease(name, ""), Verdict(Liveness.UNKNOWN, str(error)), Standing.HELD)
        return status if status.lease else None

    def readers(self, lease: Lease, verdicts: Verdicts | None = None) -> Iterator[tuple[Reader, Verdict]]:
        """All who share the claim, and whether each lives."""
        known: Verdicts = {} if verdicts is None else verdicts
        return ((each, self._evidence(alone(lease.name, each), NOBODY, known, None)) for each in lease.readers)

    def acting(self, session: str | Holder | None) -> Holder:
        """Who acts: `session`, else $LOOOP_SESSION_ID, in its current incarnation. Raises `NoSession`."""
        if isinstance(session, Holder):
            return session
        return self.sessions.holder(named(session))

    def _judge(
        self, head: Head, me: Holder, verdicts: Verdicts | None = None, seen: HolderSigns | None = None
    ) -> tuple[Lease | None, Standing, Verdict]:
        """The lease that counts, what it looks like, and on what evidence. `seen`: what `look` has told with the head.

        A lease of looop's over one of ours counts where ours does not hold. The other way round, an old one of looop's
        would hide a winner that has not come to show itself yet.
        """
        if head.lease is None and head.over is None:
            return None, Standing.VACANT, _FREE
        found = self._judge_lease(head.lease, me, verdicts, seen)
        if head.over and found[1] is not Standing.HELD:
            over = self._judge_lease(head.over, me, verdicts)
            if over[1] is Standing.HELD:
                return over
        return found

    def _judge_lease(
        self, lease: Lease | None, me: Holder, verdicts: Verdicts | None, seen: HolderSigns | None = None
    ) -> tuple[Lease | None, Standing, Verdict]:
        if lease and lease.readers:
            return self._judge_shared(lease, me, verdicts)
        verdict = self._evidence(lease, me, verdicts, seen)
        return lease, judge(lease, me, verdict.liveness), verdict

    def _judge_shared(self, lease: Lease, me: Holder, verdicts: Verdicts | None) -> Judgement:
        """Ours, if we are one of them. Held, if one of them is not dead: the first of those. Else nobody's any more."""
        mine = own(lease, me)
        if mine:
            return mine, Standing.OURS, _SELF
        known: Verdicts = {} if verdicts is None else verdicts
        inferred = False
        for at, each in enumerate(lease.readers):
            one = alone(lease.name, each)
            verdict = self._evidence(one, me, known, None)
            standing = judge(one, me, verdict.liveness)
            if standing is Standing.HELD:
                return shared_lease(lease.name, lease.readers, at), standing, verdict
            inferred = inferred or verdict.inferred
        return lease, standing, verdict._replace(inferred=inferred)

    def _evidence(self, lease: Lease | None, me: Holder, verdicts: Verdicts | None, seen: HolderSigns | None) -> Verdict:
        if lease is None:
            return _FREE
        if is_ours(lease, me):
            return _SELF
        if not lease.session:
            from looop_portable.claims import unreadable

            return unreadable.verdict(self.backend, self.sessions, lease, me)
        holder = Holder(lease.session, lease.incarnation)
        found = verdicts.get(holder) if verdicts is not None else None
        if found is None:
            found = self.sessions.verdict(*holder, seen=seen) if seen else self.sessions.verdict(*holder)
            if verdicts is not None and lease.incarnation:
                verdicts[holder] = found  # Without an incarnation, the id may be a later session's before we are done.
        return found

    def _final(self, lease: Lease, verdict: Verdict) -> bool:
        """Whether a death may be acted upon. One that is inferred is made a fact first."""
        if not verdict.inferred:
            return True
        if lease.readers:
            return all(
                self.sessions.conclude(each) for each in dict.fromkeys(Holder(*found[:2]) for found in lease.readers)
            )
        if lease.session:
            return self.sessions.conclude(Holder(*lease[1:3]))
        from looop_portable.claims import unreadable

        return unreadable.conclude(self.sessions)


def each_judged(found: list[Surveyed], sessions: Sessions) -> Verdicts:
    """On each session that is named by one of those leases, once. All of them have been read: see `Evidence.verdict`.

    For telling people. Who acts upon it judges anew where a lease names but an id: that may be a later session's soon.
    """
    leases = [lease for _, head, _ in found if head for lease in (head.lease, head.over) if lease and lease.session]
    seen = {signs.holder: signs for _, _, signs in found if signs}
    holders = dict.fromkeys(each for lease in leases for each in holders_of(lease))
    return {holder: sessions.verdict(*holder, seen=seen.get(holder)) for holder in holders}
