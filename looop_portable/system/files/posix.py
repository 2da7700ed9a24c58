"""The filesystem's calls on POSIX; what `files` is there, and what Windows differs from.

Guarantees: a new file is made exclusively (O_CREAT|O_EXCL); nothing is published over something else (link(2) fails
when the name exists); neither reading nor writing follows a symbolic link that stands in a record's place.
Does not guarantee: that an error means that nothing happened. On a network filesystem the reply may be lost after the
deed; whoever publishes must look.
Modes: see `directories`.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from contextlib import AbstractContextManager

from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.system.mounts.mount import Mount

from looop_portable.system.files.beats import LifeFiles
from looop_portable.system.files.directories import DirectoryFiles
from looop_portable.system.files.growing import FloorFiles
from looop_portable.system.files.rooms import RoomFiles
from looop_portable.system.locks.alone import AloneFiles
from looop_portable.system.locks.guard import excludes, guard
from looop_portable.system.locks.guard_files import share_guard
from looop_portable.system.locks.session_locks import LockFiles
from looop_portable.system.opening.descriptors import most, opened, read, refuse_others, share, write
from looop_portable.system.opening.direct import direct, read_only

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
_APPEND = os.O_CREAT | os.O_APPEND | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)
_LINK = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}

_RECORD_MODE = 0o444
"""Records are written once. A projection is one more name of a record: without this, writing into it in place (`echo >`)
would rewrite history."""

_RECORD_MODE_OF_ONE_NAME = 0o644
"""Where no projection can be one: see `opening/direct`."""

_STALE_TRIES = 8
_ALIAS_WAITS = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024)  # Seconds.
_NOT_A_RECORD = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EAGAIN, errno.ENODEV, errno.EOPNOTSUPP)


class OsFiles(LifeFiles, LockFiles, AloneFiles, DirectoryFiles, FloorFiles, RoomFiles):
    """`Files` on POSIX."""

    _ends: dict[str, int] = {}  # noqa: RUF012 (of the process: where the logs ended when it last wrote to them)
    _guards: set[str] = set()  # noqa: RUF012 (of the process: those whose modes it has looked at)

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        """A new file with all of `data`, or no file. `durable`: on the disk before this returns."""
        fd = self._open_new(path)
        try:
            try:
                if shared or self._shuts:
                    share(fd, shared, _RECORD_MODE)
                write(fd, data)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            error.filename = error.filename or path  # What is done to a descriptor does not tell of which file it is.
            self.remove(path)
            raise

    def link(self, private: str, public: str) -> None:
        """Give a complete file a second name, unless that name exists (FileExistsError)."""
        os.link(private, public, **_LINK)

    def rename(self, private: str, public: str) -> None:
        """Give a complete file its public name instead, unless that exists. POSIX has no such call: there it is a link."""
        self.link(private, public)
        self.remove(private)

    def is_same(self, path: str, other: str) -> bool | None:
        """Whether both are names of one file; None where one of them is not there."""
        try:
            return os.path.samestat(os.lstat(path), os.lstat(other))
        except FileNotFoundError:
            return None

    def replace(self, private: str, public: str) -> None:
        os.replace(private, public)

    def remove(self, path: str) -> bool:
        """Whether it was there to be removed."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        return True

    def list(self, path: str) -> list[str]:
        """The names in a directory."""
        for again in range(_STALE_TRIES):
            try:
                return os.listdir(path)
            except OSError as error:
                if error.errno != errno.ESTALE or again == _STALE_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def refuse_link(self, path: str) -> None:
        """Raises if `path` is a symbolic link, planted to have us write elsewhere; FileNotFoundError if it is nothing."""
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise OSError(errno.ELOOP, "a symbolic link stands where a directory of ours should be; remove it", path)

    def read(self, path: str) -> bytes | None:
        """The content; None if nothing is there; empty if it is a link, a directory, a FIFO, or more than 1 MiB."""
        for again in range(_STALE_TRIES):
            try:
                fd = self._open_by_any_name(path)
                try:
                    return read(fd)
                finally:
                    os.close(fd)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in _NOT_A_RECORD:
                    return b""
                if error.errno != errno.ESTALE or again == _STALE_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def append(self, path: str, line: bytes, cap: int, *, shared: int = 0) -> None:
        """Add `line` in one write. A file that then exceeds `cap` bytes becomes `path` with `.1` added.

        Of several that find it too large one renames it; should another come in between two calls of ours, the events
        of a moment are lost.
        """
        fd = self._open_to_append(path, most(0o666, shared))
        try:
            before = refuse_others(fd, path).st_size
            if self._is_cut_off(fd, path, before):
                line = b"\n" + line
            if os.write(fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            size = self._ends[path] = before + len(line)
            if (shared or self._shuts) and not before:
                share(fd, shared, 0o666)
            if size > cap and os.path.samestat(os.stat(path), os.fstat(fd)):
                self.replace(path, f"{path}.1")
        finally:
            os.close(fd)

    def _is_cut_off(self, fd: int, path: str, size: int) -> bool:
        """Whether the last line has no end, because its writer has crashed. Not looked at where we wrote it ourselves.

        Without this, what comes next would be a part of it.
        """
        return 0 < size != self._ends.get(path) and self._last_byte(fd, path, size) not in (b"\n", b"")

    def _last_byte(self, fd: int, path: str, size: int) -> bytes:  # noqa: ARG002 (Windows opens it anew)
        if sys.platform == "win32":
            return b""
        try:
            return os.pread(fd, 1, size - 1)
        except OSError:
            return b""  # Not for us to read.

    def guard(self, path: str, *, shared: int = 0) -> AbstractContextManager[None]:
        """A critical section of all processes that name the same `path`: see `guard`. The file is made, and stays."""
        if shared or self._shuts or path not in self._guards:
            share_guard(path, shared, self.rename)
            self._guards.add(path)
        return guard(path, mode=(shared | 0o600) & 0o666)

    def guard_excludes(self, path: str, *, shared: int = 0) -> bool:
        """Whether a guard held at `path` keeps a second holder out, on this host."""
        with self.guard(path, shared=shared):
            return excludes(path)

    def opens_by_both(self, path: str, other: str) -> bool:
        """Whether a file that is open by one of its names can be opened by another."""
        fd = self._open(path)
        try:
            os.close(self._open(other))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        finally:
            os.close(fd)
        return True

    def mount_of(self, path: str) -> Mount | None:
        """See `mounts`, which only those need who make a stamp, or hold a guard that others hold too."""
        from looop_portable.system.mounts import mount_of

        return mount_of(path)

    def _open_by_any_name(self, path: str) -> int:
        """Linux opens no file on SMB that is open by another name on the same host, or was within the last second.

        A record has two names from when it is linked until its private one is removed.
        """
        for wait in _ALIAS_WAITS:
            try:
                return self._open(path)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                if not os.path.lexists(path):  # It is the name that is invalid, on vfat say.
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
            time.sleep(wait)
        return self._open(path)

    def in_use(self, error: OSError) -> bool:  # noqa: ARG002 (Windows knows such errors)
        """Whether all that was wrong is that somebody else has the file open: it can be done another time."""
        return False

    def open_to_follow(self, path: str) -> int:
        """A descriptor to read from, for somebody who keeps it open: it keeps nobody from renaming or removing the file."""
        return opened(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | direct(path))

    def _open_new(self, path: str) -> int:
        mode = _RECORD_MODE if read_only(path) else _RECORD_MODE_OF_ONE_NAME
        return opened(path, _CREATE | direct(path), mode)

    def _open_to_append(self, path: str, mode: int) -> int:
        try:
            return opened(path, _APPEND | os.O_RDWR | direct(path), mode)
        except PermissionError:
            return opened(path, _APPEND | os.O_WRONLY | direct(path), mode)
