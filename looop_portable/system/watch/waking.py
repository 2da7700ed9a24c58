"""What wakes somebody who waits: a change that the kernel tells of, the end of a process, another thread, or time.

Guarantees: what happens after `watch` or `follow` said True wakes, also before `wait` is called; what another thread
wakes, wakes.
Does not guarantee: that there is news when it wakes, nor that all news wakes: nothing does on a network mount, where
others change what our kernel does not see. So whoever waits looks again after a while all the same.
How: inotify(7) and pidfd_open(2) on Linux, kqueue(2) on macOS and the BSDs, by way of one notifier a process; directory
notifications and process handles on Windows. Elsewhere nothing but the other threads of this process ring.
"""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterable
from typing import Protocol

from looop_portable.protocol.liveness import Registration
from looop_portable.system.threads.latch import Latch


class Watcher(Protocol):
    """One for each that waits."""

    def watch(self, paths: Iterable[str]) -> bool:
        """Wake for changes of these, directories or files, and of nothing else. Whether all of them can be heard."""

    def follow(self, process: Registration | None) -> bool:
        """Wake when it has ended, and no other. Whether that will be heard."""

    def forget(self) -> None:
        """Whoever calls this is about to look: what has woken before says nothing new."""

    def wake(self) -> None:
        """From any thread."""


class ThreadWatcher(Watcher, Protocol):
    """One for a thread."""

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
    """The best that there is here."""
    if hasattr(select, "kqueue"):  # Where a program is patched for its greenlets it is not.
        from looop_portable.system.watch import kqueue

        return kqueue.new_watcher()
    if sys.platform == "linux":
        from looop_portable.system.watch import linux

        return linux.new_watcher()
    if sys.platform == "win32":
        from looop_portable.system.watch.windows import WindowsWatcher

        with contextlib.suppress(OSError):
            return WindowsWatcher()
    return LocalWatcher()
