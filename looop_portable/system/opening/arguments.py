"""This process's own command line, as other processes see it.

Does not guarantee: that nobody has read it before; nor anything where the system lets nobody write there.
How: on Linux the words are in this process's memory, where /proc says; what it forks has a copy. `sys.argv` is another.
"""

from __future__ import annotations

import contextlib
import os

_BEGIN, _END = 47, 48
"""Of /proc/PID/stat, counted from 0: where the arguments are. See proc(5)."""
_BEFORE_STATE = 2


def overwrite(word: str, shown: str) -> None:
    """`word` is not in the command line any more, where that can be done; `shown` is, as far as there is room."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # There is no /proc, or it does not let us.
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = (int(fields[each - _BEFORE_STATE]) for each in (_BEGIN, _END))
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(begin)
            line = memory.read(end - begin)
            secret, hidden = os.fsencode(word), os.fsencode(shown)
            at = line.find(secret)
            while at >= 0:
                memory.seek(begin + at)
                memory.write(hidden[: len(secret)].ljust(len(secret), b"*"))
                at = line.find(secret, at + len(secret))
