"""A latch: one thread waits until another wakes it.

Guarantees: what wakes before somebody waits is kept for him. Ringing never waits, and may come in the middle of anything,
in a signal handler too: a `threading.Event` would wait there for itself.
Does not guarantee: anything to a second one that waits at the same latch.
How: a lock that is free while it has woken. Greenlets have locks of their own, where a program has been patched for them.
"""

from __future__ import annotations

import contextlib
import threading

_LONGEST = 3600.0
"""Seconds: `threading.TIMEOUT_MAX` is not the same everywhere, and a waiter looks again anyway."""


class Latch:
    """Shut at first."""

    def __init__(self) -> None:
        self._shut = threading.Lock()
        self._shut.acquire()

    @property
    def is_open(self) -> bool:
        """Whether it has woken, and was not forgotten."""
        return not self._shut.locked()

    def wake(self) -> None:
        """From any thread, and in a signal handler."""
        with contextlib.suppress(RuntimeError):  # It has woken already.
            self._shut.release()

    def forget(self) -> None:
        """What has woken so far is known."""
        self._shut.acquire(blocking=False)

    def wait(self, seconds: float) -> None:
        """Until it has woken, or for so long, and an hour at most."""
        if self._shut.acquire(timeout=max(0.0, min(seconds, _LONGEST))):
            self.wake()  # It wakes until it is forgotten.
