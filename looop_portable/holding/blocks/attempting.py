"""One attempt of a block to get its claim: taken in this process first, then claimed for its session; or taken back.

Guarantees: a name, or a share of one, is noted in this process before anything is published, and until all is released.
A claim that is shared is noted for each share by itself: the store tells who may share it, within this process too.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from looop_portable.claims.sharing import Share
from looop_portable.config import Config
from looop_portable.errors import LooopError, Unavailable
from looop_portable.holding.blocks import Taker, key_of
from looop_portable.holding.blocks.refusals import refused
from looop_portable.holding.leftovers import release_later
from looop_portable.holding.member import Member, Process, this_process
from looop_portable.holding.own_session import Session
from looop_portable.holding.visits import Visit
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Held, Renewed, Won
from looop_portable.protocol.records import Lease
from looop_portable.protocol.shares import line_for, slots_of
from looop_portable.sessions.inside import surrounding, within
from looop_portable.system.opening.nonces import nonce
from looop_portable.system.threads.apart import apart
from looop_portable.system.watch.waking import Watcher
from looop_portable.typed import Any
from looop_portable.waiting.stopping import Cancel, Stoppable

HERE = "this process holds it already"
NOT_REENTRANT = "hold() is not reentrant"


class Attempting:
    """What `Entrance` is built on."""

    def __init__(
        self,
        name: str,
        slots: int,
        config: Config,
        lease_seconds: int,
        note: str = "",
        cancel: Cancel | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._name = name
        self._wanted: Sequence[str] = slots_of(name, slots)
        self._line = line_for(name, slots)
        self._config = config
        self._lease_seconds = lease_seconds
        self._note = note
        self._share = nonce() if shared else ""
        """What tells what this block has from what others of this process share with it; empty: it wants it alone."""
        self._cancel = cancel
        self.refused: Held | None = None  # Who had it when it was last asked for.
        self.owner: object = None
        self.watcher: Watcher | None = None
        self.process: Process | None = None
        """In which it is used; None: in none."""
        self.member: Member | None = None
        self.session: Session | None = None
        """For which the last attempt was made."""
        self._is_at_home = False
        """Whether only other blocks of this process stand in the way. Their release wakes `watcher`."""
        self._beside: Sequence[Member] = []
        """Where a block that has joined has its name too: else one of another length of the lease could join beside it."""
        self._users: dict[Process, Visit] = {}
        self._settling = threading.Lock()  # These two are never held by a thread that a signal's handler interrupts.
        self._waiting = threading.RLock()

    def key(self, name: str) -> str:
        """How it is noted in this process that this block has `name`."""
        return key_of(name, self._share)

    def spare(self) -> None:
        """It is used no more, and can be entered again."""
        self.process = None
        visit = self._users.pop(this_process(), None)
        if visit:
            visit.done(self)

    @property
    def visit(self) -> Visit | None:
        """The run of the block that has entered, or is about to."""
        return self._users.get(this_process())

    def settle_if_over(self) -> None:
        """If the block has ended without being left, leave it now. Raises `Unavailable`."""
        visit = self.visit
        if visit and visit.look():
            apart(lambda: self.settle(visit))

    def settle(self, visit: Visit) -> None:
        """Release what the block's run `visit` has won, and nothing of a later run. Repeated, it does nothing."""
        with self._settling:
            if self.visit is not visit:
                return
            watcher = self.watcher
            if isinstance(watcher, Stoppable):
                watcher.stop()
            with self._waiting:  # Whoever waited for it has come back.
                if self.member:
                    self.undo()
            self.spare()

    def abandon(self, visit: Visit) -> None:
        """As `settle`, at once, for a block that was interrupted."""
        try:
            apart(lambda: self.settle(visit))
        except Unavailable:  # No thread can be made.
            self.settle(visit)

    def _attempt(self, member: Member) -> Won | Renewed | Held:
        held = self.refused = None
        is_own = self._is_at_home = True
        for name in self._wanted if len(self._wanted) == 1 else self._best_first(member):
            if member.take(self.key(name), self):
                self._is_at_home = False
                outcome, takers = self._claim(member, name)
            else:
                outcome, takers = _held_here(member, name, HERE), [member.taker(self.key(name))]
            if not isinstance(outcome, Held):
                return outcome
            held = held or outcome
            is_own = is_own and any(taker is not None and taker.owner == self.owner for taker in takers)
        assert held
        self.refused = held
        if is_own:
            verdict = held.verdict._replace(evidence=f"{held.verdict.evidence}; {NOT_REENTRANT}")
            raise refused(self._name, Held(held.lease, verdict))
        return held

    def undo(self, _: object = None) -> None:
        """Release what `attempt` has won, since nobody enters after all. Repeated, it does nothing."""
        member = self.member
        assert member
        for name in self._wanted:
            key = self.key(name)
            if member.taker(key) is self:
                failed = not self._gives_back(member, key)
                self.free_beside(name)
                member.free(key)  # Not where that was interrupted: then nobody would know that there is something left.
                if failed and self.session:  # It stays with this process, whose next block has it, until it is out.
                    release_later(member, self.session, key)

    def _gives_back(self, member: Member, key: str) -> bool:
        try:
            self._give_back(member, key)
        except LooopError:
            return False
        return True

    def _claim(self, member: Member, name: str) -> tuple[Won | Renewed | Held, Sequence[Taker | None]]:
        """Claim one name. Held by other blocks of this process: their lease. Frees what is not won."""
        takers: Sequence[Taker | None] = ()
        try:
            outcome = self._ask(member, name)
            if isinstance(outcome, Held) and (inside := self._joins(member, outcome)):
                outcome = Renewed(inside)
            if isinstance(outcome, Renewed) and not self._share:
                # Nobody's, left by an error; or the directory does not tell case apart, and another block has it. If it is
                # the latest still when no other block has it any more, none of them had it.
                taker = member.respelled(name)
                takers = [taker]
                if taker or not member.claims.check(name, outcome.generation).current:
                    outcome = _held_here(member, name, f"{HERE}, in another spelling")
            elif isinstance(outcome, Held) and self.process:
                takers = self.process.takers(outcome.lease)
        except BaseException:  # Interrupted, it may have been won all the same.
            self.undo()
            raise
        if isinstance(outcome, Held):
            self.free_beside(name)
            member.free(self.key(name))
        return outcome, takers

    def _ask(self, member: Member, name: str) -> Won | Renewed | Held:
        more: dict[str, Any] = {"note": self._note} if self._note else {}
        if self._share:  # Who has a share already would wait for whoever waits for it.
            more["shared"] = Share(self._share, goes_first=member.has_share(name, self))
        return member.claim(self, name, **more)

    def _best_first(self, member: Member) -> Sequence[str]:
        """Of several slots, the one first that a session around this process has."""
        if not surrounding():
            return self._wanted
        return sorted(self._wanted, key=lambda name: not self._is_inside(member.claims.backend.read(name).lease))

    def _is_inside(self, lease: Lease | None, verdict: Verdict | None = None) -> bool:
        """Whether a session around this process holds it, which is waited for by nobody in it; or our owner shares it."""
        if lease is None:
            return False
        if self.member and lease.readers and self._share and self.member.has_share(lease.name, self):
            return True
        return self._inside(lease, verdict) is not None

    def _inside(self, lease: Lease, verdict: Verdict | None) -> Lease | None:
        assert self.member
        found = within(self.member.claims.sessions, lease, verdict, shared=bool(self._share))
        return None if found is None or (self.process and self.process.takers(lease)) else found

    def _joins(self, member: Member, held: Held) -> Lease | None:
        """What is as good as our own: a session around this process has it, and no other block of this process."""
        found = self._inside(*held) if self.process else None
        if not (self.process and found) or self._share:
            return found
        self._beside = self.process.beside(member)
        return found if all(each.take(held.lease.name, self) for each in self._beside) else None

    def free_beside(self, name: str) -> None:
        """One that has joined lets the name go where it has it but for its own session."""
        beside, self._beside = self._beside, []
        for each in beside:
            if each.taker(name) is self:
                each.free(name)

    def _give_back(self, member: Member, key: str) -> None:
        if self.session is None:
            return
        block = self.session.blocks.pop(key, None)
        if block:
            block.forget()
        member.give_back(key, self.session.holder)


def _held_here(member: Member, name: str, evidence: str) -> Held:
    holder = member.current.holder
    return Held(member.claims.won.get((name, holder)) or Lease(name, *holder), Verdict(Liveness.ALIVE, evidence))
