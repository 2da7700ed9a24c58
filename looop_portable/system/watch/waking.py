"""What wakes somebody who waits: a change that the kernel tells of, the end of a process, another thread, or time.

Guarantees: every change after `watch` or `follow` returned True wakes the waiter, even if `wait` has not been called yet.
So does `wake`, from any thread.
Does not guarantee: that something changed when the waiter wakes. Nor that every change wakes it: on a network mount others
make changes that this kernel does not see. So a waiter looks again after a while all the same.
How: inotify(7) and pidfd_open(2) on Linux, kqueue(2) on macOS and the BSDs, directory notifications and process handles on
Windows, each by one watcher a process (`shared`). Elsewhere only other threads of this process wake.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Iterable

from looop_portable.protocol.records import Registration
from looop_portable.system.threads.latch import Latch
from looop_portable.typed import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from looop_portable.system.watch.announcing import Wakeable
    from looop_portable.system.watch.subscriptions import PerProcess


class Watcher(Protocol):
    """What wakes one waiter."""

    def watch(self, paths: Iterable[str]) -> bool:
        """Wake for changes of these directories and files, and no others. False: not all of them can be watched."""

    def follow(self, process: Registration | None) -> bool:
        """Wake when this process has ended, and no other. False: its end cannot be watched."""

    def forget(self) -> None:
        """Forget earlier wake-ups. Called before a look, which sees what they were about."""

    def wake(self) -> None:
        """From any thread."""


class Subscribes(Protocol):
    """The part of a `Watcher` that asks the kernel."""

    def watch(self, paths: Iterable[str]) -> bool: ...
    def follow(self, process: Registration | None) -> bool: ...
    def close(self) -> None: ...


class ThreadWatcher(Watcher, Protocol):
    """What wakes a thread that waits."""

    def wait(self, seconds: float) -> None:
        """Until it wakes, or for so long."""

    def close(self) -> None:
        """It is not used any more."""


class LocalWatcher:
    """A watcher where no kernel tells of anything."""

    def __init__(self) -> None:
        self._latch = Latch()

    def watch(self, paths: Iterable[str]) -> bool:  # noqa: ARG002 (the interface)
        return False

    def follow(self, process: Registration | None) -> bool:  # noqa: ARG002 (the interface)
        return False

    def forget(self) -> None:
        self._latch.forget()

    def wake(self) -> None:
        self._latch.wake()

    def wait(self, seconds: float) -> None:
        self._latch.wait(seconds)

    def close(self) -> None:
        """Nothing is open."""


def new_watcher() -> ThreadWatcher:
    """A watcher of the best kind that this system has."""
    from looop_portable.system.watch.subscriptions import SubscribedWatcher  # Who does not wait does not import it.

    watchers = _watchers()
    return SubscribedWatcher(watchers) if watchers else LocalWatcher()


def subscriptions(watcher: Wakeable) -> Subscribes:
    """What a task of an event loop asks by: `watcher` is woken from another thread."""
    from looop_portable.system.watch.subscriptions import Subscriptions

    watchers = _watchers()
    return Subscriptions(watcher, watchers) if watchers else LocalWatcher()


def _watchers() -> PerProcess | None:
    if hasattr(select, "kqueue"):  # Where a program is patched for its greenlets it is not.
        from looop_portable.system.watch import kqueue

        return kqueue.WATCHERS
    if sys.platform == "linux":
        from looop_portable.system.watch import linux

        return linux.WATCHERS
    if sys.platform == "win32":
        from looop_portable.system.watch import windows

        return windows.WATCHERS
    return None
