"""Generations as the names of files: which numbers a listing has."""

from __future__ import annotations

from collections.abc import Iterable

from looop_portable.system.opening.ours import LONGEST_NUMBER, RECORD, those


def highest(names: Iterable[str]) -> int:
    """The highest generation among the names in a directory, 0 if there is none. What we do not spell so is none."""
    found = list(filter(str.isdecimal, names))
    if not found:
        return 0
    last = max(found)  # Of numbers as we spell them, the longest are the highest, and among those the last in the alphabet.
    top = int(last)
    if str(top) == last and len(last) == max(map(len, found)):
        return top
    return max((int(name) for name in found if str(int(name)) == name), default=0)


def in_order(names: Iterable[str]) -> list[str]:
    """Private files first, then generations, the oldest first; what is neither is left alone."""
    names = list(names)
    private = [name for name in names if not name.isdecimal()]
    return those(private, RECORD) + sorted(filter(_is_generation, names), key=int)


def _is_generation(name: str) -> bool:
    return name.isdecimal() and name.isascii() and name[0] != "0" and len(name) <= LONGEST_NUMBER
