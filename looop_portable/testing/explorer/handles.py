"""Directories that processes have looked up in order to do something there: a step that others can come before.

A handle is of a directory, wherever that is by then. It is the actor's name, `@`, and a number; `@1/name` is a name in it.
"""

from __future__ import annotations

from collections.abc import Iterable

Handles = frozenset[tuple[str, str]]
"""Each with the directory's path now; empty: it has been removed."""


def looked_up(handles: Handles, actor: str, paths: Iterable[str]) -> list[str] | None:
    """The paths, where those directories are now; None: one has been removed."""
    known, found = dict(handles), []
    for path in paths:
        handle, slash, name = path.partition("/") if path.startswith("@") else ("", "", path)
        directory = known[actor + handle] if handle else ""
        if handle and not directory:
            return None
        found.append(f"{directory}{slash}{name}")
    return found


def removed(handles: Handles, path: str) -> Handles:
    """The directory `path` is no more: it was removed, or it was empty, and another has replaced it."""
    return frozenset((who, "" if held == path else held) for who, held in handles)


def without(handles: Handles, actor: str) -> Handles:
    """Those of `actor` are let go."""
    return frozenset(each for each in handles if not each[0].startswith(f"{actor}@"))
