"""What wakes somebody who waits: a change that the kernel tells of, the end of a process, another thread, or time.

Guarantees: what happens after `listen` or `follow` said True rings, also before `wait` is called; what another thread
rings, rings.
Does not guarantee: that there is news when it rings, nor that all news rings: nothing does on a network mount, where
others change what our kernel does not see. So whoever waits looks again after a while all the same.
How: inotify(7) and pidfd_open(2) on Linux, kqueue(2) on macOS and the BSDs, by way of one ear a process; directory
notifications and process handles on Windows. Elsewhere nothing but the other threads of this process ring.
"""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterable
from typing import Protocol

from looop_portable.protocol.records import Registration
from looop_portable.system.threads.latch import Latch


class Bell(Protocol):
    """One for each that waits."""

    def listen(self, paths: Iterable[str]) -> bool:
        """Ring for changes of these, directories or files, and of nothing else. Whether all of them can be heard."""

    def follow(self, process: Registration | None) -> bool:
        """Ring when it has ended, and no other. Whether that will be heard."""

    def forget(self) -> None:
        """Whoever calls this is about to look: what has rung before says nothing new."""

    def ring(self) -> None:
        """From any thread."""


class ThreadBell(Bell, Protocol):
    """One for a thread."""

    def wait(self, seconds: float) -> None:
        """Until it rings, or for so long."""

    def close(self) -> None:
        """It is not used any more."""


class DeafBell:
    """A bell where no kernel tells of anything."""

    def __init__(self) -> None:
        self._latch = Latch()

    def listen(self, paths: Iterable[str]) -> bool:  # noqa: ARG002 (the interface)
        return False

    def follow(self, process: Registration | None) -> bool:  # noqa: ARG002 (the interface)
        return False

    def forget(self) -> None:
        self._latch.forget()

    def ring(self) -> None:
        self._latch.ring()

    def wait(self, seconds: float) -> None:
        self._latch.wait(seconds)

    def close(self) -> None:
        """Nothing is open."""


def new_bell() -> ThreadBell:
    """The best that there is here."""
    if hasattr(select, "kqueue"):  # Where a program is patched for its greenlets it is not.
        from looop_portable.system.watch import kqueue

        return kqueue.new_bell()
    if sys.platform == "linux":
        from looop_portable.system.watch import linux

        return linux.new_bell()
    if sys.platform == "win32":
        from looop_portable.system.watch.windows import WindowsBell

        with contextlib.suppress(OSError):
            return WindowsBell()
    return DeafBell()
