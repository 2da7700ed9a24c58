"""The filesystem's calls on Windows: `files/posix`, but for what is different there.

Guarantees: a file that somebody reads for a moment (a virus scanner, an indexer, a backup) makes no call fail, the guard
included: it is tried again (`handles`). Our own handles let others rename and remove what they have open. A path that
leads through a file is an error, as on POSIX, and not a place where nothing is. A name is itself: neither a trailing dot
nor CON means anything else, and a path may be longer than 260 characters.
Does not guarantee: modes. What is made belongs to whom its directory's access control list says. Nor that somebody who
keeps a record open without FILE_SHARE_DELETE, as most programs do, is in nobody's way: after half a second it is an error.
Nor that a directory which somebody watches is removed: it stays, and is used again.
How: `CreateFileW` with FILE_SHARE_DELETE, and for the event log with nothing but FILE_APPEND_DATA, which makes an append
one step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator

from looop_portable.system.files.posix import OsFiles
from looop_portable.system.files.rooms import NamedRoom, Room
from looop_portable.typed import TypeVar

assert sys.platform == "win32"

import _winapi  # noqa: E402

from looop_portable.system.locks.guard_windows import excludes, guard  # noqa: E402
from looop_portable.system.opening import handles  # noqa: E402
from looop_portable.system.opening.handles import exact as _exact  # noqa: E402
from looop_portable.system.opening.handles import patiently as _patiently  # noqa: E402
from looop_portable.system.opening.handles import plain as _told  # noqa: E402, F401 (what `exact` undoes)
from looop_portable.system.opening.handles import plain_errors  # noqa: E402

_LEADS_ELSEWHERE = 0x20000000  # In a reparse tag: a symbolic link, a junction.

_T = TypeVar("_T")


class WindowsFiles(OsFiles):
    """`Files` on Windows."""

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:  # noqa: ARG002
        _patiently(lambda: OsFiles.create(self, _exact(path), data, durable=durable))

    def link(self, private: str, public: str) -> None:
        _patiently(lambda: OsFiles.link(self, _exact(private), _exact(public)))

    def rename(self, private: str, public: str) -> None:
        """A directory in which somebody has a file open is only said to be denied."""
        is_in_use = lambda: os.path.isdir(_exact(private))  # noqa: E731
        _patiently(lambda: os.rename(_exact(private), _exact(public)), is_in_use=is_in_use)

    def is_same(self, path: str, other: str) -> bool | None:
        return _patiently(lambda: OsFiles.is_same(self, _exact(path), _exact(other)))

    def replace(self, private: str, public: str) -> None:
        """Replacing what somebody has open is only said to be denied."""
        call = lambda: _writable(lambda: os.replace(_exact(private), _exact(public)), _exact(public))  # noqa: E731
        try:
            _patiently(call, is_in_use=lambda: handles.is_open(_exact(public)))
        except PermissionError:
            self._say_if_in_use(public)
            raise

    def remove(self, path: str) -> bool:
        return _patiently(lambda: _writable(lambda: self._remove(_exact(path)), _exact(path)))

    def _remove(self, path: str) -> bool:
        try:
            return OsFiles.remove(self, path)
        except PermissionError as error:
            if handles.is_being_removed(error):
                return False
            raise

    def list(self, path: str) -> list[str]:
        return _patiently(lambda: _there(lambda: OsFiles.list(self, _exact(path))))

    def refuse_link(self, path: str) -> None:
        if _patiently(lambda: _there(lambda: os.lstat(_exact(path)))).st_reparse_tag & _LEADS_ELSEWHERE:
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
        """Unless somebody watches it: without that, its name could be used for nothing until he stops."""
        _patiently(lambda: handles.remove_unwatched(_exact(path)))

    def make_beat(self, path: str, *, shared: int = 0) -> None:  # noqa: ARG002
        os.close(_patiently(lambda: self._open_new_beat(_exact(path))))
        self.beat(path)

    def beat(self, path: str) -> None:
        _patiently(lambda: OsFiles.beat(self, _exact(path)))

    def changed(self, path: str) -> int | None:
        with _nothing_by_a_bad_name():
            return _patiently(lambda: OsFiles.changed(self, _exact(path)))
        return None

    def keep_young(self, path: str, older: float) -> None:
        OsFiles.keep_young(self, _exact(path), older)

    def shared_bits(self, path: str) -> int:
        _patiently(lambda: _there(lambda: os.stat(_exact(path))))  # It must be there, as everywhere.
        return 0

    def append(self, path: str, line: bytes, cap: int, *, shared: int = 0) -> None:  # noqa: ARG002
        with plain_errors():
            OsFiles.append(self, _exact(path), line, cap)

    @contextlib.contextmanager
    def guard(self, path: str, *, shared: int = 0) -> Iterator[None]:  # noqa: ARG002
        """Made in its place, for it has no mode: to remove another name of it would keep others from opening it."""
        with guard(path):
            yield

    def guard_excludes(self, path: str, *, shared: int = 0) -> bool:
        with self.guard(path, shared=shared):
            return excludes(path)

    def opens_by_both(self, path: str, other: str) -> bool:
        return _patiently(lambda: OsFiles.opens_by_both(self, _exact(path), _exact(other)))

    def make_private(self, path: str) -> None:
        _patiently(lambda: OsFiles.make_private(self, _exact(path)))

    def open_to_follow(self, path: str) -> int:
        return self._open(_exact(path))

    def in_use(self, error: OSError) -> bool:
        return error.winerror in handles.IN_USE

    def _say_if_in_use(self, path: str) -> None:
        """Replacing what somebody has open is only said to be denied; opening it in order to remove it says why."""
        with plain_errors(), contextlib.suppress(FileNotFoundError):
            _winapi.CloseHandle(handles.handle(_exact(path), handles.DELETE, handles.OPEN_EXISTING))

    def _open_by_any_name(self, path: str) -> int:
        return self._open(path)  # What is invalid here is a name.

    def _open(self, path: str) -> int:
        with plain_errors():
            return _opened(path, handles.READ_DATA, handles.OPEN_EXISTING, os.O_RDONLY)

    def _open_new(self, path: str) -> int:
        return _opened(path, handles.WRITE_DATA, handles.CREATE_NEW, os.O_WRONLY)

    def _open_new_beat(self, path: str) -> int:
        return _opened(path, handles.WRITE_DATA, handles.CREATE_NEW, os.O_WRONLY)

    def _open_in_place(self, path: str) -> int:
        return _opened(path, handles.WRITE_DATA, handles.OPEN_EXISTING, os.O_WRONLY)

    def _open_floors(self, path: str, how: int, mode: int = 0) -> int:  # noqa: ARG002
        access = handles.READ_DATA | (handles.WRITE_DATA if how & os.O_RDWR else 0)
        disposition = handles.OPEN_ALWAYS if how & os.O_CREAT else handles.OPEN_EXISTING
        return _patiently(lambda: _opened(_exact(path), access, disposition, how & (os.O_RDWR | os.O_RDONLY)))

    def _open_alone(self, path: str, *, make: bool) -> int:
        how = handles.OPEN_ALWAYS if make else handles.OPEN_EXISTING
        return _patiently(lambda: _opened(_exact(path), handles.READ_DATA | handles.WRITE_DATA, how, os.O_RDWR))

    def _unlink(self, path: str) -> None:
        _patiently(lambda: os.unlink(_exact(path)))

    def _lstat(self, path: str) -> os.stat_result:
        return _patiently(lambda: os.lstat(_exact(path)))

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
        access = handles.APPEND_DATA | handles.SYNCHRONIZE
        return _patiently(lambda: _opened(path, access, handles.OPEN_ALWAYS, os.O_WRONLY | os.O_APPEND))


def _opened(path: str, access: int, disposition: int, flags: int) -> int:
    return handles.descriptor(handles.handle(path, access, disposition), flags)


def _there(look: Callable[[], _T]) -> _T:
    """What is to be seen of a name. One that is being removed is not there."""
    try:
        return look()
    except PermissionError as error:
        if handles.is_being_removed(error):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), error.filename) from error
        raise


@contextlib.contextmanager
def _nothing_by_a_bad_name() -> Iterator[None]:
    """No file can have such a name: none is there."""
    try:
        yield
    except OSError as error:
        if error.winerror != handles.BAD_NAME:
            raise


def _writable(call: Callable[[], _T], path: str) -> _T:
    """Records that a POSIX host wrote are read-only, and Windows removes no such file."""
    try:
        return call()
    except PermissionError:
        with contextlib.suppress(FileNotFoundError):  # Then it is in nobody's way any more.
            if not handles.is_read_only(path):
                raise
            os.chmod(path, stat.S_IREAD | stat.S_IWRITE)
    return call()
