"""Linux tells of changes: inotify(7), by way of libc.

Does not guarantee: anything on a network mount: the kernel tells only of what is done through it. Nor which of several
changes there was: whoever is told looks.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import sys

from looop_portable.locales import settled

_NONBLOCK, _CLOEXEC = 0o4000, 0o2000000
_ATTRIB, _MODIFY, _MOVED_TO, _CREATE, _DELETE_SELF, _MOVE_SELF = 0x4, 0x2, 0x80, 0x100, 0x400, 0x800
_IGNORED, _ONLYDIR, _ONESHOT = 0x8000, 0x01000000, 0x80000000
_OF_A_DIRECTORY = _CREATE | _MOVED_TO | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_OF_A_FILE = _ATTRIB | _MODIFY | _DELETE_SELF | _MOVE_SELF | _ONESHOT
_EVENT = struct.Struct("iIII")
_SOME = 16_384

_libc = ctypes.CDLL(None, use_errno=True)


_KEPT = 2


class Inotify:
    """One instance, which costs a descriptor; a user has 128 unless the system says otherwise. See `new_inotify`."""

    OVERFLOW = -1
    """The number of all: told in the place of more than the kernel can remember."""

    def __init__(self) -> None:
        self.fd = _checked(_libc.inotify_init1(_NONBLOCK | _CLOEXEC))
        self._watches: set[int] = set()

    def add(self, path: str) -> int | None:
        """Tell of names that appear in a directory, or of a change of a file. None: it cannot be watched, or is not there.

        The same path, or another name of the same file, has the same number. Of a file one change is told, and no more: by
        then another may have its name, while it has others.
        """
        encoded = os.fsencode(settled(path))
        for mask in (_OF_A_DIRECTORY, _OF_A_FILE):
            watch: int = _libc.inotify_add_watch(self.fd, encoded, mask)
            if watch >= 0:
                self._watches.add(watch)
                return watch
            if ctypes.get_errno() != errno.ENOTDIR:
                return None
        return None

    def remove(self, watch: int) -> None:
        """Tell no more. Of what has gone the kernel has removed it itself."""
        self._watches.discard(watch)
        _libc.inotify_rm_watch(self.fd, watch)

    def events(self) -> list[tuple[int, bool]]:
        """What has been told since the last time: numbers, and whether that was the last of it."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, _SOME):
                at = 0
                while at < len(data):
                    watch, mask, _, length = _EVENT.unpack_from(data, at)
                    last = bool(mask & _IGNORED)
                    if last:
                        self._watches.discard(watch)
                    found.append((watch, last))
                    at += _EVENT.size + length
        return found

    def close(self) -> None:
        """It is used no more, and nothing is watched.

        A few are kept. Without that, whoever has just won would wait for 12 ms and more on a busy machine, as was measured:
        to close one, the kernel waits for all who go through its lists.
        """
        for watch in list(self._watches):
            self.remove(watch)
        self.events()
        if len(_spare) < _KEPT:
            _spare.append(self)
        else:
            os.close(self.fd)


_spare: list[Inotify] = []
_owner = os.getpid()


def new_inotify() -> Inotify:
    """One that nobody else in this process uses. Raises OSError where there are none left."""
    if _owner != os.getpid():  # A child whose fork ran no hooks.
        _after_fork()
    try:
        return _spare.pop()
    except IndexError:
        return Inotify()


def _after_fork() -> None:
    """Without this, a child would take what is told to its parent."""
    global _owner
    _owner = os.getpid()
    while _spare:
        os.close(_spare.pop().fd)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "inotify")
    return result
