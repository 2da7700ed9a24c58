"""A claim that several may hold, each a slot of it; and the order in which several claims are taken.

How: the slots of NAME are the claims NAME#1, NAME#2 and so on, each with generations of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from looop_portable.errors import UsageError
from looop_portable.protocol.names import canonical, spelled

MOST = 10_000
"""Slots. Whoever asks for one may have to look at all of them."""


def in_order(names: Iterable[str]) -> list[str]:
    """The names, each once, in the order in which everybody takes them, also where case makes no difference."""
    return sorted({canonical(name) for name in names}, key=lambda name: (spelled(name).casefold(), spelled(name)))


def slots_of(name: str, slots: int) -> list[str]:
    """The claims that are the slots of `name`; 0: it has none, and is one claim. Raises `InvalidName`, `UsageError`."""
    if not 0 <= slots <= MOST:
        raise UsageError(f"a claim cannot have {slots} slots: 1 to {MOST}")
    name = canonical(name)
    return [canonical(f"{name}#{number}") for number in range(1, slots + 1)] or [name]


def line_for(name: str, slots: int) -> str:
    """The line of those who want it. NAME and its slots are other claims: in one line they would wait for each other."""
    return canonical(f"{name}#") if slots else canonical(name)
