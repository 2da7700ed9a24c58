"""What Linux tells a process's watcher: inotify(7) of paths, pidfd_open(2) of the ends of processes.

Does not guarantee: anything to two threads that call it at once, but for what waits, and `poke`.
How: poll(2) of the one instance of inotify, of the pidfds, and of an eventfd(2) that has it return. What is there to be
read is read, and no more: greenlets, where a program is patched for them, would wait in a read(2) that finds nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select  # noqa: F401 (`readable` uses it: there may be no descriptor to load it with by then)
import sys
from collections.abc import Callable, Collection

from looop_portable.system.processes.handle import Watch, readable
from looop_portable.system.watch.inotify import Inotify
from looop_portable.system.watch.shared import Following, News, Process
from looop_portable.system.watch.subscriptions import PerProcess

assert sys.platform == "linux"


class LinuxKernel:
    """Raises OSError where it cannot be had."""

    is_full = False

    def __init__(self) -> None:
        self._ends: dict[Process, Watch] = {}
        self._changes = Inotify()
        try:
            self._called = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._changes.close()
            raise
        self._is_called, self._is_changes = _identity(self._called), _identity(self._changes.fd)

    def poke(self) -> None:
        """Somebody may have closed its descriptor, and it be another's by now: that is not written to."""
        with contextlib.suppress(OSError):
            _check(self._called, self._is_called)
            os.eventfd_write(self._called, 1)

    def watch(self, path: str) -> tuple[int | None, Collection[int]]:
        return self._changes.add(path), ()

    def unwatch(self, number: int) -> None:
        self._changes.remove(number)

    def follow(self, process: Process) -> Following:
        watch = Watch(*process)
        if watch.descriptor is None:
            return Following.UNSEEN
        if watch.ended(0):
            watch.close()
            return Following.ENDED
        if self._ends.setdefault(process, watch) is not watch:  # A signal handler was faster.
            watch.close()
        self.poke()
        return Following.WATCHED

    def unfollow(self, process: Process) -> None:
        """Also where somebody waits for it just now: what is said then is for nobody."""
        watch = self._ends.pop(process, None)
        if watch is not None:
            watch.close()

    def prepare(self, seconds: float) -> Callable[[], list[int | Process]]:
        ends = {fd: process for process, watch in self._ends.items() if (fd := watch.descriptor) is not None}
        fds = [self._changes.fd, self._called, *ends]
        return lambda: [ends.get(fd, fd) for fd in readable(fds, seconds)]

    def read(self, notified: list[int | Process]) -> News:
        """Raises OSError also where a descriptor is another's by now: that is not read from."""
        if self._called in notified:
            _check(self._called, self._is_called)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._called)
        events: list[tuple[int, bool]] = []
        if self._changes.fd in notified:
            _check(self._changes.fd, self._is_changes)
            events = self._changes.events()
        ended = [process for process in notified if process in self._ends]
        for process in ended:
            self.unfollow(process)
        return News(
            [number for number, _ in events],
            [number for number, is_last in events if is_last],
            ended,
            any(number == Inotify.OVERFLOW for number, _ in events),
        )

    def close(self) -> None:
        self._changes.close()
        os.close(self._called)
        for watch in self._ends.values():
            watch.close()

    def abandon(self) -> None:
        """Nothing closes them by itself."""

    def close_inherited(self, *, just_begun: bool) -> None:  # noqa: ARG002 (the interface)
        self.close()


def _identity(fd: int) -> tuple[int, int, int]:
    found = os.fstat(fd)
    return found.st_mode, found.st_dev, found.st_ino


def _check(fd: int, identity: tuple[int, int, int]) -> None:
    """Raises OSError where it is another's by now."""
    if _identity(fd) != identity:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "inotify")


WATCHERS = PerProcess(LinuxKernel)
