"""Windows' own calls on files, as `files/windows` makes them: exact paths, handles that share all, and patience.

Guarantees: what is only in the way for a moment is waited for, half a second at most; what is denied for good is not: a
directory that is not ours to write would otherwise make each call slow. A name that is being removed is not there.
Does not guarantee: that a denial is known for what it is. Where Windows does not tell why, it is waited for.
How: errors 32 and 33 say that somebody has the file open. Error 5 is said of many things, which the status of the same call
tells apart ([MS-ERREF], "NTSTATUS Values"; RtlGetLastNtStatus). Paths are given with the prefix that turns parsing off
(Microsoft's "Naming Files, Paths, and Namespaces"), which has backslashes alone, and are told without.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator

from looop_portable.typed import TypeVar

assert sys.platform == "win32"

import _winapi  # noqa: E402
import msvcrt  # noqa: E402

READ_DATA, WRITE_DATA, APPEND_DATA, SYNCHRONIZE, DELETE = 0x80000000, 0x40000000, 0x0004, 0x00100000, 0x00010000
CREATE_NEW, OPEN_EXISTING, OPEN_ALWAYS = 1, 3, 4

IN_USE = (32, 33)
"""Sharing violation, lock violation."""
BAD_NAME = 123
_DENIED = 5
_NOT_THERE = (3, BAD_NAME, 267)  # Path not found, invalid name, invalid directory: also said of what is below a file.
_STATUS_BEING_REMOVED, _STATUS_CANNOT_BE_REMOVED = 0xC0000056, 0xC0000121
_PASSING = (0, _STATUS_BEING_REMOVED, _STATUS_CANNOT_BE_REMOVED)
"""Why something was denied that may not be denied in the next moment. 0: Windows does not tell."""
_WAITS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256)  # Seconds.
_WAITS_IF_DENIED = 2
"""So many of them: a denial for good costs 3 ms a call."""

_SHARE_ALL = 0x7
_NORMAL, _NOT_THROUGH_LINKS, _DIRECTORIES_TOO = 0x80, 0x00200000, 0x02000000
_DISPOSITION = 4

_T = TypeVar("_T")

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.SetFileInformationByHandle.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32]
_last_status = ctypes.WinDLL("ntdll").RtlGetLastNtStatus


def status() -> int:
    """Why this thread's last call failed, as NTSTATUS. To be asked at once."""
    return int(_last_status()) & 0xFFFFFFFF


def exact(path: str) -> str:
    """`path` with the prefix by which it means what it says."""
    path = path.replace("/", "\\").removesuffix("\\.")
    if path.startswith(("\\\\?\\", "\\\\.\\")):
        return path
    if path.startswith("\\\\"):
        return f"\\\\?\\UNC{path[1:]}"
    if path[1:2] == ":":
        return f"\\\\?\\{path}" if len(path) > 2 else f"\\\\?\\{path}\\"
    return path  # Relative, or below the root of the current drive: what it means is not for us to say.


def plain(name: object) -> object:
    """A path as the rest of the package spells it."""
    if not isinstance(name, str):
        return name
    plain = "\\" + name[7:] if name.startswith("\\\\?\\UNC\\") else name.removeprefix("\\\\?\\")
    return plain.replace("\\", "/")


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = str(error.filename2 or error.filename or "")
        error.filename, error.filename2 = plain(error.filename), plain(error.filename2)
        if error.winerror in _NOT_THERE and _leads_through_a_file(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), plain(path)) from error
        raise


def _leads_through_a_file(path: str) -> bool:
    while path != os.path.dirname(path) and not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.lexists(path) and not os.path.isdir(path)


def handle(path: str, access: int, disposition: int, attributes: int = _NORMAL, share: int = _SHARE_ALL) -> int:
    """Of the file at `path`, which is exact, and of no other that a link there names."""
    try:
        return _winapi.CreateFile(path, access, share, 0, disposition, attributes | _NOT_THROUGH_LINKS, 0)
    except OSError as error:
        error.filename = path
        being_removed = is_being_removed(error)
        if being_removed and disposition == OPEN_EXISTING:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
        busy = error.winerror in (_DENIED, *IN_USE) and not being_removed
        if busy and disposition != CREATE_NEW and os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, "a directory stands where a file should be", path) from error
        raise


def descriptor(opened: int, flags: int) -> int:
    try:
        return msvcrt.open_osfhandle(opened, flags | os.O_BINARY | os.O_NOINHERIT)
    except OSError:
        _winapi.CloseHandle(opened)
        raise


def patiently(call: Callable[[], _T], *, is_in_use: Callable[[], bool] = bool) -> _T:
    """What `call` gives, tried again while something is in its way that may pass.

    `is_in_use`: asked of a denial that is said of what is open, too.
    """
    with plain_errors():
        for at, wait in enumerate(_WAITS):
            try:
                return call()
            except OSError as error:
                if error.winerror == _DENIED:
                    if at >= _WAITS_IF_DENIED and status() not in _PASSING and not is_in_use():
                        raise
                elif error.winerror not in IN_USE:
                    raise
            time.sleep(wait)
        return call()


def is_being_removed(error: OSError) -> bool:
    """Whether what this thread has just been denied is a name that is being removed: it is not there any more."""
    return error.winerror == _DENIED and status() == _STATUS_BEING_REMOVED


def is_open(path: str) -> bool:
    """Whether anybody has the file or the directory at `path` open, in whatever way."""
    try:
        _winapi.CloseHandle(handle(path, READ_DATA, OPEN_EXISTING, _DIRECTORIES_TOO, share=0))
    except OSError as error:
        return isinstance(error, IsADirectoryError) or error.winerror in IN_USE
    return False


def is_read_only(path: str) -> bool:
    """Whether a regular file there is."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and not mode & stat.S_IWRITE


def remove_unwatched(path: str) -> bool:
    """Remove the empty directory at `path`, unless somebody has it open. Whether it was removed. Raises OSError.

    Without this, one that somebody watches would be removed when he stops: until then its name could be used for nothing.
    """
    try:
        opened = _winapi.CreateFile(path, DELETE, 0, 0, OPEN_EXISTING, _DIRECTORIES_TOO | _NOT_THROUGH_LINKS, 0)
    except OSError as error:
        error.filename = path
        if error.winerror in IN_USE:
            return False
        raise
    try:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        gone = ctypes.c_uint32(1)
        if not _kernel.SetFileInformationByHandle(opened, _DISPOSITION, ctypes.byref(gone), 1):
            raise _error(ctypes.get_last_error(), path)
        return True
    finally:
        _winapi.CloseHandle(opened)


def _error(number: int, path: str) -> OSError:
    return OSError(0, ctypes.FormatError(number), path, number)
