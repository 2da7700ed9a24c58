"""A clock that the test moves, and heartbeats that go by nothing else: no test waits for a lease, and none is late.

Guarantees: time passes when the test says so, and not before each thread of each pulse has done all that was due by then,
however slow the machine is. Where the threads wait, they wait by this clock: one that waits for too long is late by it.
Does not guarantee: anything for what waits otherwise, as `time.sleep` does: that is waited for. What a renewal waits for in
the middle of it has to say so (`hang`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from looop_portable.claims import own
from looop_portable.sessions.heartbeats import Pulse, Renew
from support.crew import until

MOMENT = 0.001
"""Seconds that any wait takes at least, also one for no time at all: else time would stand still for who waits so."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.pulses: list[_PulseByClock] = []

    def __call__(self) -> float:
        return self.now

    def rules(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        """The pulses that `module` makes from here on go by this clock, and what it measures."""
        for measures in (module, own):
            monkeypatch.setattr(measures, "elapsed", self)
        monkeypatch.setattr(module, "Pulse", self.pulse)

    def pulse(self, renew: Renew, lease_seconds: int, lost: Callable[[str], None], began: float) -> Pulse:
        made = _PulseByClock(self, renew, lease_seconds, lost, began)
        self.pulses.append(made)
        return made

    def move(self, seconds: float) -> None:
        """So much time passes. Who waits until some moment of it does at that moment what he waits to do."""
        end = self.now + seconds
        self._settle()
        while self.now < end:
            self.now = min(end, *(pulse.waits.next for pulse in self.pulses), math.inf)
            self._settle()

    def suspend(self, seconds: float) -> None:
        """The machine sleeps for so long: all that wait have as long to wait after it as before."""
        self._settle()
        self.now += seconds
        for pulse in self.pulses:
            pulse.waits.postpone(seconds)

    def hang(self, answered: threading.Event) -> None:
        """Within a renewal of the last pulse: it does not return before `answered`, and time passes meanwhile."""
        self.pulses[-1].waits.hang(answered)

    def let_others_look(self) -> None:
        """Within a renewal of the last pulse: it goes on when each other thread has done what is due."""
        pulse = self.pulses[-1]
        assert until(lambda: pulse.awake == 1)

    def forget(self) -> None:
        """What there was is not waited for: in a child made by fork, which has none of the threads."""
        self.pulses.clear()

    def stop(self) -> None:
        """All pulses, so that no thread of theirs is left."""
        for pulse in self.pulses:
            pulse.stop()

    def _settle(self) -> None:
        for pulse in self.pulses:
            pulse.waits.look()
        assert until(lambda: all(pulse.is_settled for pulse in self.pulses)), "a thread neither waits by the clock nor ends"


class _PulseByClock(Pulse):
    def __init__(self, clock: Clock, renew: Renew, lease_seconds: int, lost: Callable[[str], None], began: float) -> None:
        super().__init__(renew, lease_seconds, lost, began, clock)
        self._changed = self.waits = _Waits(clock)
        self._running = 0

    def prepare(self) -> None:
        self._running = 2
        super().prepare()

    @property
    def is_settled(self) -> bool:
        return self.awake == 0

    @property
    def awake(self) -> int:
        """How many of its threads have something to do."""
        with self.waits:
            return self._running - self.waits.asleep

    def _keep(self, look: Callable[[], float | None]) -> None:
        try:
            super()._keep(look)
        finally:
            with self.waits:
                self._running -= 1


class _Waits(threading.Condition):
    """A condition whose seconds are the clock's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._until: dict[int, float] = {}
        """By thread."""

    def wait(self, timeout: float | None = None) -> bool:
        return self._sleep(self._end(timeout))

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:  # type: ignore[override]
        end = self._end(timeout)
        while not (found := bool(predicate())) and self._clock.now < end:
            self._sleep(end)
        return found

    def notify_all(self) -> None:
        self._until = {thread: end for thread, end in self._until.items() if thread < 0}
        super().notify_all()

    def _end(self, timeout: float | None) -> float:
        return math.inf if timeout is None else self._clock.now + max(timeout, MOMENT)

    def _sleep(self, end: float) -> bool:
        """Whether it was notified before `end`."""
        me = threading.get_ident()
        self._until[me] = end
        while self._until.get(me, -math.inf) > self._clock.now:
            super().wait()
        return self._until.pop(me, None) is None

    def look(self) -> None:
        """All who wait look at the clock."""
        with self:
            super().notify_all()

    def postpone(self, seconds: float) -> None:
        with self:
            self._until = {thread: end + seconds for thread, end in self._until.items()}

    def hang(self, answered: threading.Event) -> None:
        me = -threading.get_ident()  # No notification wakes it.
        with self:
            self._until[me] = math.inf
        answered.wait()
        with self:
            del self._until[me]

    @property
    def asleep(self) -> int:
        return sum(end > self._clock.now for end in self._until.values())

    @property
    def next(self) -> float:
        with self:
            return min(self._until.values(), default=math.inf)
