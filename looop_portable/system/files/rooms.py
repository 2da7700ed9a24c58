"""Directories that are open: what is listed and removed there is in the directory that was opened, whatever stands at its
path by then.

Does not guarantee: anything of a file with one of our names in a directory of ours. Every writer there can make one.
Guarantees: no symbolic link is followed below the directory that a user may have put elsewhere himself (`claims` or
`sessions`), neither one that was planted before nor one that is planted meanwhile. Without this, who sweeps would remove
files in the home of somebody else.
How: each directory on the way is opened relative to the one above it, with O_NOFOLLOW and O_DIRECTORY; what is done in the
last one names its descriptor (openat(2), unlinkat(2), renameat(2)). Where a system has no such calls, or they are scripted,
`Room` is what they are made of there: the link is looked for once, and paths are used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator

from looop_portable.system.opening.descriptors import share, write
from looop_portable.system.opening.direct import direct
from looop_portable.system.opening.locales import UTF8, read_back, settled
from looop_portable.typed import Protocol

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_PATH = getattr(os, "O_PATH", os.O_RDONLY)
"""To pass through a directory takes no right to read it."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
_IS_A_LINK = "a symbolic link stands where a directory of ours should be; remove it"


class Room(Protocol):
    """A directory. Names are those of its entries, without slashes. Methods raise OSError."""

    def names(self) -> list[str]: ...
    def remove(self, name: str) -> bool: ...
    def rmdir(self, name: str) -> None: ...
    def empty(self) -> None: ...
    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None: ...
    def replace(self, private: str, public: str) -> None: ...


class OpenRoom:
    """The directory `path`, which is open as `fd`."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def names(self) -> list[str]:
        """Of all that is there."""
        return [name if UTF8 else read_back(os.fsencode(name)) for name in os.listdir(self._fd)]

    def remove(self, name: str) -> bool:
        """Whether it was there to be removed."""
        try:
            with self._described(name):
                os.unlink(settled(name), dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def rmdir(self, name: str) -> None:
        """A directory that is empty."""
        with self._described(name):
            os.rmdir(settled(name), dir_fd=self._fd)

    def empty(self) -> None:
        """Remove all that is there, whoever else does so too. What is mounted there is not entered."""
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):
                try:
                    self.remove(name)
                except OSError:
                    self._remove_directory(name)

    def _remove_directory(self, name: str) -> None:
        how = os.O_RDONLY | _DIRECTORY | _NOFOLLOW
        with self._described(name):
            fd = os.open(settled(name), how, dir_fd=self._fd)
        try:
            if os.fstat(fd).st_dev != os.fstat(self._fd).st_dev:
                raise OSError(errno.EXDEV, "something is mounted there", f"{self._path}/{name}")
            OpenRoom(fd, f"{self._path}/{name}").empty()
        finally:
            _close(fd)
        self.rmdir(name)

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        """A new file with all of `data`. After an error it may be there, and incomplete."""
        with self._described(path):
            fd = os.open(settled(path), _NEW | self._direct(path), 0o444, dir_fd=self._fd)
            try:
                share(fd, shared, 0o444)
                write(fd, data)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)

    def replace(self, private: str, public: str) -> None:
        with self._described(public):  # What is in the way is what has the name, and nothing of ours.
            os.replace(settled(private), settled(public), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def _direct(self, name: str) -> int:
        return direct(f"{self._path}/{name}")

    @contextlib.contextmanager
    def _described(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename, error.filename2 = f"{self._path}/{name}", None
            raise


class RoomFiles:
    """What `files/posix` inherits. Methods raise OSError."""

    @contextlib.contextmanager
    def room(self, path: str, deep: int) -> Iterator[Room]:
        """The directory `path`, the last `deep` names of which are no symbolic links."""
        parts = path.rsplit("/", deep) if deep else [path]
        fd = os.open(parts[0] or "/", (_PATH if deep else os.O_RDONLY) | _DIRECTORY)
        try:
            for at, name in enumerate(parts[1:], 1):
                how = (_PATH if at < deep else os.O_RDONLY) | _DIRECTORY | _NOFOLLOW
                fd = _enter(fd, name, how, "/".join(parts[: at + 1]))
            yield OpenRoom(fd, path)
        finally:
            _close(fd)


def _enter(above: int, name: str, how: int, path: str) -> int:
    """The descriptor of a directory in the one that is open as `above`. That one is the caller's to close if it fails."""
    try:
        fd = os.open(name, how, dir_fd=above)
    except OSError as error:
        error.filename = path
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK) and _is_link(above, name):
            raise OSError(errno.ELOOP, _IS_A_LINK, path) from error
        raise
    _close(above)
    return fd


def _close(fd: int) -> None:
    """Nothing was written by it, so whatever is said to its close is no news, and keeps no other from being closed."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _is_link(above: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except OSError:
        return False


class _Calls(Protocol):
    """Of `files.Files`, what a room is made of where a directory cannot be named by a descriptor."""

    def list(self, path: str) -> list[str]: ...
    def remove(self, path: str) -> bool: ...
    def rmdir(self, path: str) -> None: ...
    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None: ...
    def replace(self, private: str, public: str) -> None: ...
    def refuse_link(self, path: str) -> None: ...


class NamedRoom:
    """The directory at `path`, by that name: for systems that know no other way, and for scripted ones.

    Does not guarantee: that a link which is planted meanwhile is not followed.
    """

    def __init__(self, files: _Calls, path: str, deep: int) -> None:
        for up in range(deep):
            files.refuse_link(path.rsplit("/", up)[0])
        self._files = files
        self._path = path

    def names(self) -> list[str]:
        return self._files.list(self._path)

    def remove(self, name: str) -> bool:
        return self._files.remove(f"{self._path}/{name}")

    def rmdir(self, name: str) -> None:
        self._files.rmdir(f"{self._path}/{name}")

    def empty(self) -> None:
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):
                try:
                    self.remove(name)
                except OSError:
                    NamedRoom(self._files, f"{self._path}/{name}", 1).empty()
                    self.rmdir(name)

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        self._files.create(f"{self._path}/{path}", data, shared=shared, durable=durable)

    def replace(self, private: str, public: str) -> None:
        self._files.replace(f"{self._path}/{private}", f"{self._path}/{public}")


def clear(room: Room, names: Iterable[str]) -> int:
    """Remove these. How many there were. One that cannot be removed is in no other's way; its error comes at the end."""
    found, trouble = 0, None
    for name in names:
        try:
            found += room.remove(name)
        except OSError as error:
            trouble = trouble or error
    if trouble:
        raise trouble
    return found
