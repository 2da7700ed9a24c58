"""For how long a program waits, as it says it; what ends that; and when something is said of it meanwhile."""

from __future__ import annotations

import threading

from looop_portable.errors import UsageError, describe_holder
from looop_portable.protocol.names import excerpt
from looop_portable.protocol.outcomes import Held, HeldInLine
from looop_portable.typed import Protocol

__all__ = ["CancelEvent"]

_AGES = 1e12
"""Longer than anything waits: 31,000 years. What adds it to a clock still has a number."""


def limit(timeout: object) -> float | None:
    """For how many seconds a program waits. None: without end; -1 means that too, as for filelock and `threading`.

    Raises `UsageError` for what is no number of seconds from 0 on.
    """
    if timeout is None or timeout == -1:
        return None
    if isinstance(timeout, int | float) and 0 <= timeout < float("inf"):
        return min(timeout, _AGES)
    raise UsageError(f"a timeout is a number of seconds from 0 on, or None to wait without end, not {excerpt(timeout)}")


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


class Minutes:
    """When something is said of one wait: at once of each holder, and after that once a minute."""

    def __init__(self) -> None:
        self._said: set[tuple[str, int]] = set()
        self._minute = 0

    def is_new(self, held: Held, waited: float) -> bool:
        """Whether nothing has been said of this holder. It counts as said from now on."""
        about = held.lease.name, held.lease.generation
        if about in self._said:
            return False
        self._said.add(about)
        self._minute = int(waited // 60)
        return True

    def is_due(self, waited: float) -> bool:
        """Whether a minute has begun of which nothing has been said. It counts as said from now on."""
        before, self._minute = self._minute, int(waited // 60)
        return self._minute > before


def still_waiting(held: Held, waited: float) -> str:
    """What is said each minute."""
    minutes = int(waited // 60)
    so_far = f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m"
    place = f" (place {held.place} in line)" if isinstance(held, HeldInLine) else ""
    return f"still waiting for {held.lease.name}, {so_far} so far, held by {describe_holder(held.lease.session)}{place}"
