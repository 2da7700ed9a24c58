"""The store's clock, from below: whole seconds, as it stamps objects with them.

Guarantees: for as long as nobody sets that clock, what is told is never later than it is there, once it was asked.
Does not guarantee: anything before that: this host's own clock is the first guess. Nor that nobody sets it: whoever judges
by it asks it anew, and whoever has written reads the stamp of that.
"""

from __future__ import annotations

import math
import time

from looop_portable.system.clock import elapsed

__all__ = ["StoreClock"]

_GOOD = 600.0
_BEST = 60.0


class StoreClock:
    """How far it is ahead of `elapsed`, at least."""

    def __init__(self) -> None:
        self._ahead = time.time() - elapsed()
        self._asked = -math.inf

    @property
    def was_asked(self) -> bool:
        """Whether that was lately."""
        return elapsed() - self._asked < _GOOD

    def at(self, moment: float) -> float:
        """What it shows at a moment of `elapsed`, at least."""
        return self._ahead + moment

    def now(self) -> float:
        return self.at(elapsed())

    def note(self, stamp: float) -> None:
        """An object is there that has this stamp: it is that late, at least."""
        self._ahead = max(self._ahead, stamp - elapsed())

    def answer(self, stamp: float) -> None:
        """This process's own object was stamped so, just now. Of those within a minute the best is believed."""
        if elapsed() - self._asked > _BEST or stamp - elapsed() > self._ahead:
            self.ask(stamp)

    def ask(self, stamp: float) -> None:
        """The same, believed whatever was told before."""
        self._ahead = stamp - elapsed()
        self._asked = elapsed()
