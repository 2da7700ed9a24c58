"""Signs of life on a filesystem: heartbeats, and the filesystem's own clock.

Guarantees: ages are differences of times that one clock stamped, the filesystem's: on a network mount the server's, however
wrong the hosts' clocks are.
Does not guarantee: that this clock runs evenly. Somebody may set it: see `Registry.silence`.
How: a byte is written in place into a file that is there, which is stamped by the server on NFS and on SMB (on SMB creation
and utime(2) carry the client's clock); it is read by open and fstat, as the attributes of a path may be up to a minute old
(nfs(5), `acregmax`). No such file is ever replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from looop_portable.system.opening.descriptors import opened, share
from looop_portable.system.opening.direct import direct

PROBE = ".age-"
"""How the names of the files begin by which `now` asks for the time, removed at once unless their maker is killed."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)
_IN_PLACE = os.O_WRONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)
_FOLLOWS = os.utime not in os.supports_follow_symlinks  # Windows.
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW


class LifeFiles:
    """What `files/posix` inherits. Methods raise OSError."""

    def make_beat(self, path: str, *, shared: int = 0) -> None:
        """A new file whose time is now. Its maker can `beat` it, and `shared` are those who can read it besides."""
        fd = self._open_new_beat(path)
        try:
            share(fd, shared, 0o644)
        finally:
            os.close(fd)
        self.beat(path)

    def beat(self, path: str) -> None:
        """Have the filesystem stamp `path`, which is there, with its time."""
        fd = self._open_in_place(path)
        try:
            if os.fstat(fd).st_size > 1:  # A name for somebody's file, planted in its place.
                raise OSError(errno.EINVAL, "it is no heartbeat; remove it", path)
            os.write(fd, b".")
        except OSError as error:
            if error.errno not in _FULL or not _has_one_clock(path):
                raise
            os.utime(fd)  # Where a write in place takes new room, as on btrfs, a full disk still takes this.
        finally:
            os.close(fd)  # On a network this is what sends it, and what fails if it cannot.

    def keep_young(self, path: str, older: float) -> None:
        """`path` has times of now, if its are older than so many seconds. Nothing if it is not there, or not ours."""
        with contextlib.suppress(OSError):
            if not older or abs(time.time() - os.lstat(path).st_mtime) > older:
                os.utime(path, follow_symlinks=_FOLLOWS)

    def changed(self, path: str) -> int | None:
        """When `path` was last written, by the filesystem's clock, in nanoseconds; None if it is not there."""
        try:
            fd = self._open(path)
        except FileNotFoundError:
            return None
        try:
            return os.fstat(fd).st_mtime_ns
        finally:
            os.close(fd)

    def now(self, directory: str) -> int:
        """The time by the clock of the filesystem, in nanoseconds. Something must be writable there."""
        probe = f"{directory}/{PROBE}{os.urandom(8).hex()}"
        self.make_beat(probe)
        try:
            found = self.changed(probe)
        finally:
            self._unlink(probe)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), probe)  # Swept, when it was old already.
        return found

    def age(self, path: str) -> float | None:
        """Seconds since the last change of `path`, by the filesystem's clock alone.

        None if it is not there, or if nothing can be written there. The clock is read first: whoever sleeps in between
        takes something for younger than it is, never for older.
        """
        try:
            now = self.now(os.path.dirname(path))
            try:
                changed = self.changed(path)
            except OSError:  # What cannot be opened, a symbolic link say, was made some time all the same.
                changed = self._lstat(path).st_mtime_ns
        except OSError:
            return None
        return None if changed is None else (now - changed) / 1e9

    def _open_new_beat(self, path: str) -> int:
        return opened(path, _CREATE | direct(path), 0o644)

    def _unlink(self, path: str) -> None:
        os.unlink(path)

    def _lstat(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def _open_in_place(self, path: str) -> int:
        return opened(path, _IN_PLACE | direct(path))

    def _open(self, path: str) -> int:
        return opened(path, _READ | direct(path))


def _has_one_clock(path: str) -> bool:
    """Whether utime(2) stamps `path` with the clock that a write does: where no other kernel, and no server, has a part."""
    from looop_portable.system import mounts  # Only who gives heartbeats needs them.

    mount = mounts.mount_of(os.path.dirname(path))
    return os.utime in os.supports_fd and mount is not None and not mount.network and not mount.type.startswith("fuse")
