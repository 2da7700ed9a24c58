"""How long, as people write it: `30`, `30s`, `5m`, `1h30m`.

A number alone is seconds. Else each number has its unit, in any order, each unit once.
"""

from __future__ import annotations

import math
import re

SECONDS_IN = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
HOW = "30, 30s, 5m or 1h30m"
"""What to write, for people."""

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_ALONE = re.compile(rf"{_NUMBER}(?:[eE][+-]?\d+)?", re.ASCII)
_PART = re.compile(rf"({_NUMBER})(ms|[smhdw])", re.ASCII)


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
