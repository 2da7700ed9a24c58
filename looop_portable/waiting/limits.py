"""For how long a program waits, as it says it."""

from __future__ import annotations

import math

from looop_portable.errors import UsageError
from looop_portable.protocol.names import excerpt

_AGES = 1e12
"""Longer than anything waits: 31,000 years. What adds it to a clock still has a number."""


def limit(timeout: object) -> float | None:
    """For how many seconds a program waits. None: without end; -1 means that too, as for filelock and `threading`.

    Raises `UsageError` for what is no number of seconds from 0 on.
    """
    if timeout is None or timeout == -1:
        return None
    if isinstance(timeout, int | float) and 0 <= timeout < math.inf:
        return min(timeout, _AGES)
    raise UsageError(f"a timeout is a number of seconds from 0 on, or None to wait without end, not {excerpt(timeout)}")
