"""The backends of directories, by name: each is one `Policy`, which says what it does where.

`auto` takes what the directory can do, `posix` hard links alone, `windows` and `advisory` a guard where there are none.
"""

from __future__ import annotations

import sys

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.errors import answering
from looop_portable.ledger import stamp
from looop_portable.ledger.ledger import KEEP
from looop_portable.ledger.stamp import FLOCK, Policy
from looop_portable.system.files import OS, Files

AUTO = Policy("auto", guard="", without_links=FLOCK, holds=("", FLOCK))
POSIX = Policy("posix")
WINDOWS = Policy("windows", guard="", without_links=stamp.WINDOWS, holds=("", stamp.WINDOWS), windows=True)
ADVISORY = Policy("advisory", guard=FLOCK, without_links=FLOCK, holds=(FLOCK,))


class AutoBackend(DirectoryBackend):
    """The backend that a directory can have: hard links where they work, else `advisory`'s guard, else a refusal.

    It is called `posix` or `advisory`, after what the directory turns out to be.
    How: what works is found out when the directory's stamp is made; from then on the stamp says it.
    """

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, AUTO, files, keep)

    @property
    def name(self) -> str:
        """Raises `Unavailable` where the directory's stamp cannot be read."""
        with answering():
            stamped = self.ledger.ledger_root.format()
        return "posix" if stamped is None or stamped.links else "advisory"


class PosixBackend(DirectoryBackend):
    """Claims by hard links alone: on POSIX systems, lock-free.

    Guarantees: what `backend` does, on filesystems with hard links. No kernel lock is used, so none has to be trusted; but
    for directories that the advisory backend made, whose guard it holds like everybody there.
    Does not guarantee: anything where there are no hard links. It refuses those.
    """

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, POSIX, files, keep)


class WindowsBackend(DirectoryBackend):
    """Claims on Windows: by hard links; or by renaming where there are none, inside a guard of all Windows processes.

    Guarantees: what `backend` does, against hosts of other systems too where there are hard links: link(2) and
    CreateHardLink exclude each other on one file server. There is no guard there, so a process that is stopped is in
    nobody's way.
    Does not guarantee: that nobody waits where there are no hard links (FAT, exFAT). One that is stopped inside the guard
    keeps all others out, of all names: a guard for each name would exclude nobody of an earlier version, which holds the
    one for all. Nor exclusion against other systems there: only Windows hosts hold the guard, and others refuse such a
    directory, as Windows hosts refuse one whose guard is flock.
    """

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, WINDOWS, files, keep)


class AdvisoryBackend(DirectoryBackend):
    """Claims under a guard, flock(2) on `claims/.dirlock`: to share a directory with looop, and where links are missing.

    Guarantees: what `backend` does, on vfat, exfat, FUSE and the like too; and against looop >= 1.0, which holds the same
    guard. Without hard links a generation is created exclusively in place, so that even a guard that lies lets one win.
    Does not guarantee: that nobody waits. A process that is stopped inside the guard keeps all others waiting, and on a
    network filesystem one whose host has vanished does so for minutes: where hard links work, `auto` does without.
    It refuses a mount on which flock is local to each host (`nolock`, `local_lock`), and a filesystem that grants it to
    all.
    """

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, ADVISORY, files, keep)


def open_auto(data_dir: str) -> DirectoryBackend:
    """The backend for this platform and this directory: on Windows it is `windows`."""
    return WindowsBackend(data_dir) if sys.platform == "win32" else AutoBackend(data_dir)


def open_posix(data_dir: str) -> PosixBackend:
    """As every backend is opened. Raises `CannotExclude` on another platform."""
    return PosixBackend(data_dir).for_this_platform()


def open_windows(data_dir: str) -> WindowsBackend:
    """As every backend is opened. Raises `CannotExclude` on another platform."""
    return WindowsBackend(data_dir).for_this_platform()


def open_advisory(data_dir: str) -> AdvisoryBackend:
    """As every backend is opened. Raises `CannotExclude` on another platform."""
    return AdvisoryBackend(data_dir).for_this_platform()
