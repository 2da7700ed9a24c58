"""Claims under a guard, flock(2) on `claims/.dirlock`: to share a directory with looop, and where hard links are missing.

Guarantees: what `backend` does, on vfat, exfat, FUSE and the like too; and against looop >= 0.57, which holds the same
guard. Without hard links a generation is created exclusively in place, so that even a guard that lies lets one win.
Does not guarantee: that nobody waits. A process that is stopped inside the guard keeps all others waiting, and on a network
filesystem one whose host has vanished does so for minutes: where hard links work, `auto` does without.
It refuses a mount on which flock is local to each host (`nolock`, `local_lock`), and a filesystem that grants it to all.
"""

from __future__ import annotations

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.ledger.ledger import KEEP
from looop_portable.ledger.stamp import FLOCK, Policy
from looop_portable.system.files import OS, Files

ADVISORY = Policy("advisory", guard=FLOCK, without_links=FLOCK, holds=(FLOCK,))


class AdvisoryBackend(DirectoryBackend):
    """A `Backend` in `data_dir`."""

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, ADVISORY, files, keep)


def open_advisory(data_dir: str) -> AdvisoryBackend:
    """As every backend is opened. Raises `CannotExclude` on another platform."""
    return AdvisoryBackend(data_dir).for_this_platform()
