"""For how long a waiter waits for its watcher before it looks again all the same.

Does not guarantee: anything. A waiter that looks later gets its claim later.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_WATCHED, _WATCHED_LAST = 2.0, 20.0  # Seconds between two looks where all news is heard, of the first and of those behind.
_FIRST, _LATER, _FIRST_FAR, _LATER_FAR = 0.02, 0.5, 0.5, 2.0  # Seconds between two looks at most, where no news is heard.
_SOONEST, _SOONEST_FAR, _SLOWER = 0.001, 0.05, 1.3
_SILENT = 0.5  # Seconds, where a holder can only be judged by what it does not do.


def chance() -> float:
    """From 0 to 1. The module `random` takes as long to import as all of ours that waits."""
    return int.from_bytes(os.urandom(2)) / 65536


class Pauses:
    """Of one waiter. `far`: each of its looks goes over a network."""

    def __init__(self, chance: Callable[[], float], *, far: bool) -> None:
        self._chance = chance
        self._far = far
        self._last = 0.0

    def of(self, watched: bool, position: int = 1) -> float:
        """The pause at a position. Further behind, less changes that no watch reports. `watched`: all is watched."""
        if not watched:
            return self.unwatched(first=position == 1)
        self._last = 0.0
        return self._jittered(min(_WATCHED * position, _WATCHED_LAST))

    def end_unwatched(self) -> float:
        """The pause where all is watched but the end of the holder's process."""
        return self._jittered(_SILENT)

    def unwatched(self, *, first: bool) -> float:
        """Longer each time, and longest for those further behind."""
        most = (_FIRST_FAR if first else _LATER_FAR) if self._far else (_FIRST if first else _LATER)
        self._last = min(max(self._last * _SLOWER, _SOONEST_FAR if self._far else _SOONEST), most)
        return self._jittered(self._last)

    def without_lines(self) -> float:
        """Where nobody lines up. Over a network as for those who are behind: there each look may have its price."""
        return self.unwatched(first=not self._far)

    def _jittered(self, seconds: float) -> float:
        """So that many that began at once do not look at once."""
        return seconds * (0.75 + self._chance() / 2)
