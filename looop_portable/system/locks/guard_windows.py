"""The guard among Windows processes: `guard` there.

Guarantees: one process, and one thread of it, at a time; a process that dies lets go at once. A scanner, a backup or an
indexer that has the file open, and lets nobody write meanwhile, is waited for, as whoever holds it is.
Does not guarantee: that it comes soon: a process that is stopped inside keeps all others out. Whoever waits longer than
`PATIENCE` is told. Nor anything where a filesystem knows no such locks (`\\\\wsl$`): there it is an OSError at once.
How: a byte-range lock, by portalocker, of a handle of ours that shares all: portalocker's own lets nobody rename the file.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from looop_portable.errors import Unavailable, because
from looop_portable.system.locks.guard import PATIENCE

assert sys.platform == "win32"

from looop_portable.system.opening import handles  # noqa: E402

_POLL = 0.002


@contextmanager
def guard(path: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the guard at `path`, a file that stays. Raises OSError, or `Unavailable` if another does not release it."""
    end = time.monotonic() + patience
    fd = _opened(path, end, patience)
    try:
        while not _lock(fd):
            if time.monotonic() >= end:
                raise _held(path, patience, "another process has held this guard: one that is stopped inside")
            time.sleep(_POLL)
        yield
    finally:
        os.close(fd)  # Which releases it.


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
    import portalocker

    try:
        portalocker.lock(fd, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise _cause(error) from error
    return True


def _cause(error: BaseException) -> BaseException:
    """What the system said."""
    return error.__cause__ if isinstance(error.__cause__, OSError) else error


def _held(path: str, patience: float, what: str) -> Unavailable:
    way_out = "Resource Monitor tells which (CPU, Associated Handles); end it, or try again"
    return Unavailable(f"{path}: waited for {patience:.0f} s: {what} ({way_out})", path)
