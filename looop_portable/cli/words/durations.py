"""Durations as people write them: `30`, `30s`, `5m`, `1h30m`.

A number alone is seconds. Else each number has its unit, in any order, each unit once.
"""

from __future__ import annotations

import math
import re

from looop_portable.cli.words import HOW

SECONDS_IN = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

_NUMBER = r"(?:\d++(?:\.\d*+)?|\.\d++)"
"""It gives no digit back: a long word that is no duration would be tried in every way to part it."""

_ALONE = re.compile(rf"{_NUMBER}(?:[eE][+-]?\d+)?", re.ASCII)
_PART = re.compile(rf"({_NUMBER})(ms|[smhdw])", re.ASCII)
_UNIT = "(?:ms|[smhdw]|msecs?|millis(?:ecs?|econds?)?|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?)"
_LIKE_ONE = rf"-{_NUMBER}\w*|(?:{_NUMBER} *{_UNIT} *)+|\d+(?::\d\d)+|\d+,\d+ *{_UNIT}?"


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


def is_one(word: str) -> bool:
    try:
        seconds_in(word)
    except ValueError:
        return False
    return True


def is_like_one(word: str) -> bool:
    """What people write for one, and would else be a name: `--wait 5min`, `5M`, `5 m`, `1:30`, `1,5h`."""
    return re.fullmatch(_LIKE_ONE, word, re.ASCII | re.IGNORECASE) is not None


def written(seconds: float) -> str:
    """Whole seconds as a duration with one unit: `30m`, `90s`."""
    whole = max(1, int(seconds))
    unit = next(unit for unit in ("d", "h", "m", "s") if whole % SECONDS_IN[unit] == 0)
    return f"{int(whole // SECONDS_IN[unit])}{unit}"
