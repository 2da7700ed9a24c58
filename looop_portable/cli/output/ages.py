"""How long ago something was, by this host's clock."""

from __future__ import annotations

import calendar
import time


def seconds_since(at: str) -> int | None:
    """From a time as records have it until now; None: it is none. What is yet to come is 0 s ago."""
    try:
        return max(0, int(time.time()) - calendar.timegm(time.strptime(at, "%Y-%m-%dT%H:%M:%SZ")))
    except (ValueError, OverflowError):
        return None


def age(at: str) -> str:
    """The same for people: 12s, 5m, 3h, 2d."""
    seconds = seconds_since(at)
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
