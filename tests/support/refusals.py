"""What a refusal says on stderr: who holds it, then a line for each fact."""

from __future__ import annotations

import re


def facts(refusal: str) -> dict[str, str]:
    """The facts below the first line, in their order, by their words."""
    found: dict[str, str] = {}
    for line in refusal.splitlines()[1:]:
        told = re.fullmatch(r"  (\w+) +(\S.*)", line)
        assert told, line
        found[told[1]] = told[2]
    return found
