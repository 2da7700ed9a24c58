"""How much time has passed, for a process that has to know when it has been silent for too long.

Guarantees: on Linux, macOS and Windows the time for which the machine was suspended counts, and setting the time of day
changes nothing.
Does not guarantee: anything between two processes, or two hosts: only differences within one process mean something. On
other systems a suspension may not count.
How: CLOCK_BOOTTIME (clock_gettime(2)) on Linux; CLOCK_MONOTONIC_RAW on macOS, which counts sleep there, as Python's own
`time.monotonic` does not, and is set by nobody, as CLOCK_MONOTONIC is; GetTickCount64 on Windows, to 16 ms.
"""

from __future__ import annotations

import sys
import time

if sys.platform == "win32":
    import ctypes

    _ticks = ctypes.WinDLL("kernel32").GetTickCount64
    _ticks.restype = ctypes.c_uint64

    def elapsed() -> float:
        """Seconds since some moment that stays the same while this process runs."""
        return float(_ticks()) / 1000

else:
    _CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    if sys.platform == "darwin":
        _CLOCK = time.CLOCK_MONOTONIC_RAW

    def elapsed() -> float:
        """Seconds since some moment that stays the same while this process runs."""
        return time.clock_gettime(_CLOCK)
