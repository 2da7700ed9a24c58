"""Waiting for a process to end, and ending one: exactly that process, and no other that has its id later.

Guarantees: `ended` is said only of a process that has ended; what cannot be examined has not.
Does not guarantee: without /proc, that a process id is still that of the process meant when it is opened; nor, without a
pidfd either, the end of a zombie.
How: on Linux a pidfd (pidfd_open(2)), opened first, and then known by the start token for that of the process meant. From
then on it alone tells, and at once: it needs no /proc, and a /proc of another pid namespace cannot mislead it. On macOS and
the BSDs a kqueue(2) that is told of the process's exit, likewise. On Windows a handle (psutil). Where there is none of
these, as without a descriptor, the process is looked at four times a second.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

from looop_portable.protocol.liveness import ProcessState
from looop_portable.system.processes import SYSTEM, Processes
from looop_portable.typed import Any

_GONE = (ProcessState.GONE, ProcessState.REUSED, ProcessState.ZOMBIE)
_LOOK = 0.25
_LONGEST = 3600.0
"""Seconds. A wait can be no longer where it is counted in milliseconds."""


class Watch:
    """The process `pid` with the start token `start`, watched."""

    def __init__(
        self, pid: int, start: str, processes: Processes = SYSTEM, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._pid = pid
        self._start = start
        self._processes = processes
        self._sleep = sleep
        self._fd = _pidfd(pid)
        self._note = _note_of_exit(pid)
        self._is_meant = False

    @property
    def descriptor(self) -> int | None:
        """What becomes readable when it has ended, where there is such a thing."""
        return self._fd

    def ended(self, seconds: float) -> bool:
        """Whether it has ended; waits for that for as long as `seconds`, and an hour at most."""
        seconds = min(max(seconds, 0.0), _LONGEST)
        if not self._is_meant and self._has_ended():
            return True
        self._is_meant = self._fd is not None or self._note is not None
        if self._fd is not None:
            return bool(readable([self._fd], seconds))
        if self._note is not None:
            return self._note.is_notified(seconds)
        if sys.platform == "win32" and _waits_on_windows(self._pid, seconds):
            return self._has_ended()
        return self._look_again_and_again(seconds)

    def end(self) -> bool:
        """Have it end. False: it has ended already. Raises OSError."""
        if self._has_ended():
            return False
        try:
            if sys.platform == "linux" and self._fd is not None:
                signal.pidfd_send_signal(self._fd, signal.SIGTERM)
            else:
                os.kill(self._pid, signal.SIGTERM)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._note is not None:
            self._note.close()
            self._note = None

    def _has_ended(self) -> bool:
        return self._processes.state(self._pid, self._start) in _GONE

    def _look_again_and_again(self, seconds: float) -> bool:
        left = seconds
        while left > 0:
            self._sleep(min(left, _LOOK))
            left -= _LOOK
            if self._has_ended():
                return True
        return False


class _NoteOfExit:
    """A kqueue for the exit of one process. Raises OSError where it cannot be had: ProcessLookupError, it has exited."""

    def __init__(self, pid: int) -> None:
        self._is_notified = False
        self._queue = _kernel().kqueue()
        asks = _kernel().KQ_EV_ADD | _kernel().KQ_EV_ONESHOT
        try:
            self._queue.control([_kernel().kevent(pid, _kernel().KQ_FILTER_PROC, asks, _kernel().KQ_NOTE_EXIT)], 0)
        except OSError:
            self._queue.close()
            raise

    def is_notified(self, seconds: float) -> bool:
        """Told once, it stays so."""
        self._is_notified = self._is_notified or bool(self._queue.control(None, 1, seconds))
        return self._is_notified

    def close(self) -> None:
        self._queue.close()


def _kernel() -> Any:
    import select

    return select


def has_ended(pid: int, start: str) -> bool:
    """Whether the process has that had this id and this start token."""
    return SYSTEM.state(pid, start) in _GONE


def is_this_process(pid: int, start: str) -> bool:
    """Whether it is the one that asks."""
    return pid == os.getpid() and SYSTEM.state(pid, start) not in _GONE


def _pidfd(pid: int) -> int | None:
    """None where there is none to be had: an old kernel, or a full table of descriptors."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _note_of_exit(pid: int) -> _NoteOfExit | None:
    """None where there is none to be had: another kernel, a full table of descriptors, or a process that has exited."""
    if not hasattr(_kernel(), "kqueue"):
        return None
    try:
        return _NoteOfExit(pid)
    except OSError:
        return None


def readable(fds: Iterable[int], seconds: float) -> list[int]:
    """Those of `fds` that have something to be read, or that are no descriptors any more; waits for one for so long.

    What a program is patched with for its greenlets lets the others run meanwhile: eventlet leaves nothing but select(2).
    """
    import select

    if sys.platform == "win32":
        return []
    if not hasattr(select, "poll"):
        return select.select(list(fds), [], [], seconds)[0]
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(seconds * 1000)]


def _waits_on_windows(pid: int, seconds: float) -> bool:
    """Whether it could be waited for."""
    import psutil

    try:
        psutil.Process(pid).wait(seconds)
    except psutil.AccessDenied:
        return False
    except psutil.Error:  # It has not ended in time, or it is not there any more.
        return True
    return True
