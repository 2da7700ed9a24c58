"""The files that guards are held on: whose they are, and who may open them.

Guarantees: whoever may only read cannot open one. Without this, he could hold it (flock(2) asks for no right to write), and
so keep everybody from working.
Does not guarantee: that of one which somebody else has made, looop say, and which is not ours to change.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
from collections.abc import Callable

from looop_portable.system.opening.descriptors import share
from looop_portable.system.opening.nonces import nonce
from looop_portable.system.opening.private import fresh, named

PRIVATE_GUARD = ".guard-"
"""How the names of guards begin that do not have their final one yet."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
_PATH = getattr(os, "O_PATH", 0)
_DESCRIPTORS = "/proc/self/fd"


def share_guard(path: str, shared: int, rename: Callable[[str, str], None]) -> None:
    """A guard's file is there, and may be held by all who share it. One that is there is never replaced.

    It gets its mode before its name; without hard links afterwards. Without the last step, a crash in between would
    shut the others out: its owner mends that when he comes again.
    """
    if not os.path.lexists(path):
        private = fresh(os.path.join(os.path.dirname(path), PRIVATE_GUARD), nonce)
        make = functools.partial(_make, shared=shared)
        try:
            named(private, make, lambda made: rename(made, path), os.unlink)
        except OSError:
            with contextlib.suppress(FileExistsError):
                make(path)
    if _PATH:
        _mend(path, (shared | 0o600) & 0o666)


def _make(path: str, shared: int) -> None:
    fd = os.open(path, _NEW, 0o600)
    try:
        share(fd, shared, 0o666)
    finally:
        os.close(fd)


def _mend(path: str, mode: int) -> None:
    """If it is ours, it has this mode: by a descriptor, so that nobody can put another file in its place meanwhile."""
    if sys.platform == "win32":
        return
    fd = os.open(path, _PATH | _NOFOLLOW)
    try:
        found = os.fstat(fd)
        ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()
        if ours and stat.S_IMODE(found.st_mode) != mode:
            with contextlib.suppress(FileNotFoundError):  # No /proc.
                os.chmod(f"{_DESCRIPTORS}/{fd}", mode)
    finally:
        os.close(fd)
