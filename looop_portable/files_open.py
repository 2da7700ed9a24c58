"""What is done to a file that is open. `files_posix` opens and closes it."""

from __future__ import annotations

import os
import stat
import sys

_CHUNK = 4096
_LARGEST = 1 << 20


def widen(fd: int, bits: int) -> None:
    """Add permissions to those that it has."""
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if sys.platform != "win32" and mode | bits != mode:
        os.fchmod(fd, mode | bits)


def write(fd: int, data: bytes) -> None:
    """All of `data`, however often it takes."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def read(fd: int) -> bytes:
    """All of it; empty if that is more than 1 MiB."""
    data = os.read(fd, _CHUNK)
    if not data or (len(data) < _CHUNK and data.endswith(b"}\n")):
        return data  # All of ours end so, and have no newline before: there is no more of it.
    while len(data) <= _LARGEST:  # Without this, a short read would make half a lease of a whole one.
        more = os.read(fd, _CHUNK)
        if not more:
            return data
        data += more
    return b""
