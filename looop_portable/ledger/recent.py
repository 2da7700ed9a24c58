"""What this process itself did last to each name in a ledger, so that it need not be asked of the filesystem.

Does not guarantee: that any of it is still so. Others may have moved the name since. A step that builds upon it is then the
step of a stale reader, and fails as such.
"""

from __future__ import annotations

_MOST = 10_000


class Recent:
    """One name. `published`: generation and record of the latest lease. `released`: the same of the latest release, which
    is one more name of such a record. `pruned`: the number up to which generations were removed, at the latest lease.
    `alone`: the latest look at the head found our release there, so nobody else had come in between.
    """

    __slots__ = ("alone", "pruned", "published", "released")

    def __init__(self) -> None:
        self.published: tuple[int, bytes] = (0, b"")
        self.released: tuple[int, bytes] = (0, b"")
        self.pruned = 0
        self.alone = False


NOTHING = Recent()
"""Of a name of which nothing is known. Not to be changed."""


class Memory(dict[str, Recent]):
    """By name; all is forgotten when there are too many."""

    def __missing__(self, key: str) -> Recent:
        if len(self) >= _MOST:
            self.clear()
        found = self[key] = Recent()
        return found
