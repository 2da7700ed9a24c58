"""Watchers that Linux wakes: `waking` there."""

from __future__ import annotations

import sys

from looop_portable.system.watch.announcing import Wakeable
from looop_portable.system.watch.notifier import open_notifier
from looop_portable.system.watch.subscription import KernelWatcher, Subscription

assert sys.platform == "linux"


def subscription(watcher: Wakeable) -> Subscription:
    """What hears for `watcher`."""
    return Subscription(watcher, open_notifier)


def new_watcher() -> KernelWatcher:
    """A watcher of one thread."""
    return KernelWatcher(open_notifier)
