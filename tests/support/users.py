"""Work that is done as another user, in a process of its own. POSIX only, and only root can."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE = 60
"""Seconds after which such a process is ended: nobody may hang."""

_LACKING = 77  # The exit status that says: the system does not let us test this.


def as_user(user: int, group: int, work: Callable[[], object], *, umask: int = 0o022, uses: Path | None = None) -> None:
    """`work`, in a process of `user`, which ends with it. Root stays what it is.

    Fails, with its traceback, if `work` does. Skips where we cannot become that user, or that user cannot write in `uses`.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir("/")
            os.umask(umask)
            signal.alarm(PATIENCE)
            if becomes(user, group) and (uses is None or os.access(uses, os.R_OK | os.W_OK | os.X_OK)):
                work()
                status = 0
            else:
                status = _LACKING
        except BaseException:  # noqa: BLE001 (whatever it is, the test tells)
            os.write(writer, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        told = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == _LACKING:
        pytest.skip(f"cannot become another user{f' who can write in {uses}' if uses else ''} (needs CAP_SETUID)")
    assert status == 0, told or f"ended by {status}"


def becomes(user: int, group: int) -> bool:
    """Whether this process could become `user`. Root stays what it is."""
    if user:
        try:
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
        except OSError:
            return False
    return True
