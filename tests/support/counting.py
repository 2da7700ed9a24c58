"""How many questions the filesystem is asked: the files that are read, and the directories that are listed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from support.capabilities import NativeFiles


class Asked(NamedTuple):
    """The paths, in order. What else is asked of the system (a process, a lock, a directory's mode) is not counted."""

    reads: list[str]
    listings: list[str]

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.reads), len(self.listings)

    def more_than_once(self, below: str = "") -> list[str]:
        """What was asked twice, of the paths in which `below` is."""
        found = Counter([*(f"read {path}" for path in self.reads), *(f"list {path}" for path in self.listings)])
        return [path for path, times in found.items() if times > 1 and below in path]


@contextlib.contextmanager
def asked(below: Path) -> Iterator[Asked]:
    """What this process asks inside about the store `below`, whichever of its objects does."""
    found, root = Asked([], []), below.as_posix()
    read, listed = NativeFiles.read, NativeFiles.list

    def read_too(self: NativeFiles, path: str) -> bytes | None:
        if path.startswith(root):  # Another test's session may still beat in its store.
            found.reads.append(path)
        return read(self, path)

    def list_too(self: NativeFiles, path: str) -> list[str]:
        if path.startswith(root):
            found.listings.append(path)
        return listed(self, path)

    with mock.patch.object(NativeFiles, "read", read_too), mock.patch.object(NativeFiles, "list", list_too):
        yield found
