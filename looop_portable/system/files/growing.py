"""A file of numbers that only grow: for each name, known by a `mark`, the highest that was asked for.

Does not guarantee: the greater number, where two processes raise one at the same moment and one of them is stopped between
its look and its writing: until it is raised once more. Nor a number of its own for a name, where there are many thousands:
then some share the greater one.
How: a table of some thousand buckets. Each has eight entries, of a mark and its number, and is read at once.
"""

from __future__ import annotations

import os

from looop_portable.system.opening.descriptors import most, opened, refuse_others, share
from looop_portable.system.opening.direct import direct

_SIZE = 8  # Bytes of a mark, and of a number.
_ENTRY = 2 * _SIZE
_ENTRIES = 8
_BUCKET = _ENTRIES * _ENTRY
_BUCKETS = 4093
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class FloorFiles:
    """What `files/posix` inherits. Methods raise OSError."""

    def floor(self, path: str, mark: int) -> int:
        """The number of `mark`, from 1 to 2**64 - 1; 0 where none was ever raised."""
        try:
            fd = self._open_floors(path, os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            return _find(fd, mark)[1]
        except OSError as error:
            error.filename = path  # What is done to a descriptor does not tell of which file it is.
            raise
        finally:
            os.close(fd)

    def raise_floor(self, path: str, mark: int, number: int, *, shared: int = 0) -> bool:
        """The number of `mark` is at least `number`. False: it was already. The file is made where it is missing."""
        try:
            fd, is_new = self._open_floors(path, os.O_RDWR), False
        except FileNotFoundError:
            fd, is_new = self._open_floors(path, os.O_RDWR | os.O_CREAT, most(0o666, shared)), True
        try:
            if is_new:
                share(fd, shared, 0o666)
            refuse_others(fd, path)
            offset, found, its_mark = _find(fd, mark)
            if found >= number:
                return False
            while found < number:  # Another may have put his own there.
                os.lseek(fd, offset, os.SEEK_SET)
                os.write(fd, (its_mark or mark).to_bytes(_SIZE, "little") + number.to_bytes(_SIZE, "little"))
                offset, found, its_mark = _find(fd, mark)
            return True
        finally:
            os.close(fd)

    def _open_floors(self, path: str, how: int, mode: int = 0) -> int:
        return opened(path, how | _FLAGS | direct(path), mode)


def _find(fd: int, mark: int) -> tuple[int, int, int]:
    """Where the entry of `mark` is, or is to be; its number; and whose it is: another's, in a bucket that is full."""
    start = mark % _BUCKETS * _BUCKET
    os.lseek(fd, start, os.SEEK_SET)
    data = os.read(fd, _BUCKET).ljust(_BUCKET, b"\0")
    entries = [(_int(data, at), _int(data, at + _SIZE), at) for at in range(0, _BUCKET, _ENTRY)]
    own = next((entry for entry in entries if entry[0] in (mark, 0)), entries[mark // _BUCKETS % _ENTRIES])
    its_mark, number, at = own
    return start + at, number, its_mark


def _int(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + _SIZE], "little")
