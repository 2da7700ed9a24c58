"""The signals that have come for this process, one at a time, in the order in which the kernel gives them.

Guarantees: one that is blocked, and has a handler, is kept until it is taken here.
Does not guarantee: that who sent it is told: Linux alone says so. Where it is not told, `looop run` keeps its command out
of its own job (`terminals`), so that what comes was sent to this process.
How: sigwaitinfo(2) and sigtimedwait(2). macOS and OpenBSD have neither: there it is sigwait(2), and looks at sigpending(2).
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Collection

assert sys.platform != "win32"

TELLS_WHO = sys.platform == "linux" and hasattr(signal, "sigwaitinfo")
"""Whether it is told that the terminal has sent a signal."""
_BY_THE_KERNEL = 0x80  # SI_KERNEL, on Linux (sigaction(2)).
_LOOK = 0.01
"""Seconds."""


def next_of(numbers: Collection[int]) -> tuple[int, bool]:
    """The next signal of `numbers`, waited for, and whether it is known to be the terminal's."""
    if sys.platform == "linux" and TELLS_WHO:
        found = signal.sigwaitinfo(numbers)
        return found.si_signo, found.si_code == _BY_THE_KERNEL
    return signal.sigwait(numbers), False


def next_within(numbers: Collection[int], seconds: float) -> int:
    """The next signal of `numbers` that comes within so many seconds; 0: none.

    Where there is no sigtimedwait(2) (macOS), one that another thread takes at that moment is waited for.
    """
    if sys.platform != "darwin" and hasattr(signal, "sigtimedwait"):
        found = signal.sigtimedwait(numbers, seconds)
        return found.si_signo if found else 0
    ends = time.monotonic() + seconds
    while True:
        if pending := signal.sigpending() & set(numbers):
            return signal.sigwait(pending)
        left = ends - time.monotonic()
        if left <= 0:
            return 0
        time.sleep(min(left, _LOOK))
