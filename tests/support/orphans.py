"""What a test's commands leave behind is put away by process 1, as elsewhere: after each test this process adopts nobody.

`looop run` adopts it, and tests run that in this process: without this, what ends in a later test would stay a zombie.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

import pytest

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def adopts_nobody() -> Iterator[None]:
    yield
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
