"""Claims on Windows: by hard links alone; or by renaming where there are none, inside a guard of all Windows processes.

Guarantees: what `backend` does, against hosts of other systems too where there are hard links: link(2) and CreateHardLink
exclude each other on one file server. There is no guard there, so a process that is stopped is in nobody's way.
Does not guarantee: that nobody waits where there are no hard links (FAT, exFAT). One that is stopped inside the guard keeps
all others out, of all names: a guard for each name would exclude nobody of an earlier version, which holds the one for all.
Nor exclusion against other systems there: only Windows hosts hold the guard, and others refuse such a directory, as Windows
hosts refuse one whose guard is flock.
"""

from __future__ import annotations

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.ledger.ledger import KEEP
from looop_portable.ledger.stamp import WINDOWS, Policy
from looop_portable.system.files import OS, Files

POLICY = Policy("windows", guard="", without_links=WINDOWS, holds=("", WINDOWS), windows=True)


class WindowsBackend(DirectoryBackend):
    """A `Backend` in `data_dir`."""

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, POLICY, files, keep)


def open_windows(data_dir: str) -> WindowsBackend:
    """As every backend is opened. Raises `CannotExclude` on another platform."""
    return WindowsBackend(data_dir).for_this_platform()
