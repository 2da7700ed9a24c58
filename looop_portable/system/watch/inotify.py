"""Linux tells of changes: inotify(7), by way of libc.

Does not guarantee: anything on a network mount: the kernel tells only of what is done through it. Nor which of several
changes there was: the waiter looks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from looop_portable.system.opening.locales import settled

if sys.platform != "win32":  # Here, and not where they are used: there may be no descriptor to load them with.
    import termios

_NONBLOCK, _CLOEXEC = 0o4000, 0o2000000
_ATTRIB, _MODIFY, _MOVED_TO, _CREATE, _DELETE_SELF, _MOVE_SELF = 0x4, 0x2, 0x80, 0x100, 0x400, 0x800
_IGNORED, _ONLYDIR, _ONESHOT = 0x8000, 0x01000000, 0x80000000
_OF_A_DIRECTORY = _CREATE | _MOVED_TO | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_OF_A_FILE = _ATTRIB | _MODIFY | _DELETE_SELF | _MOVE_SELF | _ONESHOT
_EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """One instance, which costs a descriptor; a user has 128 unless the system says otherwise. Raises OSError without one.

    Does not guarantee: anything to two threads that call it at once.
    """

    OVERFLOW = -1
    """The number of all: told in the place of more than the kernel can remember."""

    def __init__(self) -> None:
        self.fd = _checked(_libc.inotify_init1(_NONBLOCK | _CLOEXEC))

    def add(self, path: str) -> int | None:
        """Tell of names that appear in a directory, or of a change of a file. None: it cannot be watched, or is not there.

        The same path, or another name of the same file, has the same number. Of a file one change is told, and no more: by
        then another may have its name, while it has others.
        """
        encoded = os.fsencode(settled(path))
        for mask in (_OF_A_DIRECTORY, _OF_A_FILE):
            watch: int = _libc.inotify_add_watch(self.fd, encoded, mask)
            if watch >= 0:
                return watch
            if ctypes.get_errno() != errno.ENOTDIR:
                return None
        return None

    def remove(self, watch: int) -> None:
        """Tell no more. Of what has gone the kernel has removed it itself."""
        _libc.inotify_rm_watch(self.fd, watch)

    def events(self) -> list[tuple[int, bool]]:
        """What has been told since the last time: numbers, and whether that was the last of it.

        Only what is there is read. Without that, a read(2) that is patched for greenlets would wait, and never return.
        """
        found: list[tuple[int, bool]] = []
        there = _readable_bytes(self.fd)
        if not there:
            return found
        data, at = os.read(self.fd, there), 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            found.append((watch, bool(mask & _IGNORED)))
            at += _EVENT.size + length
        return found

    def close(self) -> None:
        """It is used no more, and nothing is watched."""
        os.close(self.fd)


def _readable_bytes(fd: int) -> int:
    there = ctypes.c_int(0)
    if sys.platform != "win32":
        _checked(_libc.ioctl(fd, ctypes.c_ulong(termios.FIONREAD), ctypes.byref(there)))
    return there.value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "inotify")
    return result
