"""The filesystem's calls on Windows: `files_posix`, but for what is different there.

Guarantees: a file that somebody reads for a moment (a virus scanner, an indexer, a backup) makes no call fail: it is tried
again for half a second. Our own readers let others delete what they read.
Does not guarantee: modes. What is made belongs to whom its directory's access control list says.
How: `CreateFileW` with FILE_SHARE_DELETE for reading, and with nothing but FILE_APPEND_DATA for the event log, which makes
an append one step; errors 5, 32 and 33 are waited out (Microsoft's "System Error Codes").
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from looop_portable.files_posix import OsFiles

assert sys.platform == "win32"

import _winapi  # noqa: E402
import msvcrt  # noqa: E402

_BUSY = (5, 32, 33)  # Access denied (also: being deleted), sharing violation, lock violation.
_WAITS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256)  # Seconds.

_SHARE_ALL = 0x7
_READ_DATA, _APPEND_DATA, _SYNCHRONIZE = 0x80000000, 0x0004, 0x00100000
_OPEN_EXISTING, _OPEN_ALWAYS = 3, 4
_NORMAL, _NOT_THROUGH_LINKS = 0x80, 0x00200000

_T = TypeVar("_T")


class WindowsFiles(OsFiles):
    """`Files` on Windows."""

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:  # noqa: ARG002
        _patiently(lambda: OsFiles.create(self, path, data, durable=durable))

    def link(self, private: str, public: str) -> None:
        _patiently(lambda: OsFiles.link(self, private, public))

    def rename(self, private: str, public: str) -> None:
        _patiently(lambda: os.rename(private, public))

    def replace(self, private: str, public: str) -> None:
        _patiently(lambda: _writable(lambda: os.replace(private, public), public))

    def remove(self, path: str) -> bool:
        return _patiently(lambda: _writable(lambda: OsFiles.remove(self, path), path))

    def list(self, path: str) -> list[str]:
        return _patiently(lambda: OsFiles.list(self, path))

    def mkdir(self, path: str, *, shared: int = 0) -> None:  # noqa: ARG002
        _patiently(lambda: OsFiles.mkdir(self, path))

    def rmdir(self, path: str) -> None:
        _patiently(lambda: OsFiles.rmdir(self, path))

    def shared_bits(self, path: str) -> int:
        os.stat(path)  # It must be there, as everywhere.
        return 0

    def _open(self, path: str) -> int:
        handle = _patiently(lambda: _file(path, _READ_DATA, _OPEN_EXISTING))
        return msvcrt.open_osfhandle(handle, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)

    def _open_to_append(self, path: str) -> int:
        handle = _patiently(lambda: _file(path, _APPEND_DATA | _SYNCHRONIZE, _OPEN_ALWAYS))
        return msvcrt.open_osfhandle(handle, os.O_WRONLY | os.O_APPEND | os.O_BINARY | os.O_NOINHERIT)


def _file(path: str, access: int, disposition: int) -> int:
    try:
        return _winapi.CreateFile(path, access, _SHARE_ALL, 0, disposition, _NORMAL | _NOT_THROUGH_LINKS, 0)
    except OSError as error:
        if error.winerror in _BUSY and os.path.isdir(path):
            raise IsADirectoryError(21, "a directory stands where a file should be", path) from error
        error.filename = path
        raise


def _patiently(call: Callable[[], _T]) -> _T:
    for wait in _WAITS:
        try:
            return call()
        except OSError as error:
            if error.winerror not in _BUSY:
                raise
        time.sleep(wait)
    return call()


def _writable(call: Callable[[], _T], path: str) -> _T:
    """Records that a POSIX host wrote are read-only, and Windows removes no such file."""
    try:
        return call()
    except PermissionError:
        with contextlib.suppress(FileNotFoundError):  # Then it is in nobody's way any more.
            mode = os.stat(path).st_mode
            if mode & stat.S_IWRITE or not stat.S_ISREG(mode):
                raise
            os.chmod(path, stat.S_IREAD | stat.S_IWRITE)
    return call()
