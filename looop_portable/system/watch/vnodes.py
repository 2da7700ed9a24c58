"""Directories and files that kqueue(2) tells of: EVFILT_VNODE. One descriptor a path.

Does not guarantee: anything to two threads that call it at once; nor which of several changes there was.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import stat

from looop_portable.system.opening.locales import settled
from looop_portable.typed import Any, NamedTuple

MOST = 64
"""Paths at once: the program needs descriptors, too, and 256 are a login's limit."""

_kernel: Any = select
"""Which has no kqueue on Linux, where the tests have one of their own."""
_FLAGS = getattr(os, "O_EVTONLY", os.O_RDONLY) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class Vnode(NamedTuple):
    """What is watched. `number`: to `unwatch` it by; `identity`: device and inode."""

    number: int
    path: str
    identity: tuple[int, int]

    def is_there(self) -> bool:
        """Whether it is still what has its path."""
        try:
            return _identity(os.stat(settled(self.path))) == self.identity
        except OSError:
            return False


class Vnodes:
    """Those that one kqueue tells of."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._opened: dict[int, Vnode] = {}  # By descriptor.
        self._numbers = itertools.count()

    def watch(self, path: str) -> tuple[int | None, list[int]]:
        """Its number; None: it cannot be watched, or is not there. And the number of what was at this path before."""
        gone: list[int] = []
        fd = next((fd for fd, vnode in self._opened.items() if vnode.path == path), None)
        if fd is not None and not self._opened[fd].is_there():
            gone.append(self._release(fd))
            fd = None
        fd = self._open(path) if fd is None else fd
        return (None if fd is None else self._opened[fd].number), gone

    def unwatch(self, number: int) -> None:
        for fd in [fd for fd, vnode in self._opened.items() if vnode.number == number]:
            self._release(fd)

    def changed(self, fd: int, notes: int) -> tuple[int | None, bool]:
        """The number of what this was told of; and whether that has gone from its path: by then another may be there."""
        vnode = self._opened.get(fd)
        if vnode is None:
            return None, False
        goes = _kernel.KQ_NOTE_DELETE | _kernel.KQ_NOTE_RENAME | _kernel.KQ_NOTE_REVOKE
        if notes & goes or not vnode.is_there():
            return self._release(fd), True
        return vnode.number, False

    def close(self) -> None:
        for fd in list(self._opened):
            self._release(fd)

    def _open(self, path: str) -> int | None:
        """Watch first, look then: whatever happens to it from here on is told, or it is not at its path any more."""
        if len(self._opened) >= MOST:
            return None
        try:
            fd = os.open(settled(path), _FLAGS)
        except OSError:
            return None
        try:
            found = os.fstat(fd)
            self._opened[fd] = Vnode(next(self._numbers), path, _identity(found))
            asks = _kernel.KQ_EV_ADD | _kernel.KQ_EV_CLEAR
            notes = _notes(directory=stat.S_ISDIR(found.st_mode))
            self._queue.control([_kernel.kevent(fd, _kernel.KQ_FILTER_VNODE, asks, notes)], 0)
        except (OSError, ValueError):
            self._opened.pop(fd, None)
            os.close(fd)
            return None
        if not self._opened[fd].is_there():
            self._release(fd)
            return None
        return fd

    def _release(self, fd: int) -> int:
        """With its descriptor goes what was asked for. Somebody may have closed that, and it be another's by now."""
        vnode = self._opened.pop(fd)
        with contextlib.suppress(OSError):
            if _identity(os.fstat(fd)) == vnode.identity:
                os.close(fd)
        return vnode.number


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _notes(*, directory: bool) -> int:
    """NOTE_WRITE of a directory: a name has come, or gone. Its times and its mode are of no interest."""
    names = ["WRITE", "EXTEND", "DELETE", "RENAME", "REVOKE"] + ([] if directory else ["ATTRIB", "LINK"])
    notes = 0
    for name in names:
        notes |= getattr(_kernel, f"KQ_NOTE_{name}")
    return notes
