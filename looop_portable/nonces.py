"""Words that were never used before, for records, incarnations and private files.

Does not guarantee: that two processes of two machines that were resumed from one snapshot differ for certain: their random
numbers may repeat, so the time counts too. Where two of them must not be taken for each other, more is compared than a
nonce (see `publishing`).
"""

from __future__ import annotations

import os
import time

_ODD = 0x9E3779B97F4A7C15
"""Spreads the time over all bits; odd, so that two times never become one number (Knuth, multiplicative hashing)."""
_ALL = (1 << 64) - 1


def nonce() -> str:
    """64 bits, random and of the moment, in hexadecimal."""
    random = int.from_bytes(os.urandom(8))
    return f"{random ^ (time.time_ns() * _ODD & _ALL):016x}"
