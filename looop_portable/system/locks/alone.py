"""Files that belong to this host alone, beside the store, each of which a single process holds.

Guarantees: of all who `take` a file one holds it, until it closes the descriptor or ends, however it ends.
Does not guarantee: the same between hosts: it belongs on a local disk.
How: flock(2), on Windows the lock on the first byte (msvcrt). It goes with the descriptor: closing another one of the same
file does not end it, as it would a POSIX record lock. A holder must not fork: the child would hold it too.
"""

from __future__ import annotations

import os
import sys
import time

_WAITS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)  # Seconds.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class AloneFiles:
    """What `files/posix` inherits. Methods raise OSError."""

    def take(self, path: str) -> int | None:
        """Hold `path`, which is made if it is not there, by the descriptor that is returned. None: another process does.

        A process that only looks (`taken`), or is about to remove it, holds it for a moment, and is waited for.
        """
        for wait in _WAITS:
            fd = self._open_alone(path, make=True)
            mine, others = False, False
            try:
                mine = _lock(fd) and self._is_open_as(path, fd)
                others = not mine and _is_held_for_long(fd)
            finally:
                if not mine:
                    os.close(fd)
            if mine:
                return fd
            if others:
                return None
            time.sleep(wait)
        return None

    def taken(self, path: str) -> bool:
        """Whether some process holds it."""
        try:
            fd = self._open_alone(path, make=False)
        except FileNotFoundError:
            return False
        try:
            return not _lock(fd, shared=True)
        finally:
            os.close(fd)

    def unlock(self, fd: int) -> None:
        """End what `take` began."""
        os.close(fd)

    def mute(self) -> None:
        """From here on this process reads nothing, and is not heard: it holds no pipe and no terminal open."""
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.close(null)

    def _open_alone(self, path: str, *, make: bool) -> int:
        return os.open(path, os.O_RDWR | _FLAGS | (os.O_CREAT if make else 0), 0o600)

    def _is_open_as(self, path: str, fd: int) -> bool:
        """Whether it still has that name. Without this, two would hold two files, one of which has been removed."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(fd))
        except FileNotFoundError:
            return False


if sys.platform == "win32":
    import errno
    import msvcrt

    def _lock(fd: int, *, shared: bool = False) -> bool:  # noqa: ARG001 (there is but one kind)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            return False  # EACCES; Wine leaves whatever errno was before.
        return True

    def _is_held_for_long(fd: int) -> bool:  # noqa: ARG001
        return False  # Whoever looks holds it just as whoever keeps it: only time tells.

else:

    def _lock(fd: int, *, shared: bool = False) -> bool:
        import fcntl  # Most verbs hold no such file.

        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_held_for_long(fd: int) -> bool:
        """Those who only look share it."""
        return not _lock(fd, shared=True)
