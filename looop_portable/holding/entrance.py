"""How a block of this process gets its claim: first among the threads and tasks of the process, then among all sessions.

Guarantees: at most one block of this process has a claim, also where a directory ignores case. A block that would
wait for itself is refused. A block that wins and does not enter after all releases what it won, at whatever point it stops.
Does not guarantee: that two threads do not wait for each other.
A claim that a session around this process holds (`inside`) is joined: that is never waited for, and not released.
How: an entrance takes the name in the process (`Member.take`), then claims it for the process's session. If the claim is
not won, it frees the name. The steps of one entrance are made one after the other, in any threads.
Interrupted: the taken name is the note that something may have been won. It is made before anything is published, and
removed after everything is released. The ledger says what was won, by the session's name. So `settle` needs the note alone,
wherever the block was interrupted. It runs where nothing interrupts it (`apart`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from looop_portable.config import Config
from looop_portable.errors import ClaimHeld, LooopError, Unavailable
from looop_portable.holding.blocks import Taker, log
from looop_portable.holding.blocks.refusals import refused
from looop_portable.holding.leftovers import release_later
from looop_portable.holding.member import Member, Process, this_process
from looop_portable.holding.own_session import Session
from looop_portable.holding.visits import Visit
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Held, Renewed, Won
from looop_portable.protocol.records import Lease
from looop_portable.protocol.slots import line_for, slots_of
from looop_portable.sessions.inside import is_inside, surrounding
from looop_portable.system.threads.apart import apart
from looop_portable.system.watch.waking import ThreadWatcher, Watcher
from looop_portable.waiting.claiming import who_waits
from looop_portable.waiting.stopping import Cancel, Cancelled, Stoppable, Stopped, cancelled
from looop_portable.waiting.waiter import Waiting, run

_HERE = "this process holds it already"
_NOT_REENTRANT = "hold() is not reentrant"
_SHARED = "this process has entered this very block, or waits to: each thread or task calls hold() for one of its own"


class Entrance:
    """The entrance of the block `name`, or of one that wants a slot of it. Used by one at a time: `prepare` to `spare`."""

    def __init__(
        self, name: str, slots: int, config: Config, lease_seconds: int, note: str = "", cancel: Cancel | None = None
    ) -> None:
        self._name = name
        self._wanted: Sequence[str] = slots_of(name, slots)
        self._line = line_for(name, slots)
        self._config = config
        self._lease_seconds = lease_seconds
        self._noted = {"note": note} if note else {}
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

    def prepare(self, owner: object, visit: Visit | None = None) -> Member:
        """Prepare to be entered by `owner`, a thread or a task. Raises `ClaimHeld` if it would wait for itself."""
        return self._prepare(this_process(), owner, visit)

    def prepare_at_once(self, owner: object) -> Member | None:
        """As `prepare`, without waiting. None: a registration would have to be waited for."""
        process = this_process()
        return self._prepare(process, owner, None) if process.knows(self._config, self._lease_seconds) else None

    def _prepare(self, process: Process, owner: object, visit: Visit | None) -> Member:
        member = process.member(self._config, self._lease_seconds)
        for taker in filter(None, map(member.taker, self._wanted)):
            taker.settle_if_over()
        takers = [member.taker(name) for name in self._wanted]
        if all(taker and taker.owner == owner for taker in takers):
            raise ClaimHeld(self._name, member.current.holder.session, f"{_HERE}; {_NOT_REENTRANT}")
        self.settle_if_over()
        visit = visit or Visit()
        visit.entrances.append(self)
        if self._users.setdefault(process, visit) is not visit:  # One step: of two that come at once, one has it.
            raise ClaimHeld(self._name, member.current.holder.session, _SHARED)
        self.member, self.owner, self.watcher, self.process = member, owner, None, process
        return member

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

    def wait(self, timeout: float | None, new_watcher: Callable[[], ThreadWatcher]) -> Won | Renewed | Held:
        """Claim what is wanted, and wait for at most so long (None: without end). Held: the time is over."""
        member = self.member
        assert member
        tickets = member.claims.backend.tickets
        if not (tickets and tickets.line(self._line)):
            outcome = self.attempt()
            if not isinstance(outcome, Held):
                return outcome
        watcher, visit = Stoppable(self._cancel), self.visit
        try:
            return apart(lambda: self._wait(visit, member, watcher, timeout, new_watcher), watcher)
        except Cancelled:
            raise cancelled(self._name, self.refused) from None

    def _wait(
        self,
        visit: Visit | None,
        member: Member,
        watcher: Stoppable,
        timeout: float | None,
        new_watcher: Callable[[], ThreadWatcher],
    ) -> Won | Renewed | Held:
        with self._waiting:
            try:
                if watcher.is_stopped or self.visit is not visit:
                    raise Stopped
                watcher.wake_by(new_watcher())
                with contextlib.closing(watcher), member.waking(watcher):
                    return run(self.waiting(watcher), watcher, timeout, log.waiting())
            finally:
                if watcher.is_stopped:  # Nobody is there to have what has been won.
                    self.undo()

    def waiting(self, watcher: Watcher) -> Waiting:
        """One that waits for what is wanted."""
        member = self.member
        assert member
        self.watcher = watcher
        return Waiting(
            *(member.claims, self._line, self._wanted, self.attempt, watcher, self._is_inside),
            undo=self.undo,
            at_home=lambda: self._is_at_home,
            who=lambda: who_waits(member.claims, member.current.holder),
        )

    def attempt(self) -> Won | Renewed | Held:
        """Claim what is wanted, or one of it, if no other block of this process has it.

        Raises `ClaimHeld` if the owner itself has all of it, in whatever spelling: it would wait for itself for ever.
        """
        assert self.member
        member = self.member
        if not member.is_guarded:
            return self._attempt(member)
        visit = self.visit
        return apart(lambda: self._attempt_for(visit, member))

    def _attempt_for(self, visit: Visit | None, member: Member) -> Won | Renewed | Held:
        with self._waiting:
            if self.visit is not visit:
                raise Stopped
            return self._attempt(member)

    def _attempt(self, member: Member) -> Won | Renewed | Held:
        held = self.refused = None
        is_own = self._is_at_home = True
        for name in self._wanted if len(self._wanted) == 1 else self._best_first(member):
            if member.take(name, self):
                self._is_at_home = False
                outcome, taker = self._claim(member, name)
            else:
                outcome, taker = _held_here(member, name, _HERE), member.taker(name)
            if not isinstance(outcome, Held):
                return outcome
            held = held or outcome
            is_own = is_own and taker is not None and taker.owner == self.owner
        assert held
        self.refused = held
        if is_own:
            verdict = held.verdict._replace(evidence=f"{held.verdict.evidence}; {_NOT_REENTRANT}")
            raise refused(self._name, Held(held.lease, verdict))
        return held

    def undo(self, _: object = None) -> None:
        """Release what `attempt` has won, since nobody enters after all. Repeated, it does nothing."""
        member = self.member
        assert member
        for name in self._wanted:
            if member.taker(name) is self:
                failed = not self._gives_back(member, name)
                self.free_beside(name)
                member.free(name)  # Not where that was interrupted: then nobody would know that there is something left.
                if failed and self.session:  # It stays with this process, whose next block has it, until it is out.
                    release_later(member, self.session, name)

    def _gives_back(self, member: Member, name: str) -> bool:
        try:
            self._give_back(member, name)
        except LooopError:
            return False
        return True

    def _claim(self, member: Member, name: str) -> tuple[Won | Renewed | Held, Taker | None]:
        """Claim one name. Held by another block of this process: that block's lease. Frees what is not won."""
        taker: Taker | None = None
        try:
            outcome = member.claim(self, name, **self._noted)
            if isinstance(outcome, Held) and self._joins(member, outcome):
                outcome = Renewed(outcome.lease)
            if isinstance(outcome, Renewed):
                # Nobody's, left by an error; or the directory does not tell case apart, and another block has it. If it is
                # the latest still when no other block has it any more, none of them had it.
                taker = member.respelled(name)
                if taker or not member.claims.check(name, outcome.generation).current:
                    outcome = _held_here(member, name, f"{_HERE}, in another spelling")
            elif isinstance(outcome, Held) and self.process:
                taker = self.process.taker(outcome.lease)
        except BaseException:  # Interrupted, it may have been won all the same.
            self.undo()
            raise
        if isinstance(outcome, Held):
            self.free_beside(name)
            member.free(name)
        return outcome, taker

    def _best_first(self, member: Member) -> Sequence[str]:
        """Of several slots, the one first that a session around this process has."""
        if not surrounding():
            return self._wanted
        return sorted(self._wanted, key=lambda name: not self._is_inside(member.claims.backend.read(name).lease))

    def _is_inside(self, lease: Lease | None, verdict: Verdict | None = None) -> bool:
        """Whether a session around this process holds it, which is waited for by nobody in it."""
        assert self.member
        if lease is None or not is_inside(self.member.claims.sessions, lease, verdict):
            return False
        return not (self.process and self.process.taker(lease))

    def _joins(self, member: Member, held: Held) -> bool:
        """Whether it is as good as our own: a session around this process has it, and no other block of this process."""
        if not self.process or not self._is_inside(*held):
            return False
        self._beside = self.process.beside(member)
        return all(each.take(held.lease.name, self) for each in self._beside)

    def free_beside(self, name: str) -> None:
        """One that has joined lets the name go where it has it but for its own session."""
        beside, self._beside = self._beside, []
        for each in beside:
            if each.taker(name) is self:
                each.free(name)

    def _give_back(self, member: Member, name: str) -> None:
        if self.session is None:
            return
        block = self.session.blocks.pop(name, None)
        if block:
            block.forget()
        member.give_back(name, self.session.holder)


def _held_here(member: Member, name: str, evidence: str) -> Held:
    holder = member.current.holder
    return Held(member.claims.won.get((name, holder)) or Lease(name, *holder), Verdict(Liveness.ALIVE, evidence))
