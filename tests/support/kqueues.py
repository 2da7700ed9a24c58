"""kqueue(2) for tests, on Linux: what `select.kqueue` and `select.kevent` do on macOS, told by inotify(7) and pidfds.

Real files and real processes: EVFILT_VNODE on an open descriptor, by what it is open at and not by its path, EVFILT_PROC
with NOTE_EXIT, EV_CLEAR and EV_ONESHOT, and what goes with a descriptor that is closed. As on macOS a process that has
exited is ESRCH, a zombie too; a name that goes is a NOTE_WRITE of its directory; unlink(2) is a NOTE_DELETE, whatever other
names there are. Does not prove anything of when a real kernel tells it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import selectors  # noqa: F401 (Python's own finds no kqueue here: it asks for more than there is)
import struct
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

KQ_FILTER_READ, KQ_FILTER_WRITE, KQ_FILTER_VNODE, KQ_FILTER_PROC, KQ_FILTER_USER = -1, -2, -4, -5, -10
KQ_EV_ADD, KQ_EV_DELETE, KQ_EV_ENABLE, KQ_EV_ONESHOT, KQ_EV_CLEAR, KQ_EV_ERROR = 0x1, 0x2, 0x4, 0x10, 0x20, 0x4000
KQ_NOTE_DELETE, KQ_NOTE_WRITE, KQ_NOTE_EXTEND, KQ_NOTE_ATTRIB, KQ_NOTE_LINK = 0x1, 0x2, 0x4, 0x8, 0x10
KQ_NOTE_RENAME, KQ_NOTE_REVOKE, KQ_NOTE_EXIT = 0x20, 0x40, 0x80000000

_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_NAMES = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_EVENT = struct.Struct("iIII")
_NONBLOCK, _CLOEXEC = 0o4000, 0o2000000
_libc: Any = None if sys.platform == "win32" else ctypes.CDLL(None, use_errno=True)
_eventfd: Any = getattr(os, "eventfd", None)  # Before a test takes them away.
_eventfd_read: Any = getattr(os, "eventfd_read", None)
_eventfd_write: Any = getattr(os, "eventfd_write", None)
_pidfd_open: Any = getattr(os, "pidfd_open", None)


class kevent:
    """What is asked for, or told."""

    def __init__(
        self,
        ident: Any,
        filter: int = KQ_FILTER_READ,  # noqa: A002
        flags: int = KQ_EV_ADD,
        fflags: int = 0,
        data: int = 0,
        udata: int = 0,
    ) -> None:
        self.ident = ident if isinstance(ident, int) else ident.fileno()
        self.filter, self.flags, self.fflags, self.data, self.udata = filter, flags, fflags, data, udata


class _Note:
    """What one kqueue was asked of one descriptor, or process."""

    def __init__(self, asked: kevent) -> None:
        self.asked = asked
        self.told = 0

    def tell(self, notes: int) -> None:
        self.told |= notes & self.asked.fflags

    def close(self) -> None:
        """Nothing is open."""


class _Vnode(_Note):
    def __init__(self, asked: kevent) -> None:
        super().__init__(asked)
        self._found = self._look()
        self._links = self._found.st_nlink
        self._path = self._where()
        self.watches: set[int] = set()

    def is_closed(self) -> bool:
        """With its descriptor goes what was asked for."""
        try:
            now = self._look()
        except OSError:
            return True
        return (now.st_dev, now.st_ino) != (self._found.st_dev, self._found.st_ino)

    def look(self, masks: int) -> None:
        """Something was told of it, or of the directory that it is in."""
        where, links = self._where(), self._look().st_nlink
        if where != self._path:
            self.tell(KQ_NOTE_DELETE if where.endswith(" (deleted)") else KQ_NOTE_RENAME)
        elif links < self._links and not masks & _NAMES:
            self.tell(KQ_NOTE_DELETE)
        if links != self._links:
            self.tell(KQ_NOTE_LINK)
        self._path, self._links = where, links
        if masks & (_NAMES | _MODIFY):
            self.tell(KQ_NOTE_WRITE)
        if masks & _ATTRIB:
            self.tell(KQ_NOTE_ATTRIB)

    def _look(self) -> os.stat_result:
        return os.fstat(self.asked.ident)

    def _where(self) -> str:
        return os.readlink(f"/proc/self/fd/{self.asked.ident}")


class _Exit(_Note):
    def __init__(self, asked: kevent) -> None:
        super().__init__(asked)
        self.fd = _pidfd_open(asked.ident)
        if select.select([self.fd], [], [], 0)[0]:
            self.close()
            raise ProcessLookupError(errno.ESRCH, "No such process")

    def close(self) -> None:
        os.close(self.fd)


class kqueue:
    """One kqueue. Its descriptor is real."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._inotify = _libc.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self._inotify < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            self._called = _eventfd(0, _NONBLOCK | _CLOEXEC)
        except OSError:
            os.close(self._inotify)
            raise
        self._notes: dict[tuple[int, int], _Note] = {}
        self._watched: dict[int, str] = {}
        self.closed = False

    def fileno(self) -> int:
        self._must_be_open()
        return int(self._inotify)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for note in self._notes.values():
            note.close()
        os.close(self._called)
        os.close(self._inotify)

    def control(self, changes: Iterable[kevent] | None, most: int, timeout: float | None = None) -> list[kevent]:
        self._must_be_open()
        with self._guard:
            for change in changes or ():
                self._change(change)
        ends = None if timeout is None else time.monotonic() + timeout
        while most:
            with self._guard:
                self._gather()
                found = self._take(most)
                waited = [self._inotify, self._called, *(n.fd for n in self._notes.values() if isinstance(n, _Exit))]
            left = None if ends is None else ends - time.monotonic()
            if found or (left is not None and left <= 0):
                return found
            poll = select.poll()
            for fd in waited:
                poll.register(fd, select.POLLIN)
            poll.poll(None if left is None else left * 1000)
        return []

    def _must_be_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed kqueue object")

    def _change(self, change: kevent) -> None:
        key = change.ident, change.filter
        if change.flags & KQ_EV_DELETE:
            if key not in self._notes:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            self._forget(key)
        elif key in self._notes and not self._is_closed(key):
            self._notes[key].asked = change
        else:
            note = _Vnode(change) if change.filter == KQ_FILTER_VNODE else _Exit(change)
            if isinstance(note, _Vnode):
                self._watch(note)
            self._notes[key] = note
        _eventfd_write(self._called, 1)

    def _watch(self, note: _Vnode) -> None:
        """It, and the directory it is in: inotify does not tell of the end of what is open."""
        fd = note.asked.ident
        above = os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
        own = _NAMES if os.path.isdir(f"/proc/self/fd/{fd}") else _MODIFY | _ATTRIB
        for path, mask in ((f"/proc/self/fd/{fd}", own), (above, _NAMES)):
            watch = _libc.inotify_add_watch(self._inotify, os.fsencode(path), mask | 0x20000000)  # IN_MASK_ADD
            if watch < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            note.watches.add(watch)
            if path != above:
                note.own = watch  # type: ignore[attr-defined]

    def _is_closed(self, key: tuple[int, int]) -> bool:
        note = self._notes[key]
        return isinstance(note, _Vnode) and note.is_closed()

    def _forget(self, key: tuple[int, int]) -> None:
        self._notes.pop(key).close()

    def _gather(self) -> None:
        """What has happened since, noted."""
        with contextlib.suppress(BlockingIOError):
            _eventfd_read(self._called)
        try:
            data = os.read(self._inotify, 1 << 16)
        except BlockingIOError:
            data = b""
        for key in [key for key in self._notes if self._is_closed(key)]:
            self._forget(key)
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            for note in self._notes.values():
                if isinstance(note, _Vnode) and watch in note.watches:
                    note.look(mask if watch == note.own else 0)  # type: ignore[attr-defined]
        for note in self._notes.values():
            if isinstance(note, _Exit) and select.select([note.fd], [], [], 0)[0]:
                note.tell(KQ_NOTE_EXIT)

    def _take(self, most: int) -> list[kevent]:
        found: list[kevent] = []
        for key, note in list(self._notes.items()):
            if note.told and len(found) < most:
                found.append(kevent(*key, note.asked.flags, note.told))
                note.told = 0
                if note.asked.flags & KQ_EV_ONESHOT or isinstance(note, _Exit):
                    self._forget(key)
        return found


NAMES = [name for name in globals() if name.startswith("KQ_")] + ["kqueue", "kevent"]


def is_possible() -> bool:
    """Whether there is a kqueue here, or what this needs."""
    return hasattr(select, "kqueue") or (bool(_eventfd) and bool(_pidfd_open))


def put_in_place() -> None:
    """In the module `select`, for the rest of this process, where there is none."""
    if not hasattr(select, "kqueue"):
        for name in NAMES:
            setattr(select, name, globals()[name])


def wait_until_closed() -> None:
    """Until this process's watcher is closed, which nobody uses any more."""
    from looop_portable.system.watch import kqueue as watching

    opened: Any = list(watching.WATCHERS.opened)
    while watching.WATCHERS.opened or not all(watcher._kernel._queue.closed for watcher in opened):
        time.sleep(0.002)


def hand_over() -> None:
    """To what uses it alone: this process goes on as on a system that has none."""
    if not hasattr(select, "kqueue"):
        from looop_portable.system.watch import kqueue as watching
        from looop_portable.system.watch import vnodes

        watching._kernel = vnodes._kernel = sys.modules[__name__]
