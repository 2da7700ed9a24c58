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
from collections.abc import Callable

from looop_portable.errors import ClaimHeld, Settling
from looop_portable.holding.blocks import log
from looop_portable.holding.blocks.attempting import HERE, NOT_REENTRANT, Attempting
from looop_portable.holding.member import Member, Process, this_process
from looop_portable.holding.visits import Visit
from looop_portable.protocol.outcomes import Held, Renewed, Won
from looop_portable.system.threads.apart import apart
from looop_portable.system.watch.waking import ThreadWatcher, Watcher
from looop_portable.waiting.claiming import who_waits
from looop_portable.waiting.stopping import Cancelled, Stoppable, Stopped, cancelled
from looop_portable.waiting.waiter import Waiting, run

_SHARED = "this process has entered this very block, or waits to: each thread or task calls hold() for one of its own"


class Entrance(Attempting):
    """The entrance of the block `name`, or of one that wants a slot of it. Used by one at a time: `prepare` to `spare`."""

    def prepare(self, owner: object, visit: Visit | None = None) -> Member:
        """Prepare to be entered by `owner`, a thread or a task. Raises `ClaimHeld` if it would wait for itself."""
        return self._prepare(this_process(), owner, visit)

    def prepare_at_once(self, owner: object) -> Member | None:
        """As `prepare`, without waiting. None: a registration would have to be waited for."""
        process = this_process()
        return self._prepare(process, owner, None) if process.knows(self._config, self._lease_seconds) else None

    def _prepare(self, process: Process, owner: object, visit: Visit | None) -> Member:
        member = process.member(self._config, self._lease_seconds)
        keys = list(map(self.key, self._wanted))
        for taker in filter(None, map(member.taker, keys)):
            taker.settle_if_over()
        takers = [member.taker(key) for key in keys]
        if all(taker and taker.owner == owner for taker in takers):
            raise ClaimHeld(self._name, member.current.holder.session, f"{HERE}; {NOT_REENTRANT}")
        self.settle_if_over()
        visit = visit or Visit()
        visit.entrances.append(self)
        if self._users.setdefault(process, visit) is not visit:  # One step: of two that come at once, one has it.
            raise ClaimHeld(self._name, member.current.holder.session, _SHARED)
        self.member, self.owner, self.watcher, self.process = member, owner, None, process
        return member

    def wait(self, timeout: float | None, new_watcher: Callable[[], ThreadWatcher]) -> Won | Renewed | Held:
        """Claim what is wanted, and wait for at most so long (None: without end). Held: the time is over."""
        member = self.member
        assert member
        tickets = member.claims.backend.tickets
        if not (tickets and tickets.line(self._line)):
            with contextlib.suppress(Settling):  # Who waits for others waits for the store as well.
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
            who=lambda: who_waits(member.claims, member.current.holder, shared=bool(self._share)),
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
