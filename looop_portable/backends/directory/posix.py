"""Claims by hard links alone: on POSIX systems, lock-free.

Guarantees: what `backend` does, on filesystems with hard links. No kernel lock is used, so none has to be trusted; but
for directories that the advisory backend made, whose guard it holds like everybody there.
Does not guarantee: anything where there are no hard links. It refuses those.
"""

from __future__ import annotations

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.ledger.ledger import KEEP
from looop_portable.ledger.stamp import Policy
from looop_portable.system.files import OS, Files

POSIX = Policy("posix")


class PosixBackend(DirectoryBackend):
    """A `Backend` in `data_dir`."""

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, POSIX, files, keep)


def open_posix(data_dir: str) -> PosixBackend:
    """As every backend is opened. Raises `CannotExclude` on another platform."""
    return PosixBackend(data_dir).for_this_platform()
