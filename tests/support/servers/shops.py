"""The servers that have buckets, as tests name them, and prefixes in them that nobody has had."""

from __future__ import annotations

import itertools
import os

from support.servers.azurite import Azurite
from support.servers.versitygw import VersityGW

Shop = VersityGW | Azurite

_numbers = itertools.count(1)


def fresh() -> str:
    return f"ci/{os.getpid()}-{next(_numbers)}"
