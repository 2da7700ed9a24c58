"""What psutil says of a process, by a start token that stays when the clock is set.

Guarantees: of two tokens it is said only where it is certain that they are two processes'.
Does not guarantee: a start where psutil is refused it; then it is empty, and the state UNREADABLE.
How: Windows tells the time of day at the start, and it stays. Elsewhere psutil (since 7.1) moves what the kernel told by
the steps of the clock that it has seen, so that the start of one process depends on who asks; it keeps the other one to
tell a process from a later one of its id. Where the kernel itself moves it, see `kernel_bsd`.
"""

from __future__ import annotations

import sys

import psutil

from looop_portable.protocol.liveness import ProcessState
from looop_portable.system.processes.kernel_bsd import moves, since_boot, told_apart
from looop_portable.typed import Any


def start_of(pid: int) -> str:
    """The start token of a process that runs; empty if there is none, or it cannot be read."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else _start(process)
    except (psutil.Error, OSError):
        return ""


def state(pid: int, start: str) -> ProcessState:
    """Of the process `pid` that had the token `start` (empty: not recorded, then the pid alone counts)."""
    try:
        process = psutil.Process(pid)
        if start and (found := _start(process)) != start:
            certain = not moves(sys.platform) or told_apart(start, found)
            return ProcessState.REUSED if certain else ProcessState.UNREADABLE
        status = process.status()
    except psutil.ZombieProcess:
        return ProcessState.ZOMBIE
    except psutil.NoSuchProcess:
        return ProcessState.GONE
    except (psutil.Error, OSError):
        return ProcessState.UNREADABLE
    if status == psutil.STATUS_ZOMBIE:
        return ProcessState.ZOMBIE
    return ProcessState.STOPPED if status == psutil.STATUS_STOPPED else ProcessState.RUNNING


def _start(process: psutil.Process) -> str:
    if sys.platform == "win32":
        return repr(process.create_time())
    if moves(sys.platform):
        return since_boot(process.create_time(), psutil.boot_time())
    try:
        inner: Any = process
        return repr(float(inner._proc.create_time(monotonic=True)))
    except (AttributeError, TypeError):  # A psutil before 7.1, which knows only what the kernel told.
        return repr(process.create_time())
