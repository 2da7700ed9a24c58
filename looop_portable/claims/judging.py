"""What a claim looks like to one session, and on what evidence: the head that was read, with the life of who holds it.

Guarantees: nothing is published here, but that a session has ended whose death was inferred, before anybody acts on it.
Does not guarantee: that it is still so when somebody acts on it. The number of the head tells: see `gate`.
"""

from __future__ import annotations

from looop_portable.backends.base import Backend, HolderSigns
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.records import Head, Holder, Lease
from looop_portable.protocol.standings import Standing, is_ours, judge
from looop_portable.sessions.registrar import Sessions

Verdicts = dict[Holder, Verdict]
"""Of those who have been judged already."""

_FREE = Verdict(Liveness.DEAD, "it is not held")
_SELF = Verdict(Liveness.ALIVE, "it is ours")


class Judging:
    """What `Claims` is built on: it reads, and publishes nothing of a claim. Raises as its methods do."""

    def __init__(self, backend: Backend, sessions: Sessions) -> None:
        self.backend = backend
        self.sessions = sessions

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
        verdict = self._evidence(lease, me, verdicts, seen)
        return lease, judge(lease, me, verdict.liveness), verdict

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
        if lease.session:
            return self.sessions.conclude(Holder(*lease[1:3]))
        from looop_portable.claims import unreadable

        return unreadable.conclude(self.sessions)
