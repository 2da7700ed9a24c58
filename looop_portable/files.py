"""The filesystem calls that everything on disk rests on; the only place that changes anything there.

How: small calls, each a step that the interleaving explorer can put another process, or a crash, before. `Files` is what
they are to the rest; `OS` is the real one (`files_posix`, `files_windows`); `looop_portable.testing` has a scripted one.
"""

from __future__ import annotations

import functools
import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from looop_portable.mounts import Mount

from looop_portable.files_posix import PRIVATE_DIRECTORY, PRIVATE_GUARD, PROBE, OsFiles

__all__ = ["OS", "PRIVATE_DIRECTORY", "PRIVATE_GUARD", "PROBE", "Files", "OsFiles", "timestamp"]


class Files(Protocol):
    """The calls, as `Ledger`, `Projection`, `Registry` and the backends use them. All raise OSError."""

    def token(self) -> str: ...
    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None: ...
    def link(self, private: str, public: str) -> None: ...
    def rename(self, private: str, public: str) -> None: ...
    def replace(self, private: str, public: str) -> None: ...
    def remove(self, path: str) -> bool: ...
    def list(self, path: str) -> list[str]: ...
    def refuse_link(self, path: str) -> None: ...
    def read(self, path: str) -> bytes | None: ...
    def opens_by_both(self, path: str, other: str) -> bool: ...
    def mount_of(self, path: str) -> Mount | None: ...
    def mkdir(self, path: str, *, shared: int = 0) -> None: ...
    def rmdir(self, path: str) -> None: ...
    def age(self, path: str) -> float | None: ...
    def shared_bits(self, path: str) -> int: ...
    def in_use(self, error: OSError) -> bool: ...
    def guard(self, path: str, *, shared: int = 0) -> AbstractContextManager[None]: ...
    def guard_excludes(self, path: str, *, shared: int = 0) -> bool: ...


def _system() -> OsFiles:
    if sys.platform == "win32":
        from looop_portable.files_windows import WindowsFiles

        return WindowsFiles()
    return OsFiles()


OS = _system()


def timestamp() -> str:
    """Now, by this host's clock, in UTC: for people and for the event log, never for a decision."""
    return _timestamp(int(time.time()))


@functools.lru_cache(maxsize=1)
def _timestamp(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
