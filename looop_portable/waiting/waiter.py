"""Waiting for a claim: first come, first served, as far as it can be told who came first.

Guarantees: what `claim` guarantees, since `claim` alone decides who wins. A waiter asks again after a while, even if
nothing woke it. A waiter that stops leaves nothing behind; the waiter behind a killed one removes its ticket.
Does not guarantee: an order against claimers that do not wait: `claim` without waiting takes what is free. Nor the position
of a waiter that does not take its turn for some seconds (stopped, or starved): the waiter behind it goes first, and it
lines up anew. Nor an order on a backend that has no tickets.
How: each waiter takes a ticket. A waiter with a live one before it watches that one's ticket alone, so a release wakes one
waiter and not all, as in Mellor-Crummey and Scott's queues and in ZooKeeper's recipe for locks. The first in line watches
the claim and its holder's process. `Waiting` looks once per call and never blocks. Its caller waits for the watcher: `run`
in `waits`, `aio` in an event loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from looop_portable.claims.gate import Claims
from looop_portable.errors import LooopError, Settling, Unavailable
from looop_portable.protocol.outcomes import Held, HeldInLine, Renewed, Won
from looop_portable.protocol.records import Lease, Registration
from looop_portable.protocol.standings import Standing
from looop_portable.system.clock import elapsed
from looop_portable.system.watch.waking import Watcher
from looop_portable.typed import NamedTuple
from looop_portable.waiting.pauses import Pauses, chance
from looop_portable.waiting.turns import TURN, Free, Turns
from looop_portable.waiting.waits import Pending, is_looops, run

__all__ = ["Pending", "Waiting", "run"]

_TRIES = 64

Attempt = Callable[[], Won | Renewed | Held]


class _Seen(NamedTuple):
    held: Held | None = None
    free: Free | None = None
    ours: bool = False


def _nobodys(lease: Lease) -> bool:  # noqa: ARG001 (as `ours` is called)
    return False


def _stays(outcome: Won | Renewed) -> None:
    """What is won stays so."""


class Waiting:
    """One waiter in the line of `queue`, for any of the claims `wanted`, which `attempt` asks for.

    `ours`: whether a lease satisfies the waiter at once, whatever its position. A session that claims again what it holds
    would otherwise wait for itself. `undo` releases what was won if leaving the line is interrupted. `at_home`: whether
    this process itself holds what was refused last, so that its release wakes the watcher. None: the process that will
    release what is won is not known. `who`: this process, as its ticket describes it to others.
    """

    def __init__(
        self,
        claims: Claims,
        queue: str,
        wanted: Sequence[str],
        attempt: Attempt,
        watcher: Watcher,
        ours: Callable[[Lease], bool] = _nobodys,
        clock: Callable[[], float] = elapsed,
        chance: Callable[[], float] = chance,
        undo: Callable[[Won | Renewed], object] = _stays,
        at_home: Callable[[], bool] | None = None,
        who: Callable[[], Registration] | None = None,
    ) -> None:
        self._claims = claims
        self._tickets = tickets = claims.backend.tickets
        self._evidence = claims.sessions.evidence
        self._queue = queue
        self._wanted = wanted
        self._attempt = attempt
        self._watcher = watcher
        self._ours = ours
        self._pauses = Pauses(chance, far=claims.backend.far())
        self._undo = undo
        self._at_home = at_home
        self._who = who or self._evidence.this_process
        self._expected: tuple[str, ...] = ()
        self._me: Registration | None = None
        self._ticket = ""
        self._before: list[str] = []
        self._clock = clock
        self._first_until = float("-inf")
        """Until then it is the first in line, and subscribed: nobody takes its ticket away before its turn is over."""
        self._turns = Turns(tickets, queue, self._evidence, clock) if tickets else None

    def look(self) -> Won | Renewed | Pending:
        """Ask for it, if it is our turn. Raises as `claim` does, but waits while the store settles."""
        try:
            return self._look()
        except Settling as error:
            return Pending(None, error.seconds)

    def _look(self) -> Won | Renewed | Pending:
        self._watcher.forget()
        if not self._ticket and not (self._tickets and self._tickets.line(self._queue)):
            if self._tickets is None:
                self._expect(self._wanted)
            outcome = self._attempt()
            if not isinstance(outcome, Held):
                return self._done(outcome)
            if self._tickets is None:
                return Pending(outcome, self._pauses.without_lines())
        refused = None
        if self._clock() < self._first_until:  # Most that are woken have it now: so that is asked first.
            outcome = self._attempt()
            if not isinstance(outcome, Held):
                return self._done(outcome)
            refused = outcome
        self._first_until = float("-inf")
        is_new = not self._ticket
        while True:
            ahead, waiter = self._predecessor()
            found = self._look_from_behind(ahead, waiter, is_new=is_new) if ahead else self._ask(refused)
            if found:
                if isinstance(found, Pending) and found.held:
                    return found._replace(held=HeldInLine.of(found.held, len(self._before) + 1))
                return found
            refused = None

    def _look_from_behind(self, ahead: str, waiter: Registration | None, *, is_new: bool) -> Won | Renewed | Pending | None:
        """One look while another waiter is before us. None: the ticket `ahead` is gone, so look again."""
        watched = self._watch_ticket(ahead, waiter)
        if watched is None:
            return None
        if self._at_home and is_new and self._expected:  # It will wake, and soon as a rule: most never look again.
            return Pending(None, min(self._pauses.of(watched), TURN))
        seen = self._glance()
        if seen.ours and not isinstance(outcome := self._attempt(), Held):
            return self._done(outcome)
        patience = self._turns.patience(self._ticket, self._before, seen.free) if self._turns else 0.0
        if patience <= 0:
            self._leave(ahead)
            return None
        return Pending(seen.held, min(self._pauses.of(watched, len(self._before)), patience))

    def last_look(self) -> Won | Renewed | Held:
        """Ask once more, whoever is before us, and wait no more: time is over."""
        outcome = self._attempt()
        if not isinstance(outcome, Held):
            return self._done(outcome)
        self.stop()
        return outcome

    @property
    def waits(self) -> bool:
        """Whether there is something to be given back by `stop`."""
        return bool(self._ticket or self._expected)

    def stop(self, later: str = "") -> None:
        """Wait no more. A ticket that cannot be given back holds up the line until this process is seen to have ended."""
        self._expect(())
        if self._ticket:
            with contextlib.suppress(Unavailable):  # What was waited for counts: it must not be lost for this.
                self._watch(())
                self._leave(self._ticket, later)
            self._ticket = ""  # Only then. Whoever is interrupted stops once more.

    def _done(self, outcome: Won | Renewed) -> Won | Renewed:
        """Leave the line after a win. A Ctrl-C in the middle undoes the win: nobody would know of it.

        The next waiter of this process is woken by the release and not now: until then it could only wait on.
        """
        later = outcome.lease.name if self._at_home and len(self._wanted) == 1 else ""
        try:
            self.stop(later)
        except BaseException:
            with contextlib.suppress(LooopError):
                self._undo(outcome)
            raise
        return outcome

    def _predecessor(self) -> tuple[str, Registration | None]:
        """The ticket before ours, and its waiter. The tickets of waiters that have ended are given back on the way."""
        tickets = self._tickets
        assert tickets
        for _ in range(_TRIES):
            if not self._ticket:
                self._me = self._me or self._who()
                self._ticket = tickets.take(self._queue, self._me)
            line = tickets.line(self._queue)
            if self._ticket not in line:  # Its turn was missed; or it is listed late, and would stay there.
                self._leave(self._ticket)
                self._ticket = ""
                continue
            self._before = line[: line.index(self._ticket)]
            while self._before:
                waiter = tickets.waiter(self._queue, self._before[-1])
                if waiter is not None and (self._is_this_process(waiter) or not self._evidence.has_left(waiter)):
                    return self._before[-1], waiter
                self._leave(self._before.pop())
            return "", None
        return "", None  # Others take our ticket away as often as we get one. Then the order is lost, and nothing else.

    def _watch_ticket(self, ahead: str, waiter: Registration | None) -> bool | None:
        """Whether the end of the ticket `ahead` will wake the watcher. None: that waiter has left the line already."""
        assert self._tickets
        if waiter and self._is_this_process(waiter):  # Then it needs no kernel.
            self._expect((self._word(ahead),))
            self._watch(())
            self._watcher.follow(None)
            return True if self._tickets.waiter(self._queue, ahead) else None
        self._expect(())
        watched = self._watch([self._queue], ahead)
        watched &= self._watcher.follow(waiter if waiter and self._evidence.is_seen(waiter) else None)
        return watched

    def _ask(self, refused: Held | None = None) -> Won | Renewed | Pending:
        """Claim: it is our turn. If it is held, watch the claim and the holder's process.

        `refused`: what came of it just now, when the claim was watched already.
        """
        self._before = []
        self._expect(self._wanted)
        outcome = refused or self._attempt()
        if not isinstance(outcome, Held):
            return self._done(outcome)
        if self._at_home and self._at_home():  # Nothing that others do makes it ours before that.
            self._expect(())
            self._watch(())
            return Pending(outcome, self._pauses.of(watched=True))
        foreign = is_looops(outcome.lease)
        while (watched := self._watch(self._wanted, foreign=foreign)) and not refused:
            outcome = self._attempt()  # Listen first, look then.
            if not isinstance(outcome, Held):
                return self._done(outcome)
            if foreign or not is_looops(outcome.lease):
                break
            foreign = True
        if watched and self._tickets and self._tickets.keeps:
            self._first_until = self._clock() + TURN
        lease, alone = outcome.lease, len(self._wanted) == 1
        seen = self._watcher.follow(self._evidence.process_of(lease.session, lease.incarnation) if alone else None)
        if watched and not seen:
            return Pending(outcome, self._pauses.end_unwatched())
        return Pending(outcome, self._pauses.of(watched))

    def _watch(self, claims: Sequence[str], ticket: str = "", *, foreign: bool = False) -> bool:
        assert self._tickets
        return self._tickets.subscribe(self._watcher, claims, ticket, foreign=foreign)

    def _expect(self, topics: Sequence[str]) -> None:
        """Be woken when another thread or task of this process announces one of these topics, and no other."""
        announcements = self._claims.announcements
        announcements.expect_no_more(self._watcher, [what for what in self._expected if what not in topics])
        self._expected = tuple(topics)
        announcements.expect(self._watcher, topics)

    def _word(self, ticket: str) -> str:
        return f"{self._queue}/{ticket}"

    def _is_this_process(self, waiter: Registration) -> bool:
        me = self._me
        return me is not None and bool(me.start) and waiter[2:6] == me[2:6]

    def _glance(self) -> _Seen:
        """How the wanted claims stand, whatever our position."""
        held = free = None
        for name in self._wanted:
            status = self._claims.show(name)
            if status.standing is not Standing.HELD:
                free = free or (name, status.generation)
                continue
            assert status.lease
            assert status.verdict
            if self._ours(status.lease):
                return _Seen(ours=True)
            held = held or Held(status.lease, status.verdict)
        return _Seen(free=free) if free else _Seen(held)

    def _leave(self, ticket: str, later: str = "") -> None:
        assert self._tickets
        self._tickets.give_back(self._queue, ticket)
        if later:
            self._claims.announcements.postpone(self._word(ticket), later)
        else:
            self._claims.announcements.announce(self._word(ticket))
