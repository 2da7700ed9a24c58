"""What is to happen when a time is over, unless it is called off before.

Guarantees: time goes on while the machine sleeps.
Does not guarantee: that it happens at once after a sleep: within seconds. Nor that it does not happen in the moment when it
is called off: whoever calls it off must not mind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from looop_portable.system.clock import elapsed
from looop_portable.system.threads.standby import started

_LONGEST_LOOK = 5.0
"""Seconds: a condition's own clock stands still while the machine sleeps."""


class Limit:
    """Calls `over` in `seconds`, in a thread of its own. Making one raises `Unavailable`."""

    def __init__(self, seconds: float, over: Callable[[], object]) -> None:
        self._until = elapsed() + seconds
        self._over = over
        self._off = threading.Event()
        started(self._wait, "looop limit", whole=True)

    def call_off(self) -> None:
        """Repeated, it does nothing."""
        self._off.set()

    def _wait(self) -> None:
        while (left := self._until - elapsed()) > 0:
            if self._off.wait(min(left, _LONGEST_LOOK)):
                return
        if not self._off.is_set():
            self._over()
