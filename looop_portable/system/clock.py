"""How much time has passed, for a process that has to know when it has been silent for too long; and what time it is.

Guarantees: on Linux, macOS and Windows the time for which the machine was suspended counts, and setting the time of day
changes nothing.
Does not guarantee: anything between two processes, or two hosts: only differences within one process mean something. On
other systems a suspension may not count.
How: CLOCK_BOOTTIME (clock_gettime(2)) on Linux; CLOCK_MONOTONIC_RAW on macOS, which counts sleep there, as Python's own
`time.monotonic` does not, and is set by nobody, as CLOCK_MONOTONIC is; QueryInterruptTimePrecise on Windows, which counts
sleep as QueryUnbiasedInterruptTime does not, and before Windows 10 GetTickCount64, to 16 ms.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable

from looop_portable.typed import Any

_TICKS_A_SECOND = 10_000_000
_LAST = 253_402_300_799
"""The last second of the year 9999: calendars have four digits."""


def of_windows(kernelbase: Any, kernel32: Any) -> Callable[[], float]:
    """The clock of Windows by the best of what its libraries offer."""
    import ctypes

    if hasattr(kernelbase, "QueryInterruptTimePrecise"):

        def elapsed() -> float:
            now = ctypes.c_uint64()
            kernelbase.QueryInterruptTimePrecise(ctypes.byref(now))
            return now.value / _TICKS_A_SECOND

        return elapsed
    ticks = kernel32.GetTickCount64
    ticks.restype = ctypes.c_uint64
    return lambda: float(ticks()) / 1000


if sys.platform == "win32":
    import ctypes

    elapsed = of_windows(ctypes.WinDLL("kernelbase"), ctypes.WinDLL("kernel32"))
    """Seconds since some moment that stays the same while this process runs."""

else:
    _CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    if sys.platform == "darwin":
        _CLOCK = time.CLOCK_MONOTONIC_RAW

    def elapsed() -> float:
        """Seconds since some moment that stays the same while this process runs."""
        return time.clock_gettime(_CLOCK)


def timestamp(ahead: float = 0.0) -> str:
    """Now, or so many seconds ahead, by this host's clock, in UTC: for people and the event log, never for a decision."""
    return _timestamp(int(time.time() + ahead))


def as_timestamp(second: int) -> str:
    """Of seconds since 1970, as somebody else has recorded them; empty: they are no time that calendars have."""
    if not 0 < second <= _LAST:
        return ""
    try:
        return _timestamp(second)
    except (OverflowError, OSError, ValueError):  # A C library that knows fewer years, as on Windows.
        from datetime import datetime, timedelta

        return (datetime(1970, 1, 1) + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


@functools.lru_cache(maxsize=1)
def _timestamp(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
