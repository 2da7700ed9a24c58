"""What the command does with signals: as `looop run` was to do when it was started.

Guarantees: what Python, or `looop run`, handles is ignored by the command if the caller ignores it, and else as by default.
Does not guarantee: that a command ignores SIGPIPE or SIGXFSZ where the caller of `looop run` did. Python ignores both from
its first moment on, and nothing in the process tells what was before. So they are as by default, unless the parent is a
shell that ignores them, which then is what it gives to all that it starts. A shell that has become `looop run` (`exec`)
cannot be asked any more, and there must be /proc.
How: /proc tells what the parent ignores. A parent that is no shell may
ignore a signal itself, and give another disposition to its children: programs in Python, Rust and Node.js do.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

assert sys.platform != "win32"

_PYTHONS_OWN = frozenset((int(signal.SIGPIPE), int(signal.SIGXFSZ)))
"""The signals that Python ignores from the beginning."""
_SHELLS = frozenset(("ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "oksh", "posh", "sh", "yash", "zsh"))


def dispositions(handlers: Mapping[int, object]) -> dict[int, signal.Handlers]:
    """What the command is to do with each signal. `handlers`: what they were before `looop run` had some of its own."""
    ignored = _ignored_by_the_caller().union(number for number, found in handlers.items() if found is signal.SIG_IGN)
    return {number: signal.SIG_IGN if number in ignored else signal.SIG_DFL for number in _PYTHONS_OWN.union(handlers)}


def _ignored_by_the_caller() -> frozenset[int]:
    """Which of `_PYTHONS_OWN` the caller is known to ignore."""
    parent = f"/proc/{os.getppid()}"
    try:
        if os.path.basename(os.readlink(f"{parent}/exe")) not in _SHELLS:
            return frozenset()
        with open(f"{parent}/status", "rb") as file:
            mask = next((int(line.split()[1], 16) for line in file if line.startswith(b"SigIgn:")), 0)
    except (OSError, ValueError, IndexError):  # There is no /proc; it has another user; it has ended.
        return frozenset()
    return frozenset(number for number in _PYTHONS_OWN if mask >> (number - 1) & 1)
