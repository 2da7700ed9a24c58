"""Directories and files that kqueue(2) tells of: EVFILT_VNODE. One descriptor a path, however many listen.

Does not guarantee: anything to two threads that call it at once; nor which of several changes there was.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import stat
from typing import Any, NamedTuple
from weakref import ref

from looop_portable.system.opening.locales import settled
from looop_portable.system.watch.announcing import Wakeable

MOST = 64
"""Paths at once: the program needs descriptors, too, and 256 are a login's limit."""

_kernel: Any = select
"""Which has no kqueue on Linux, where the tests have one of their own."""
_FLAGS = getattr(os, "O_EVTONLY", os.O_RDONLY) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

Watchers = set[ref[Wakeable]]


class Vnode(NamedTuple):
    """What is listened to. `number`: to `ignore` it by; `identity`: device and inode."""

    number: int
    path: str
    identity: tuple[int, int]
    watchers: Watchers

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

    def watch(self, watcher: Wakeable, path: str) -> tuple[int | None, Watchers]:
        """Its number; None: it cannot be heard, or is not there. And who listened to what was at this path before."""
        missed: Watchers = set()
        fd = next((fd for fd, vnode in self._opened.items() if vnode.path == path), None)
        if fd is not None and not self._opened[fd].is_there():
            missed, fd = self._unwatch(fd), None
        fd = self._open(path) if fd is None else fd
        if fd is None:
            return None, missed
        self._opened[fd].watchers.add(ref(watcher))
        return self._opened[fd].number, missed

    def ignore(self, watcher: Wakeable, number: int) -> None:
        for fd, vnode in list(self._opened.items()):
            if vnode.number == number:
                vnode.watchers.discard(ref(watcher))
                if not vnode.watchers:
                    self._unwatch(fd)

    def changed(self, fd: int, notes: int) -> Watchers:
        """Who listens to what this was told of. What has gone from its path is released: by then another may be there."""
        vnode = self._opened.get(fd)
        if vnode is None:
            return set()
        goes = _kernel.KQ_NOTE_DELETE | _kernel.KQ_NOTE_RENAME | _kernel.KQ_NOTE_REVOKE
        return self._unwatch(fd) if notes & goes or not vnode.is_there() else set(vnode.watchers)

    def drop_forsaken(self) -> None:
        """A task of a loop that was closed does not say that it listens no more."""
        for fd, vnode in list(self._opened.items()):
            if not any(each() is not None for each in vnode.watchers):
                self._unwatch(fd)

    def close(self) -> None:
        for fd in list(self._opened):
            self._unwatch(fd)

    def _open(self, path: str) -> int | None:
        """Listen first, look then: whatever happens to it from here on is told, or it is not at its path any more."""
        if len(self._opened) >= MOST:
            return None
        try:
            fd = os.open(settled(path), _FLAGS)
        except OSError:
            return None
        try:
            found = os.fstat(fd)
            self._opened[fd] = Vnode(next(self._numbers), path, _identity(found), set())
            asks = _kernel.KQ_EV_ADD | _kernel.KQ_EV_CLEAR
            notes = _notes(directory=stat.S_ISDIR(found.st_mode))
            self._queue.control([_kernel.kevent(fd, _kernel.KQ_FILTER_VNODE, asks, notes)], 0)
        except (OSError, ValueError):
            self._opened.pop(fd, None)
            os.close(fd)
            return None
        if not self._opened[fd].is_there():
            self._unwatch(fd)
            return None
        return fd

    def _unwatch(self, fd: int) -> Watchers:
        """With its descriptor goes what was asked for. Somebody may have closed that, and it be another's by now."""
        vnode = self._opened.pop(fd)
        with contextlib.suppress(OSError):
            if _identity(os.fstat(fd)) == vnode.identity:
                os.close(fd)
        return vnode.watchers


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _notes(*, directory: bool) -> int:
    """NOTE_WRITE of a directory: a name has come, or gone. Its times and its mode are of no interest."""
    names = ["WRITE", "EXTEND", "DELETE", "RENAME", "REVOKE"] + ([] if directory else ["ATTRIB", "LINK"])
    notes = 0
    for name in names:
        notes |= getattr(_kernel, f"KQ_NOTE_{name}")
    return notes
