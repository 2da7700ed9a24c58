"""Words that were never used before, for records, incarnations and private files.

Does not guarantee: that two machines that were resumed from one snapshot never say the same word. Their random numbers may
repeat, and only the moment tells them apart. Where they must not be taken for each other, more is compared (`publishing`).
"""

from __future__ import annotations

import os
import time


def nonce() -> str:
    """64 random bits, changed by the moment, in hexadecimal. Linux keeps names of up to 31 bytes more cheaply."""
    return f"{int.from_bytes(os.urandom(8)) ^ time.time_ns():016x}"
