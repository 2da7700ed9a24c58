"""How a block of this process gets its claim: first among the threads and tasks of the process, then among all sessions.

Guarantees: of this process at most one block has a claim, also where a directory does not tell case apart; whoever would
wait for itself is told so; what was won by somebody who does not enter after all is let go, at whatever point that was.
Does not guarantee: that two threads do not wait for each other.
How: a name is taken in the process (`Member.take`), then claimed for its session, and let go again unless it was won. All
steps of one entrance are made one after the other, in any threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from looop_portable.bells import Bell
from looop_portable.blocks import Taker
from looop_portable.config import Config
from looop_portable.errors import ClaimHeld, LooopError
from looop_portable.lease import Lease
from looop_portable.liveness import Liveness, Verdict
from looop_portable.membership import Member, Process, Session, this_process
from looop_portable.outcomes import Held, Renewed, Won
from looop_portable.protocol import is_ours
from looop_portable.several import line_for, slots_of
from looop_portable.waiting import Waiting

_HERE = "this process holds it already"
_NOT_REENTRANT = "hold() is not reentrant"
_SHARED = "this process has entered this very block, or waits to: each thread or task calls hold() for one of its own"


class Entrance:
    """The entrance of the block `name`, or of one that wants a slot of it. Used by one at a time: `prepare` to `spare`."""

    def __init__(self, name: str, slots: int, config: Config, lease_seconds: int) -> None:
        self._name = name
        self._wanted: Sequence[str] = slots_of(name, slots)
        self._line = line_for(name, slots)
        self._config = config
        self._lease_seconds = lease_seconds
        self.owner: object = None
        self.bell: Bell | None = None
        self.process: Process | None = None
        """In which it is used; None: in none."""
        self.member: Member | None = None
        self.session: Session | None = None
        """For which the last attempt was made."""
        self._is_at_home = False
        """Whether it was refused for other blocks of this process alone, which ring `bell` when they let go."""

    def prepare(self, owner: object) -> Member:
        """To be entered by `owner`, a thread or a task. Raises `ClaimHeld` if that would wait for itself."""
        process = this_process()
        with process.guard:
            return self._prepare(process, owner)

    def prepare_at_once(self, owner: object) -> Member | None:
        """The same. None: that would have to wait, for a registration or for another thread."""
        process = this_process()
        if not process.knows(self._config, self._lease_seconds) or not process.guard.acquire(blocking=False):
            return None
        try:
            return self._prepare(process, owner)
        finally:
            process.guard.release()

    def _prepare(self, process: Process, owner: object) -> Member:
        member = process.member(self._config, self._lease_seconds)
        takers = [member.taker(name) for name in self._wanted]
        if all(taker and taker.owner == owner for taker in takers):
            raise ClaimHeld(self._name, member.current.holder.session, f"{_HERE}; {_NOT_REENTRANT}")
        if self.process is process:
            raise ClaimHeld(self._name, member.current.holder.session, _SHARED)
        self.process, self.member, self.owner, self.bell = process, member, owner, None
        return member

    def spare(self) -> None:
        """It is used no more, and can be entered again."""
        self.process = None

    def waiting(self, bell: Bell) -> Waiting:
        """One that waits for what is wanted."""
        assert self.member
        self.bell = bell
        return Waiting(
            *(self.member.claims, self._line, self._wanted, self.attempt, bell),
            undo=self.undo,
            at_home=lambda: self._is_at_home,
        )

    def attempt(self) -> Won | Renewed | Held:
        """Claim what is wanted, or one of it, if no other block of this process has it.

        Raises `ClaimHeld` if the owner itself has it all, in whatever spelling: nobody would ever let go.
        """
        member = self.member
        assert member
        held: Held | None = None
        is_own = self._is_at_home = True
        for name in self._wanted:
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
        if is_own:
            raise ClaimHeld(self._name, held.lease.session, f"{held.verdict.evidence}; {_NOT_REENTRANT}")
        return held

    def undo(self, _: object = None) -> None:
        """Nobody enters, after all: what `attempt` has won is let go. Repeated, it does nothing."""
        member = self.member
        assert member
        for name in self._wanted:
            if member.taker(name) is self:
                try:
                    with contextlib.suppress(LooopError):  # Then it stays with this process, whose next block has it.
                        self._give_back(member, name)
                finally:
                    member.let_go(name)

    def _claim(self, member: Member, name: str) -> tuple[Won | Renewed | Held, Taker | None]:
        """What came of it; if it is held by a block of this process, that. What was not won is let go."""
        taker: Taker | None = None
        try:
            self.session = member.session()
            outcome = member.claims.claim(name, self.session.holder)
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
            member.let_go(name)
        return outcome, taker

    def _give_back(self, member: Member, name: str) -> None:
        if self.session is None:
            return
        self.session.blocks.pop(name, None)
        lease = member.claims.backend.read(name).lease
        # In this order. Without it, one that another block wins in between, in another spelling, would be released.
        if lease and is_ours(lease, self.session.holder) and not member.respelled(name):
            member.claims.release_lease(lease)


def _held_here(member: Member, name: str, evidence: str) -> Held:
    return Held(Lease(name, *member.current.holder), Verdict(Liveness.ALIVE, evidence))
