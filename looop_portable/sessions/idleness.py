"""For how long a session was not used. It is looked at with each heartbeat.

Does not guarantee: the exact time. A block only notes that it uses the session, and not when: it reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.system.clock import elapsed

LEASES = 2
"""For so many leases a session stays that nobody uses. To register anew takes some milliseconds."""


class Idleness:
    """Of one session."""

    def __init__(self, lease_seconds: int, clock: Callable[[], float] = elapsed) -> None:
        self.used = True
        """Set by whoever is about to claim for it."""
        self._clock = clock
        self._long: float = LEASES * lease_seconds
        self._since = clock()

    def is_long(self, *, in_use: bool) -> bool:
        """Whether it is idle since long. `in_use`: a block runs in its name."""
        now = self._clock()
        if self.used or in_use:
            self.used, self._since = False, now
        return now - self._since > self._long
