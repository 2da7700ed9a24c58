"""What is removed of a name's generations: what has been superseded, what crashes left, or all of it.

Guarantees: only what has exactly a name that we make, and only in the directory that is really there: see `rooms`.
"""

from __future__ import annotations

from looop_portable.ledger.numbers import highest, in_order
from looop_portable.system.files import Files
from looop_portable.system.files.rooms import clear

_TOGETHER = 8


def sweep(files: Files, root: str, key: str, keep: int) -> int:
    """Private files, and generations that should have been pruned. How many there were."""
    try:
        with files.room(f"{root}/{key}", 2) as room:
            names = room.names()
            oldest = highest(names) - keep
            return clear(room, (name for name in in_order(names) if name.startswith(".") or int(name) <= oldest))
    except FileNotFoundError:
        return 0


def forget(files: Files, root: str, key: str) -> None:
    """All of it, the head last."""
    try:
        with files.room(f"{root}/{key}", 2) as room:
            clear(room, in_order(room.names()))
        with files.room(root, 1) as room:
            room.rmdir(key)
    except FileNotFoundError:
        return


def prune_together(files: Files, root: str, key: str, last: int) -> None:
    """All generations up to `last`, from below, each eighth time: where others could have planted a link meanwhile.

    To open the directories on the way costs more than removing one file of known name, which is done elsewhere.
    """
    if last % _TOGETHER == 0:
        with files.room(f"{root}/{key}", 2) as room:
            clear(room, (name for name in in_order(room.names()) if not name.startswith(".") and int(name) <= last))
