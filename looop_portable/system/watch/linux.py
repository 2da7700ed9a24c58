"""Bells that Linux rings: `watcher` there."""

from __future__ import annotations

import sys

from looop_portable.system.watch.announcing import Rings
from looop_portable.system.watch.ear import open_ear
from looop_portable.system.watch.hearing import Hearing, HearingBell

assert sys.platform == "linux"


def hearing(bell: Rings) -> Hearing:
    """What hears for `bell`."""
    return Hearing(bell, open_ear)


def new_bell() -> HearingBell:
    """A bell of one thread."""
    return HearingBell(open_ear)
