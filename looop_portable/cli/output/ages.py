"""How long ago something was, for people."""

from __future__ import annotations

import calendar
import time


def age(at: str) -> str:
    """By this host's clock: 12s, 5m, 3h, 2d."""
    try:
        seconds = max(0, int(time.time()) - calendar.timegm(time.strptime(at, "%Y-%m-%dT%H:%M:%SZ")))
    except (ValueError, OverflowError):
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
