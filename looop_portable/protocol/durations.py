"""How long, as people write it: `30`, `30s`, `5m`, `1h30m`.

A number alone is seconds. Else each number has its unit, in any order, each unit once.
"""

from __future__ import annotations

import math
import re

from looop_portable.errors import UsageError
from looop_portable.protocol.names import excerpt

SECONDS_IN = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
HOW = "30, 30s, 5m or 1h30m"
"""What to write, for people."""

_AGES = 1e12
"""Longer than anything waits: 31,000 years. What adds it to a clock still has a number."""
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_ALONE = re.compile(rf"{_NUMBER}(?:[eE][+-]?\d+)?", re.ASCII)
_PART = re.compile(rf"({_NUMBER})(ms|[smhdw])", re.ASCII)


def limit(timeout: object) -> float | None:
    """For how many seconds a program waits. None: without end; -1 means that too, as for filelock and `threading`.

    Raises `UsageError` for what is no number of seconds from 0 on.
    """
    if timeout is None or timeout == -1:
        return None
    if isinstance(timeout, int | float) and 0 <= timeout < math.inf:
        return min(timeout, _AGES)
    raise UsageError(f"a timeout is a number of seconds from 0 on, or None to wait without end, not {excerpt(timeout)}")


def seconds_in(text: str) -> float:
    """The seconds of a duration, from 0 on and finite. Raises ValueError."""
    text = text.strip()
    if _ALONE.fullmatch(text):
        seconds = float(text)
    else:
        parts, end = [], 0
        for part in _PART.finditer(text):
            if part.start() != end:
                break
            parts.append(part.groups())
            end = part.end()
        units = [unit for _, unit in parts]
        if not parts or end != len(text) or len(set(units)) != len(units):
            raise ValueError(f"{text!r} is no duration: write {HOW}")
        seconds = sum(float(number) * SECONDS_IN[unit] for number, unit in parts)
    if not math.isfinite(seconds):
        raise ValueError(f"{text!r} is too long")
    return seconds
