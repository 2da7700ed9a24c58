"""Waiting for a claim: first come, first served, as far as it can be told who came first.

Guarantees: what `claim` does, as nothing here is relied upon: it is `claim` that decides, whenever somebody may ask.
Whoever waits asks again after a while, whatever it has not heard. One that stops waiting, however it does, leaves nothing
behind that anybody would have to remove; a ticket of one that was killed is removed by whoever waits behind it.
Does not guarantee: that nobody who does not wait comes in between: `claim` without waiting takes what is free. Nor the
place of a waiter that does not take its turn for some seconds (stopped, or starved): whoever is behind it goes first, and
it lines up anew. Nor an order on a backend that has no tickets.
How: everybody takes a ticket. Whoever has somebody alive before him listens for that ticket's end alone, so that a release
wakes one and not all, as in Mellor-Crummey and Scott's queues and in ZooKeeper's recipe for locks; the first in line
listens to the claim, and for the end of its holder's process. `Waiting` does one look at a time and never blocks; who
drives it waits for its bell: `run` here, `aio` in an event loop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from looop_portable.bells import Bell, ThreadBell
from looop_portable.claims import Claims
from looop_portable.clock import elapsed
from looop_portable.errors import LooopError, Unavailable
from looop_portable.lease import Lease
from looop_portable.liveness import FOREIGN, Registration
from looop_portable.outcomes import Held, Renewed, Told, Won
from looop_portable.protocol import Standing

TELLS = 2.0
"""Seconds of waiting, after which people are told whom for."""

_TRIES = 64
_HEARD, _HEARD_LAST = 2.0, 20.0  # Seconds between two looks where all news is heard, of the first and of those behind.
_TURN, _TURN_FAR = 2.0, 6.0  # Seconds that a claim is free before the first in line has missed its turn.
_FIRST, _LATER, _FIRST_FAR, _LATER_FAR = 0.02, 0.5, 0.5, 2.0  # Seconds between two looks at most, where no news is heard.
_SOONEST, _SOONEST_FAR, _SLOWER = 0.001, 0.05, 1.3
_SILENT = 0.5  # Seconds, where a holder can only be judged by what it does not do.

Attempt = Callable[[], Won | Renewed | Held]


class Pending(NamedTuple):
    """Not yet. `held`: who holds it, if somebody does; look again when the bell rings, or after `pause` seconds."""

    held: Held | None
    pause: float


def _chance() -> float:
    """From 0 to 1. The module `random` takes as long to import as all of ours that waits."""
    return int.from_bytes(os.urandom(2)) / 65536


class _Seen(NamedTuple):
    held: Held | None = None
    free: tuple[str, int] | None = None
    ours: bool = False


def _nobodys(lease: Lease) -> bool:  # noqa: ARG001 (as `ours` is called)
    return False


def _stays(outcome: Won | Renewed) -> None:
    """What is won stays so."""


class Waiting:
    """One waiter in the line of `queue`, for any of the claims `wanted`, which `attempt` asks for.

    `ours` tells a lease that satisfies the waiter at once, whoever is before it: without that, whoever asks again for what
    it holds would wait for itself. `undo` lets go what has been won, where leaving the line is interrupted afterwards.
    """

    def __init__(
        self,
        claims: Claims,
        queue: str,
        wanted: Sequence[str],
        attempt: Attempt,
        bell: Bell,
        ours: Callable[[Lease], bool] = _nobodys,
        clock: Callable[[], float] = elapsed,
        chance: Callable[[], float] = _chance,
        undo: Callable[[Won | Renewed], object] = _stays,
    ) -> None:
        self._claims = claims
        self._tickets = claims.backend.tickets
        self._evidence = claims.sessions.evidence
        self._queue = queue
        self._wanted = wanted
        self._attempt = attempt
        self._bell = bell
        self._ours = ours
        self._clock = clock
        self._chance = chance
        self._undo = undo
        self._me: Registration | None = None
        self._ticket = ""
        self._free: tuple[str, int] | None = None
        self._free_since = 0.0
        self._pause = 0.0
        self._far = self._tickets is not None and self._tickets.far()

    def look(self) -> Won | Renewed | Pending:
        """Ask for it, if it is our turn. Raises as `claim` does."""
        self._bell.forget()
        if not self._ticket and not (self._tickets and self._tickets.line(self._queue)):
            outcome = self._attempt()
            if not isinstance(outcome, Held):
                return outcome
            if self._tickets is None:
                return Pending(outcome, self._sooner_or_later(first=True))
        while True:
            place, ahead, waiter = self._place()
            if not ahead:
                return self._ask()
            seen = self._glance()
            if seen.ours and not isinstance(outcome := self._attempt(), Held):
                return self._done(outcome)
            news = self._listen([self._queue], ahead)
            news &= self._bell.follow(waiter if waiter and self._evidence.is_seen(waiter) else None)
            patience = self._patience(place, seen.free)
            if patience <= 0:
                self._leave(ahead)
                continue
            return Pending(seen.held, min(self._pause_of(news, place), patience))

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
        return bool(self._ticket)

    def stop(self) -> None:
        """Wait no more. A ticket that cannot be given back is in the way until it is seen that this process has ended."""
        if self._ticket:
            with contextlib.suppress(Unavailable):  # What was waited for counts: it must not be lost for this.
                self._leave(self._ticket)
            self._ticket = ""  # Only then. Whoever is interrupted stops once more.

    def _done(self, outcome: Won | Renewed) -> Won | Renewed:
        """Without this, Ctrl-C while the line is left would leave what has just been won to nobody who knows of it."""
        try:
            self.stop()
        except BaseException:
            with contextlib.suppress(LooopError):
                self._undo(outcome)
            raise
        return outcome

    def _place(self) -> tuple[int, str, Registration | None]:
        """How many are before us, and the last of them; those that have ended are not counted any more."""
        tickets = self._tickets
        assert tickets
        for _ in range(_TRIES):
            line = tickets.line(self._queue)
            if self._ticket not in line:  # We have missed our turn; or we are new.
                if self._ticket:  # Or it is listed late: then it would stay, in everybody's way.
                    self._leave(self._ticket)
                self._me = self._me or self._evidence.this_process()
                self._ticket = tickets.take(self._queue, self._me)
                continue
            place = line.index(self._ticket)
            while place:
                waiter = tickets.waiter(self._queue, line[place - 1])
                if waiter is not None and not self._evidence.has_left(waiter):
                    return place, line[place - 1], waiter
                self._leave(line[place - 1])
                place -= 1
            return 0, "", None
        return 0, "", None  # Others take our ticket away as often as we get one. Then the order is lost, and nothing else.

    def _ask(self) -> Won | Renewed | Pending:
        """It is our turn."""
        foreign = False
        while True:
            news = self._listen(self._wanted, foreign=foreign)
            outcome = self._attempt()
            if not isinstance(outcome, Held):
                return self._done(outcome)
            lease = outcome.lease
            if foreign or not (lease.foreign or lease.incarnation.startswith(FOREIGN)):
                break
            foreign = True
        alone = len(self._wanted) == 1
        seen = self._bell.follow(self._evidence.process_of(lease.session, lease.incarnation) if alone else None)
        if news and not seen:
            return Pending(outcome, self._jittered(_SILENT))
        return Pending(outcome, self._pause_of(news))

    def _listen(self, claims: Sequence[str], ticket: str = "", *, foreign: bool = False) -> bool:
        assert self._tickets
        return self._bell.listen(path for claim in claims for path in self._tickets.news(claim, ticket, foreign=foreign))

    def _glance(self) -> _Seen:
        """How it stands, whoever's turn it is."""
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

    def _patience(self, place: int, free: tuple[str, int] | None) -> float:
        """For how long yet those before us may leave what is `free` to be taken.

        Without this, one that is stopped (Ctrl-Z) while it waits would keep a free claim from all behind it. Whoever is
        further behind waits for longer, so that only one goes past the first.
        """
        if free != self._free:
            self._free, self._free_since = free, self._clock()
        turn = place * (_TURN_FAR if self._far else _TURN)
        return turn - (self._clock() - self._free_since) if free else turn

    def _leave(self, ticket: str) -> None:
        assert self._tickets
        self._tickets.give_back(self._queue, ticket)

    def _pause_of(self, news: bool, place: int = 1) -> float:
        """The further behind, the later there is anything to be seen that is not heard."""
        if not news:
            return self._sooner_or_later(first=place == 1)
        self._pause = 0.0
        return self._jittered(min(_HEARD * place, _HEARD_LAST))

    def _sooner_or_later(self, *, first: bool) -> float:
        """The next pause where nothing is heard: longer each time, and longest for those further behind."""
        most = (_FIRST_FAR if first else _LATER_FAR) if self._far else (_FIRST if first else _LATER)
        self._pause = min(max(self._pause * _SLOWER, _SOONEST_FAR if self._far else _SOONEST), most)
        return self._jittered(self._pause)

    def _jittered(self, seconds: float) -> float:
        """So that many that began at once do not look at once."""
        return seconds * (0.75 + self._chance() / 2)


def run(waiting: Waiting, bell: ThreadBell, timeout: float | None, told: Told | None = None) -> Won | Renewed | Held:
    """Wait in this thread, for `timeout` seconds (None: without end). Held: it was over. Raises as `claim` does."""
    began, end = elapsed(), None if timeout is None else elapsed() + timeout
    try:
        while True:
            found = waiting.look()
            if not isinstance(found, Pending):
                return found
            waited = elapsed() - began
            pause = found.pause
            if told:
                if waited >= TELLS and found.held:
                    told(found.held, waited)
                elif waited < TELLS:
                    pause = min(pause, TELLS - waited)
            if end is not None:
                left = end - elapsed()
                if left <= 0:
                    return waiting.last_look()
                pause = min(pause, left)
            bell.wait(pause)
    finally:
        waiting.stop()
