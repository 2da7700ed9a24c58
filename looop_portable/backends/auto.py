"""The backend that a directory can have: hard links where they work, else the advisory backend's guard, else a refusal.

How: what works is found out when the directory's stamp is made; from then on the stamp says it. On Windows it is `windows`.
"""

from __future__ import annotations

import sys

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.errors import unreadable
from looop_portable.ledger.ledger import KEEP
from looop_portable.ledger.stamp import FLOCK, Policy
from looop_portable.system.files import OS, Files

AUTO = Policy("auto", guard="", without_links=FLOCK, holds=("", FLOCK))


class AutoBackend(DirectoryBackend):
    """A `Backend` in `data_dir`; called `posix` or `advisory`, after what the directory turns out to be."""

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        super().__init__(data_dir, AUTO, files, keep)

    @property
    def name(self) -> str:
        """Raises `Unavailable` where the directory's stamp cannot be read."""
        try:
            stamped = self.ledger.ledger_root.format()
        except OSError as error:
            raise unreadable(error, "") from error
        return "posix" if stamped is None or stamped.links else "advisory"


def open_auto(data_dir: str) -> DirectoryBackend:
    """The backend for this platform and this directory."""
    if sys.platform == "win32":
        from looop_portable.backends.directory.windows import WindowsBackend

        return WindowsBackend(data_dir)
    return AutoBackend(data_dir)
