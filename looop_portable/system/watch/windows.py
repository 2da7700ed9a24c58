"""A watcher that Windows wakes: `waking` there.

Does not guarantee: that only what was asked for wakes: names that come and go in the same directory do, too.
How: FindFirstChangeNotification, a process's handle, and an event (Microsoft's "Obtaining Directory Change Notifications");
`WaitForMultipleObjects` of Python's own, which Ctrl-C interrupts, and which takes 63.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterable

from looop_portable.protocol.liveness import ProcessState, Registration
from looop_portable.system.processes import SYSTEM

assert sys.platform == "win32"

import _winapi  # noqa: E402

_FILE_NAME = 0x1
_SYNCHRONIZE = 0x00100000
_INVALID = ctypes.c_void_p(-1).value
_MOST = 60
_LIVES = (ProcessState.RUNNING, ProcessState.STOPPED)
_LONGEST = 3_600_000  # Milliseconds.

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateEventW.restype = ctypes.c_void_p
_kernel.FindFirstChangeNotificationW.restype = ctypes.c_void_p
for _name in ("SetEvent", "ResetEvent", "FindNextChangeNotification", "FindCloseChangeNotification"):
    getattr(_kernel, _name).argtypes = [ctypes.c_void_p]


class WindowsWatcher:
    """A watcher that a directory, a process and an event ring. Raises OSError where it cannot be made."""

    def __init__(self) -> None:
        self._woken = _kernel.CreateEventW(None, True, False, None)
        if not self._woken:
            raise ctypes.WinError(ctypes.get_last_error())
        self._guard = threading.RLock()
        self._watched: dict[str, int] = {}
        self._process: tuple[int, str] | None = None
        self._handle = 0

    def watch(self, paths: Iterable[str]) -> bool:
        wanted = list(paths)
        directories = [path if os.path.isdir(path) else os.path.dirname(path) for path in wanted]
        for directory in [directory for directory in self._watched if directory not in directories]:
            _kernel.FindCloseChangeNotification(self._watched.pop(directory))
        for directory in directories:
            if directory not in self._watched and not self._watch(directory):
                return False
        return bool(wanted) and all(map(os.path.lexists, wanted))  # What went before we listened will not wake.

    def follow(self, process: Registration | None) -> bool:
        wanted = (process.pid, process.start) if process else None
        if wanted != self._process:
            self._close_all()
            self._process = wanted
            if wanted:
                with contextlib.suppress(OSError):  # It has ended, or is another user's.
                    self._handle = _winapi.OpenProcess(_SYNCHRONIZE, False, wanted[0])
                if (
                    self._handle and SYSTEM.state(*wanted) not in _LIVES
                ):  # Known by its start, now that its id stays its own.
                    self._close_all()
        return bool(self._handle)

    def forget(self) -> None:
        _kernel.ResetEvent(self._woken)
        for handle in self._watched.values():
            if _winapi.WaitForSingleObject(handle, 0) == _winapi.WAIT_OBJECT_0:
                _kernel.FindNextChangeNotification(handle)

    def wake(self) -> None:
        with self._guard:  # Without this, one that is closed meanwhile would ring whatever has its handle by then.
            if self._woken:
                _kernel.SetEvent(self._woken)

    def wait(self, seconds: float) -> None:
        handles = [*filter(None, [self._handle]), self._woken, *self._watched.values()]
        first = None
        with contextlib.suppress(InterruptedError):  # Ctrl-C: its exception comes right after.
            first = _winapi.WaitForMultipleObjects(handles, False, min(int(seconds * 1000) + 1, _LONGEST))
        if self._handle and first == _winapi.WAIT_OBJECT_0:  # It has ended, and would ring for ever.
            self._close_all()

    def close(self) -> None:
        self.watch([])
        self._close_all()
        with self._guard:
            woken, self._woken = self._woken, 0
        _winapi.CloseHandle(woken)

    def _watch(self, directory: str) -> bool:
        if len(self._watched) >= _MOST:
            return False
        handle = _kernel.FindFirstChangeNotificationW(ctypes.c_wchar_p(directory), False, _FILE_NAME)
        if handle in (None, _INVALID):
            return False
        self._watched[directory] = handle
        return True

    def _close_all(self) -> None:
        if self._handle:
            _winapi.CloseHandle(self._handle)
        self._process, self._handle = None, 0
