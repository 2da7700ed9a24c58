"""Generations as the names of files: which numbers a listing has."""

from __future__ import annotations

from collections.abc import Iterable


def highest(names: Iterable[str]) -> int:
    """The highest generation among the names in a directory, 0 if there is none. What we do not spell so is none."""
    names = set(names)
    top = max(map(int, filter(str.isdecimal, names)), default=0)
    if top and str(top) not in names:
        return max((int(name) for name in names if name.isdecimal() and str(int(name)) == name), default=0)
    return top


def in_order(names: Iterable[str]) -> list[str]:
    """Private files first, then generations, the oldest first; what is neither is left alone."""
    names = list(names)
    private = [name for name in names if name.startswith(".")]
    return private + sorted((name for name in names if name.isdecimal()), key=int)
