"""What is asked of Windows itself: job objects, which end together; its directory; packages; logoffs.

Does not guarantee: anything of the jobs around the innermost one that this process is in: they cannot be seen.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes  # noqa: E402
from ctypes import wintypes  # noqa: E402

EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation.
KILL_ON_JOB_CLOSE = 0x2000
CREATE_BREAKAWAY_FROM_JOB = 0x01000000


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", wintypes.DWORD),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("processes", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority", wintypes.DWORD),
        ("scheduling", wintypes.DWORD),
    )


class Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (("basic", _BasicLimits), ("io", ctypes.c_uint64 * 6), ("memory", ctypes.c_size_t * 4))


class Accounting(ctypes.Structure):
    """JOBOBJECT_BASIC_ACCOUNTING_INFORMATION."""

    _fields_ = (
        ("times", ctypes.c_int64 * 4),
        ("page_faults", wintypes.DWORD),
        ("processes", wintypes.DWORD),
        ("active", wintypes.DWORD),
        ("terminated", wintypes.DWORD),
    )


kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.CreateJobObjectW.restype = wintypes.HANDLE
kernel.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
kernel.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
kernel.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
kernel.QueryInformationJobObject.argtypes = (
    *(wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD, wintypes.LPDWORD),
)
kernel.GetSystemDirectoryW.argtypes = (wintypes.LPWSTR, wintypes.UINT)
_Handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
kernel.SetConsoleCtrlHandler.argtypes = (_Handler, wintypes.BOOL)
_LONGEST_PATH = 32768
_CTRL_LOGOFF_EVENT = 5
_INSUFFICIENT_BUFFER = 122


def new_job(flags: int) -> int:
    """A job with these limits; its handle. Raises OSError."""
    job = kernel.CreateJobObjectW(None, None)
    limits = Limits()
    limits.basic.flags = flags
    size = ctypes.sizeof(limits)
    if not job or not kernel.SetInformationJobObject(job, EXTENDED_LIMITS, ctypes.byref(limits), size):
        raise ctypes.WinError(ctypes.get_last_error())
    return int(job)


def own_limits() -> int:
    """The limits of the innermost job that this process is in; 0: it is in none, or that cannot be told."""
    limits = Limits()
    size = ctypes.sizeof(limits)
    found = kernel.QueryInformationJobObject(None, EXTENDED_LIMITS, ctypes.byref(limits), size, None)
    return int(limits.basic.flags) if found else 0


def system_directory() -> str:
    """Windows' own directory of programs, whatever the environment says. Raises OSError."""
    path = ctypes.create_unicode_buffer(_LONGEST_PATH)
    if not 0 < kernel.GetSystemDirectoryW(path, _LONGEST_PATH) < _LONGEST_PATH:
        raise ctypes.WinError(ctypes.get_last_error())
    return path.value


def is_packaged() -> bool:
    """Whether this process is one of an app with a package, as Python from the Microsoft Store is."""
    length = wintypes.UINT(0)
    ask = getattr(kernel, "GetCurrentPackageFullName", None)
    return ask is not None and ask(ctypes.byref(length), None) == _INSUFFICIENT_BUFFER


def on_console_event(event: int) -> bool:
    """Whether nobody else is asked what to do: without this, Python would take it for Ctrl-Break, or be ended."""
    return event == _CTRL_LOGOFF_EVENT


_handler = _Handler(on_console_event)
"""Kept for as long as Windows may call it."""


def stay_at_logoff() -> None:
    """From now on nothing happens to this process when somebody logs off.

    Windows tells it to services and what they have started alone, whoever it is that logs off: who is logged off himself
    is ended without being told. Python's own handler is there from its start: the latest is asked first.
    """
    kernel.SetConsoleCtrlHandler(_handler, False)  # Once is enough.
    kernel.SetConsoleCtrlHandler(_handler, True)
