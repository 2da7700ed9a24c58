"""A session's own lock: the kernel holds it for a process until that ends, and other pid namespaces can see it.

Does not guarantee: that a lock which is free, or missing, has no live holder. It is a hint (`inquiry`).
Guarantees: a lock that is held has a live holder.
How: there are three locks, on three bytes of one file (fcntl(2)).
- A POSIX record lock (F_SETLK). No fork inherits it. But any close of the file in the process drops it, as a program does
  that archives its own store.
- An open file description lock (F_OFD_SETLK). Only a close of its own descriptor drops it. But a child inherits it that was
  made without Python's hooks.
- A third, shared, which all that a command of `looop run` starts inherits (`share_lock`), as with flock(1): it says that
  one of them is there.
The file is for its owner, and for those who share the store, alone: without that, who may only read could lock it against
its owner, when he takes again what was dropped.
So the first proves life. The second alone says that the process is there, or a child that it left behind. Each heartbeat
takes again what was dropped (`hold_lock`). A judge takes no lock, and only asks (F_OFD_GETLK).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from looop_portable.protocol.liveness import Lock
from looop_portable.system.opening.descriptors import opened, share
from looop_portable.system.opening.direct import direct
from looop_portable.system.opening.locales import settled
from looop_portable.typed import NamedTuple

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_OWN, _INHERITED, _SHARED = 0, 1, 2
"""The bytes."""
_HIGH = 60
"""From here on shells give no descriptor to what a script opens."""
_FLOCK = "hhqqi"
"""struct flock of Linux with 64-bit offsets: type, whence, start, length, pid; padded by its longest."""


class _Kept(NamedTuple):
    """`pid`: the process that holds it; `file`: device and inode of what `fd` was, for it may be another's by now."""

    fd: int
    pid: int
    file: tuple[int, int]

    def is_open(self) -> bool:
        try:
            found = os.fstat(self.fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self.file


class LockFiles:
    """What `files/posix` inherits. Methods raise OSError. Systems other than Linux have no such locks."""

    _locks: dict[str, _Kept] = {}  # noqa: RUF012 (of the process, whichever object keeps them)

    def keep_lock(self, path: str, *, shared: int = 0) -> bool:
        """Hold the locks of a new file until this process ends, however it ends. False where there are none such."""
        if sys.platform != "linux":
            return False
        fd = opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS | direct(path), 0o600)
        try:
            share(fd, shared, 0o644)
            _take(fd)
            found = os.fstat(fd)
        except OSError:
            os.close(fd)
            os.unlink(path)
            return False
        self._locks[path] = _Kept(fd, os.getpid(), (found.st_dev, found.st_ino))
        return True

    def hold_lock(self, path: str) -> None:
        """Take again what has been dropped of a lock that this process keeps; nothing where it keeps none."""
        kept = self._locks.get(path)
        if kept is None or kept.pid != os.getpid():
            return
        if kept.is_open():
            _take(kept.fd)
            return
        fd = opened(path, os.O_RDWR | _FLAGS | direct(path))  # Somebody has closed it: a daemon's closefrom, say.
        try:
            _take(fd)
            found = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        self._locks[path] = _Kept(fd, os.getpid(), (found.st_dev, found.st_ino))

    def let_lock_go(self, path: str) -> None:
        """End what `keep_lock` began; nothing if this process does not hold it."""
        kept = self._locks.pop(path, None)
        if kept is not None and kept.is_open():
            os.close(kept.fd)

    def lock_of(self, path: str, *, heirs: bool = False) -> Lock:
        """What is to be seen of it. `heirs`: others may take part in it (`share_lock`). OSError where it cannot be seen."""
        if sys.platform != "linux":
            return Lock.MISSING
        kept = self._locks.get(path)
        if kept is not None and kept.pid == os.getpid():
            return Lock.HELD  # Also where it has been dropped: this process lives.
        try:
            fd = opened(path, os.O_RDONLY | _FLAGS | direct(path))
        except FileNotFoundError:
            return Lock.MISSING
        try:
            return _seen(fd, heirs=heirs)
        finally:
            os.close(fd)


def get_ready() -> None:
    """For whoever is about to fork: what locks need is imported once, and not in each process."""
    for module in ("fcntl", "struct"):
        __import__(module)


def share_lock(path: str) -> int:
    """Take part in a lock that another process keeps: a descriptor that all children inherit. Raises OSError."""
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, "no such locks")
    import fcntl
    import struct

    fd = os.open(settled(path), os.O_RDONLY | _FLAGS)
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH)
    finally:
        os.close(fd)
    fcntl.fcntl(high, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, _SHARED, 1, 0))
    return high


def _take(fd: int) -> None:
    if sys.platform == "linux":
        import fcntl
        import struct

        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _OWN)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _INHERITED, 1, 0))


def _seen(fd: int, *, heirs: bool) -> Lock:
    if _is_taken(fd, _OWN):
        return Lock.HELD
    return Lock.INHERITED if _is_taken(fd, _INHERITED) or (heirs and _is_taken(fd, _SHARED, shared=True)) else Lock.FREE


def _is_taken(fd: int, byte: int, *, shared: bool = False) -> bool:
    """Whether another descriptor, of this process or of another, has it locked so that nobody could read; or `shared`, too.

    Who may only read can lock it for reading. Without this, he would keep the dead alive.
    """
    if sys.platform != "linux":
        return False
    import fcntl
    import struct

    asked = struct.pack(_FLOCK, fcntl.F_WRLCK if shared else fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)


def _forget_locks() -> None:
    """A child made by fork holds none of its parent's: closing its copies loses nothing of the parent's."""
    for kept in LockFiles._locks.values():
        if kept.is_open():
            with contextlib.suppress(OSError):
                os.close(kept.fd)
    LockFiles._locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
