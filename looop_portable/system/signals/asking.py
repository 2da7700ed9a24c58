"""Signals that ask this process to end: which of several count.

Guarantees: one that comes within a second of the last that counted does not count. Whoever signals a process and then its
group, as timeout(1) does, means one request by that; whoever asks again after a second is impatient.
Does not guarantee: that these are told apart where the process did not run in between.
"""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.system.clock import elapsed

REPEAT = 1.0
"""Seconds."""


class Asked:
    """Whether, and when, this process was asked to end."""

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self._clock = clock
        self._heard: float | None = None

    @property
    def ever(self) -> bool:
        return self._heard is not None

    def counts(self) -> bool:
        """It is asked now: whether that counts."""
        if self.recently():
            return False
        self._heard = self._clock()
        return True

    def recently(self) -> bool:
        return self._heard is not None and self._clock() - self._heard < REPEAT

    def begin_anew(self) -> None:
        """What was asked more than a second ago was about something else."""
        if not self.recently():
            self._heard = None
