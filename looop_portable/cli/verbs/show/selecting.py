"""Which claims somebody means: by a pattern, by who holds them, and for how long; and in which order."""

from __future__ import annotations

from fnmatch import fnmatchcase


def fits(name: str, pattern: str) -> bool:
    """Whether it is that name, or one of those that the pattern (`*`, `?`, `[abc]`) stands for."""
    return name == pattern or fnmatchcase(name, pattern)
