"""Guards: short critical sections that the kernel holds, for directories where publishing alone does not exclude.

Guarantees: one process, and one thread of it, at a time; a process that dies lets go at once, on the same host.
Does not guarantee: anything where the filesystem grants a lock to everybody (`excludes` finds that on one host, the mount's
options tell it for several); nor that it comes soon: a process that is stopped inside keeps all others out, and on a
network filesystem one whose host has vanished does so for minutes. A waiter gives up after `PATIENCE`, with an error.
How: flock(2) by filelock, which keeps a fork from carrying it away and never falls back to a marker file. On Windows:
`guard_windows`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from looop_portable.errors import Unavailable
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import filelock

PATIENCE = 30.0
"""Seconds."""

_POLL = 0.002


@contextmanager
def guard(path: str, patience: float = PATIENCE, mode: int = 0o600) -> Iterator[None]:
    """Hold the guard at `path`, a file that stays (`mode`: if it is made now).

    Raises OSError, or `Unavailable` if another does not release it.
    """
    import filelock

    native = filelock.FileLock(path, timeout=patience, mode=mode, poll_interval=_POLL, fallback_to_soft=False)
    try:
        native.acquire()
        yield
    except filelock.Timeout as error:
        raise _held(path, patience) from error
    finally:
        _release(native)


def _release(native: filelock.BaseFileLock) -> None:
    """What was done inside is done, and a descriptor that is closed lets go, whatever is said to that.

    Without this, one error at unlocking would leave the descriptor open, and so keep all others out for as long as this
    process lives. Forced: also what was acquired when a signal's handler raised.
    """
    try:
        native.release(force=True)
    except OSError:
        context = native._context
        fd, context.lock_file_fd = context.lock_file_fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)
        native.release(force=True)  # It has no descriptor any more, and forgets that it had one.


def excludes(path: str) -> bool:
    """Whether the guard at `path`, which the caller holds, is refused to anybody else."""
    try:
        with guard(path, 0):
            return False
    except Unavailable:
        return True


def _held(path: str, patience: float) -> Unavailable:
    return Unavailable(
        f"{path}: another process has held this guard for {patience:.0f} s: one that is stopped inside, or whose host is "
        "gone (`fuser` or `lslocks` tell which); end it, or try again",
        path,
    )
