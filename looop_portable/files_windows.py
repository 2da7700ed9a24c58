"""The filesystem's calls on Windows: `files_posix`, but for what is different there.

Guarantees: a file that somebody reads for a moment (a virus scanner, an indexer, a backup) makes no call fail: it is tried
again for half a second. Our own handles let others rename and remove what they have open. A path that leads through a file
is an error, as on POSIX, and not a place where nothing is. A name is itself: neither a trailing dot nor CON means anything
else, and a path may be longer than 260 characters.
Does not guarantee: modes. What is made belongs to whom its directory's access control list says. Nor that somebody who
keeps a record open without FILE_SHARE_DELETE, as most programs do, is in nobody's way: after half a second it is an error.
How: `CreateFileW` with FILE_SHARE_DELETE, and for the event log with nothing but FILE_APPEND_DATA, which makes an append
one step; errors 5, 32 and 33 are waited out (Microsoft's "System Error Codes"); paths are given with the prefix that turns
parsing off (Microsoft's "Naming Files, Paths, and Namespaces"), and are told without.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from looop_portable.files_posix import OsFiles
from looop_portable.files_rooms import NamedRoom, Room
from looop_portable.guard import guard

assert sys.platform == "win32"

import _winapi  # noqa: E402
import msvcrt  # noqa: E402

_IN_USE = (32, 33)  # Sharing violation, lock violation.
_BUSY = (5, *_IN_USE)  # Access denied: also what is open and would be replaced, or is being removed.
_BAD_NAME = 123
_NOT_THERE = (3, _BAD_NAME, 267)  # Path not found, invalid name, invalid directory: also said of what is below a file.
_WAITS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256)  # Seconds.

_SHARE_ALL = 0x7
_READ_DATA, _WRITE_DATA, _APPEND_DATA, _SYNCHRONIZE, _DELETE = 0x80000000, 0x40000000, 0x0004, 0x00100000, 0x00010000
_CREATE_NEW, _OPEN_EXISTING, _OPEN_ALWAYS = 1, 3, 4
_NORMAL, _NOT_THROUGH_LINKS = 0x80, 0x00200000
_LEADS_ELSEWHERE = 0x20000000  # In a reparse tag: a symbolic link, a junction.

_T = TypeVar("_T")


class WindowsFiles(OsFiles):
    """`Files` on Windows."""

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:  # noqa: ARG002
        _patiently(lambda: OsFiles.create(self, _exact(path), data, durable=durable))

    def link(self, private: str, public: str) -> None:
        _patiently(lambda: OsFiles.link(self, _exact(private), _exact(public)))

    def rename(self, private: str, public: str) -> None:
        _patiently(lambda: os.rename(_exact(private), _exact(public)))

    def replace(self, private: str, public: str) -> None:
        try:
            _patiently(lambda: _writable(lambda: os.replace(_exact(private), _exact(public)), _exact(public)))
        except PermissionError:
            self._say_if_in_use(public)
            raise

    def remove(self, path: str) -> bool:
        return _patiently(lambda: _writable(lambda: OsFiles.remove(self, _exact(path)), _exact(path)))

    def list(self, path: str) -> list[str]:
        return _patiently(lambda: OsFiles.list(self, _exact(path)))

    def refuse_link(self, path: str) -> None:
        if _patiently(lambda: os.lstat(_exact(path))).st_reparse_tag & _LEADS_ELSEWHERE:
            raise OSError(errno.ELOOP, "a symbolic link or junction stands where a directory of ours should be", path)

    @contextlib.contextmanager
    def room(self, path: str, deep: int) -> Iterator[Room]:
        yield NamedRoom(self, path, deep)

    def read(self, path: str) -> bytes | None:
        with _nothing_by_a_bad_name():
            return _patiently(lambda: OsFiles.read(self, _exact(path)))
        return None

    def mkdir(self, path: str, *, shared: int = 0) -> None:  # noqa: ARG002
        _patiently(lambda: OsFiles.mkdir(self, _exact(path)))

    def rmdir(self, path: str) -> None:
        _patiently(lambda: OsFiles.rmdir(self, _exact(path)))

    def make_beat(self, path: str, *, shared: int = 0) -> None:  # noqa: ARG002
        os.close(_patiently(lambda: self._open_new_beat(_exact(path))))
        self.beat(path)

    def beat(self, path: str) -> None:
        _patiently(lambda: OsFiles.beat(self, _exact(path)))

    def changed(self, path: str) -> int | None:
        with _nothing_by_a_bad_name():
            return _patiently(lambda: OsFiles.changed(self, _exact(path)))
        return None

    def now(self, directory: str) -> int:
        return OsFiles.now(self, _exact(directory).replace("\\", "/"))

    def shared_bits(self, path: str) -> int:
        _patiently(lambda: os.stat(_exact(path)))  # It must be there, as everywhere.
        return 0

    def append(self, path: str, line: bytes, cap: int, *, shared: int = 0) -> None:  # noqa: ARG002
        with _told_plainly():
            OsFiles.append(self, _exact(path), line, cap)

    @contextlib.contextmanager
    def guard(self, path: str, *, shared: int = 0) -> Iterator[None]:  # noqa: ARG002
        """Made in its place, for it has no mode: to remove another name of it would keep others from opening it."""
        with contextlib.ExitStack() as held:
            _patiently(lambda: held.enter_context(guard(_exact(path), mode=0o600)))
            yield

    def opens_by_both(self, path: str, other: str) -> bool:
        return _patiently(lambda: OsFiles.opens_by_both(self, _exact(path), _exact(other)))

    def make_private(self, path: str) -> None:
        _patiently(lambda: OsFiles.make_private(self, _exact(path)))

    def open_to_follow(self, path: str) -> int:
        return self._open(_exact(path))

    def in_use(self, error: OSError) -> bool:
        return error.winerror in _IN_USE

    def _say_if_in_use(self, path: str) -> None:
        """Replacing what somebody has open is only said to be denied; opening it in order to remove it says why."""
        with _told_plainly(), contextlib.suppress(FileNotFoundError):
            _winapi.CloseHandle(_handle(_exact(path), _DELETE, _OPEN_EXISTING))

    def _open_by_any_name(self, path: str) -> int:
        return self._open(path)  # What is invalid here is a name.

    def _open(self, path: str) -> int:
        with _told_plainly():
            return _descriptor(_handle(path, _READ_DATA, _OPEN_EXISTING), os.O_RDONLY)

    def _open_new(self, path: str) -> int:
        return _descriptor(_handle(path, _WRITE_DATA, _CREATE_NEW), os.O_WRONLY)

    def _open_new_beat(self, path: str) -> int:
        return _descriptor(_handle(path, _WRITE_DATA, _CREATE_NEW), os.O_WRONLY)

    def _open_in_place(self, path: str) -> int:
        return _descriptor(_handle(path, _WRITE_DATA, _OPEN_EXISTING), os.O_WRONLY)

    def _open_alone(self, path: str, *, make: bool) -> int:
        how = _OPEN_ALWAYS if make else _OPEN_EXISTING
        return _descriptor(_patiently(lambda: _handle(_exact(path), _READ_DATA | _WRITE_DATA, how)), os.O_RDWR)

    def _is_open_as(self, path: str, fd: int) -> bool:
        try:
            return OsFiles._is_open_as(self, _exact(path), fd)
        except PermissionError:
            return False  # It is being removed.

    def _last_byte(self, fd: int, path: str, size: int) -> bytes:  # noqa: ARG002 (that one may only append)
        try:
            reading = self._open(path)
        except OSError:
            return b""
        try:
            os.lseek(reading, size - 1, os.SEEK_SET)
            return os.read(reading, 1)
        finally:
            os.close(reading)

    def _open_to_append(self, path: str, mode: int) -> int:  # noqa: ARG002
        handle = _patiently(lambda: _handle(path, _APPEND_DATA | _SYNCHRONIZE, _OPEN_ALWAYS))
        return _descriptor(handle, os.O_WRONLY | os.O_APPEND)


def _exact(path: str) -> str:
    """`path` with the prefix by which it means what it says."""
    path = path.replace("/", "\\").removesuffix("\\.")
    if path.startswith(("\\\\?\\", "\\\\.\\")):
        return path
    if path.startswith("\\\\"):
        return f"\\\\?\\UNC{path[1:]}"
    if path[1:2] == ":":
        return f"\\\\?\\{path}" if len(path) > 2 else f"\\\\?\\{path}\\"
    return path  # Relative, or below the root of the current drive: what it means is not for us to say.


def _told(name: object) -> object:
    """A path as the rest of the package spells it."""
    if not isinstance(name, str):
        return name
    plain = "\\" + name[7:] if name.startswith("\\\\?\\UNC\\") else name.removeprefix("\\\\?\\")
    return plain.replace("\\", "/")


@contextlib.contextmanager
def _nothing_by_a_bad_name() -> Iterator[None]:
    """No file can have such a name: none is there."""
    try:
        yield
    except OSError as error:
        if error.winerror != _BAD_NAME:
            raise


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = str(error.filename2 or error.filename or "")
        error.filename, error.filename2 = _told(error.filename), _told(error.filename2)
        if error.winerror in _NOT_THERE and _leads_through_a_file(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), _told(path)) from error
        raise


def _leads_through_a_file(path: str) -> bool:
    while path != os.path.dirname(path) and not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.lexists(path) and not os.path.isdir(path)


def _handle(path: str, access: int, disposition: int) -> int:
    try:
        return _winapi.CreateFile(path, access, _SHARE_ALL, 0, disposition, _NORMAL | _NOT_THROUGH_LINKS, 0)
    except OSError as error:
        error.filename = path
        if error.winerror in _BUSY and os.path.isdir(path) and disposition != _CREATE_NEW:
            raise IsADirectoryError(errno.EISDIR, "a directory stands where a file should be", path) from error
        raise


def _descriptor(handle: int, flags: int) -> int:
    try:
        return msvcrt.open_osfhandle(handle, flags | os.O_BINARY | os.O_NOINHERIT)
    except OSError:
        _winapi.CloseHandle(handle)
        raise


def _patiently(call: Callable[[], _T]) -> _T:
    with _told_plainly():
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
