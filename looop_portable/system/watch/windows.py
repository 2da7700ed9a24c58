"""What Windows tells a process's watcher: directory notifications, and handles of processes.

Does not guarantee: that only what was asked for wakes: names that come and go in the same directory do, too. Nor anything
to two threads that call it at once, but for what waits, and `poke`.
How: FindFirstChangeNotification, a process's handle, and an event (Microsoft's "Obtaining Directory Change Notifications"),
`WaitForMultipleObjects` of Python's own, which Ctrl-C interrupts, and which takes 63. Half of these are one watcher's, and
who comes then has another. A handle that somebody waits for is closed when he has come back, which he does at once: a
directory whose handle is open cannot be removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Callable, Collection

from looop_portable.protocol.liveness import ProcessState
from looop_portable.system.processes import SYSTEM
from looop_portable.system.processes.handle import has_ended
from looop_portable.system.watch.shared import Following, News, Process
from looop_portable.system.watch.subscriptions import PerProcess
from looop_portable.typed import NamedTuple

assert sys.platform == "win32"

import _winapi  # noqa: E402

_FILE_NAME = 0x1
_SYNCHRONIZE = 0x00100000
_INVALID = ctypes.c_void_p(-1).value
_MOST = 60
_LIVES = (ProcessState.RUNNING, ProcessState.STOPPED)

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateEventW.restype = ctypes.c_void_p
_kernel.FindFirstChangeNotificationW.restype = ctypes.c_void_p
for _name in ("SetEvent", "ResetEvent", "FindNextChangeNotification", "FindCloseChangeNotification"):
    getattr(_kernel, _name).argtypes = [ctypes.c_void_p]


class _Directory(NamedTuple):
    path: str
    handle: int


class WindowsKernel:
    """Raises OSError where it cannot be had."""

    def __init__(self) -> None:
        self._called = _kernel.CreateEventW(None, True, False, None)
        if not self._called:
            raise ctypes.WinError(ctypes.get_last_error())
        self._guard = threading.RLock()
        self._directories: dict[int, _Directory] = {}
        self._numbers = itertools.count()
        self._ends: dict[Process, int] = {}
        self._is_waited_for = False
        self._unused: list[Callable[[], object]] = []

    @property
    def is_full(self) -> bool:
        return self._count() >= _MOST // 2

    def poke(self) -> None:
        with self._guard:  # Without this, one that is closed meanwhile would set whatever has its handle by then.
            if self._called:
                _kernel.SetEvent(self._called)

    def watch(self, path: str) -> tuple[int | None, Collection[int]]:
        directory = path if os.path.isdir(path) else os.path.dirname(path)
        number = next((number for number, each in self._directories.items() if each.path == directory), None)
        is_new = number is None
        if number is None:
            number = self._open(directory)
        if number is not None and not os.path.lexists(path):  # What went before it was watched will not wake.
            if is_new:
                self.unwatch(number)
            return None, ()
        return number, ()

    def unwatch(self, number: int) -> None:
        handle = self._directories.pop(number).handle
        self._release(lambda: _kernel.FindCloseChangeNotification(handle))

    def follow(self, process: Process) -> Following:
        handle = 0
        if self._count() < _MOST:
            with contextlib.suppress(OSError):  # It has ended, or is another user's.
                handle = _winapi.OpenProcess(_SYNCHRONIZE, False, process[0])
        state = SYSTEM.state(*process)  # Known by its start, now that its id stays its own.
        if handle and state in _LIVES:
            self._ends[process] = handle
            self.poke()
            return Following.WATCHED
        if handle:
            _winapi.CloseHandle(handle)
        return Following.ENDED if has_ended(*process) else Following.UNSEEN

    def unfollow(self, process: Process) -> None:
        handle = self._ends.pop(process)
        self._release(lambda: _winapi.CloseHandle(handle))

    def prepare(self, seconds: float) -> Callable[[], list[int]]:
        self._close_unused()
        self._is_waited_for = True
        handles = [self._called, *self._ends.values(), *(each.handle for each in self._directories.values())]
        milliseconds = int(seconds * 1000) + 1 if seconds else 0

        def wait() -> list[int]:
            with contextlib.suppress(InterruptedError):  # Ctrl-C: its exception comes right after.
                first = _winapi.WaitForMultipleObjects(handles, False, milliseconds)
                return [] if first == _winapi.WAIT_TIMEOUT else [first]
            return []

        return wait

    def read(self, notified: list[int]) -> News:
        self._close_unused()
        if not notified:
            return News()
        _kernel.ResetEvent(self._called)
        ended = [process for process, handle in self._ends.items() if _is_set(handle)]
        for process in ended:
            self.unfollow(process)
        changed = [number for number, each in self._directories.items() if _is_set(each.handle)]
        gone = [number for number in changed if not self._goes_on(self._directories[number])]
        for number in gone:
            self.unwatch(number)
        return News(changed, gone, ended)

    def close(self) -> None:
        for number in list(self._directories):
            self.unwatch(number)
        for process in list(self._ends):
            self.unfollow(process)
        self._close_unused()
        with self._guard:
            called, self._called = self._called, 0
        _winapi.CloseHandle(called)

    def abandon(self) -> None:
        """Nothing closes them by itself."""

    def close_inherited(self, *, just_begun: bool) -> None:
        """There is no fork."""

    def _count(self) -> int:
        return len(self._directories) + len(self._ends)

    def _open(self, directory: str) -> int | None:
        if self._count() >= _MOST:
            return None
        handle = _kernel.FindFirstChangeNotificationW(ctypes.c_wchar_p(directory), False, _FILE_NAME)
        if handle in (None, _INVALID):
            return None
        number = next(self._numbers)
        self._directories[number] = _Directory(directory, handle)
        self.poke()
        return number

    @staticmethod
    def _goes_on(directory: _Directory) -> bool:
        """It tells of the next change, too."""
        return bool(_kernel.FindNextChangeNotification(directory.handle)) and os.path.isdir(directory.path)

    def _release(self, close: Callable[[], object]) -> None:
        self._unused.append(close)
        if self._is_waited_for:
            self.poke()
        else:
            self._close_unused()

    def _close_unused(self) -> None:
        """Nobody waits just now."""
        self._is_waited_for = False
        while self._unused:
            self._unused.pop()()


def _is_set(handle: int) -> bool:
    return int(_winapi.WaitForSingleObject(handle, 0)) == _winapi.WAIT_OBJECT_0


WATCHERS = PerProcess(WindowsKernel)
