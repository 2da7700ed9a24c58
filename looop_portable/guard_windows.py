"""The guard among Windows processes: `guard` there.

Guarantees: one process, and one thread of it, at a time; a process that dies lets go at once. A scanner, a backup or an
indexer that has the file open, and lets nobody write meanwhile, is waited for, as whoever holds it is.
Does not guarantee: that it comes soon: a process that is stopped inside keeps all others out. Whoever waits longer than
`PATIENCE` is told. Nor anything where a filesystem knows no such locks (`\\\\wsl$`): there it is an OSError at once.
How: msvcrt's byte-range lock, from the first byte on, of a handle that shares all.
Compatibility: the range is that of portalocker, by which earlier versions hold the same guard.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from looop_portable.errors import Unavailable, because
from looop_portable.guard import PATIENCE

assert sys.platform == "win32"

import msvcrt  # noqa: E402

from looop_portable import files_handles as handles  # noqa: E402

_RANGE = 2**31 - 1
_HELD = (errno.EACCES, errno.EDEADLK)
_POLL = 0.002


@contextmanager
def guard(path: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the guard at `path`, a file that stays. Raises OSError, or `Unavailable` if another does not let go of it."""
    end = time.monotonic() + patience
    fd = _opened(path, end, patience)
    try:
        while not _lock(fd):
            if time.monotonic() >= end:
                raise _held(path, patience, "another process has held this guard: one that is stopped inside")
            time.sleep(_POLL)
        yield
    finally:
        os.close(fd)  # Which lets go of it.


def excludes(path: str) -> bool:
    """Whether the guard at `path`, which the caller holds, is refused to anybody else."""
    try:
        with guard(path, 0):
            return False
    except Unavailable:
        return True


def _opened(path: str, end: float, patience: float) -> int:
    access = handles.READ_DATA | handles.WRITE_DATA
    exact = handles.exact(path)
    while True:
        try:
            opened = handles.patiently(lambda: handles.handle(exact, access, handles.OPEN_ALWAYS))
        except OSError as error:
            if error.winerror not in handles.IN_USE:
                raise
            if time.monotonic() >= end:
                raise _held(path, patience, f"a program that lets nobody write has it open ({because(error)})") from error
        else:
            return handles.descriptor(opened, os.O_RDWR)


def _lock(fd: int) -> bool:
    """False: another holds it. Raises OSError where there are no such locks."""
    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, _RANGE)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def _held(path: str, patience: float, what: str) -> Unavailable:
    way_out = "Resource Monitor tells which (CPU, Associated Handles); end it, or try again"
    return Unavailable(f"{path}: waited for {patience:.0f} s: {what} ({way_out})", path)
