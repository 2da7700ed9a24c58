"""A file of numbers that only grow: for each slot the highest that was asked for.

Does not guarantee: the greater number, where two processes raise one slot at the same moment and one of them is stopped
between its look and its writing: until it is raised once more.
"""

from __future__ import annotations

import os

from looop_portable.files_direct import direct
from looop_portable.files_open import share

_SIZE = 8  # Bytes of a number.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class FloorFiles:
    """What `files_posix` inherits. Methods raise OSError."""

    def floor(self, path: str, slot: int) -> int:
        """The number of `slot`; 0 where none was ever raised."""
        try:
            fd = self._open_floors(path, os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            return _number(fd, slot)
        except OSError as error:
            error.filename = path  # What is done to a descriptor does not tell of which file it is.
            raise
        finally:
            os.close(fd)

    def raise_floor(self, path: str, slot: int, number: int, *, shared: int = 0) -> bool:
        """The number of `slot` is at least `number`. False: it was already. The file is made where it is missing."""
        try:
            fd = self._open_floors(path, os.O_RDWR)
        except FileNotFoundError:
            fd = self._open_floors(path, os.O_RDWR | os.O_CREAT)
            share(fd, shared, 0o666)
        try:
            if _number(fd, slot) >= number:
                return False
            while _number(fd, slot) < number:  # Another may have put a lower one there.
                os.lseek(fd, slot * _SIZE, os.SEEK_SET)
                os.write(fd, number.to_bytes(_SIZE, "little"))
            return True
        finally:
            os.close(fd)

    def _open_floors(self, path: str, how: int) -> int:
        return os.open(path, how | _NOFOLLOW | _BINARY | direct(path), 0o666)


def _number(fd: int, slot: int) -> int:
    os.lseek(fd, slot * _SIZE, os.SEEK_SET)
    return int.from_bytes(os.read(fd, _SIZE), "little")
