"""Waiting that its caller ends: by a question that is asked between two looks, or by an event that wakes the waiter.

Guarantees: one that is cancelled has not won. An event that is set wakes whoever waits with it at once, from any thread.
Does not guarantee: that whoever is cancelled in the same moment in which it wins is told so: then it has won.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = ["CancelEvent"]

ASKED = 0.5
"""Seconds from one question to the next, at most."""


class Wakes(Protocol):
    def wake(self) -> None: ...


class CancelEvent(threading.Event):
    """An event that ends the waiting of all who were given it (`cancel=`), as soon as it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._waiters: dict[int, Wakes] = {}

    def set(self) -> None:
        """Those who wait end with `WaitCancelled`; and so do those who begin to wait before it is cleared."""
        super().set()
        for waiter in list(self._waiters.values()):
            waiter.wake()

    def _add(self, waiter: Wakes) -> None:
        """To be woken until it is removed."""
        self._waiters[id(waiter)] = waiter

    def _remove(self, waiter: Wakes) -> None:
        self._waiters.pop(id(waiter), None)


class Cancelled(Exception):
    """The caller wants to wait no more."""


class Cancel(NamedTuple):
    """What ends a wait, as the caller gave it."""

    check: Callable[[], bool] | None = None
    event: CancelEvent | None = None

    def look(self) -> None:
        """Raises `Cancelled`, and what the caller's own question raises."""
        if (self.event and self.event.is_set()) or (self.check and self.check()):
            raise Cancelled

    def pause(self, seconds: float) -> float:
        """For how long to wait until it is asked again."""
        return min(seconds, ASKED) if self.check else seconds

    def add(self, waiter: Wakes) -> None:
        if self.event:
            self.event._add(waiter)

    def remove(self, waiter: Wakes) -> None:
        if self.event:
            self.event._remove(waiter)
