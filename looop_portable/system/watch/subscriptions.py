"""What one waiter asks of its process's watcher, which is opened for the first of them; and a thread that waits.

Guarantees: as `waking` has it. A child made by fork opens its own, also for a waiter that it has inherited.
Does not guarantee: anything where no watcher can be had: then nothing of the kernel's wakes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from looop_portable.errors import Unavailable
from looop_portable.protocol.records import Registration
from looop_portable.system.processes.handle import is_this_process
from looop_portable.system.threads.latch import Latch
from looop_portable.system.watch.announcing import Wakeable
from looop_portable.system.watch.shared import Kernel, Process, SharedWatcher


class PerProcess:
    """The watcher of each process, for one kind of kernel: opened for the first waiter, and closed after the last."""

    def __init__(self, new_kernel: Callable[[], Kernel]) -> None:
        self.opened: list[SharedWatcher] = []
        """One, unless a kernel can watch so few that it was full."""
        self._new_kernel = new_kernel
        self._owner = os.getpid()
        self._opening = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.begin_in_child)

    def open(self, waiter: Wakeable, *, alone: bool) -> SharedWatcher:
        """This process's, joined by `waiter`. Raises OSError where there is none to be had."""
        if self._owner != os.getpid():  # A child whose fork ran no hooks, and which may have opened others since.
            self.begin_in_child(just_begun=False)
        with self._opening:
            self.opened = [each for each in self.opened if not each.is_over]
            found = next((each for each in self.opened if not each.is_full), None)
            if found is None:
                found = self._new()
                self.opened.append(found)
            found.join(waiter, alone=alone)
            return found

    def begin_in_child(self, *, just_begun: bool = True) -> None:
        """Begin anew in a forked child: it would otherwise take the events of its parent."""
        parents, self.opened = self.opened, []
        self._owner, self._opening = os.getpid(), threading.RLock()
        for each in parents:
            each.close_inherited(just_begun=just_begun)

    def _new(self) -> SharedWatcher:
        made = SharedWatcher(self._new_kernel())
        try:
            made.start(self._is_closed)
        except Unavailable as error:
            made.close()
            raise OSError(str(error)) from error
        return made

    def _is_closed(self, watcher: SharedWatcher) -> bool:
        """Close it, if nobody uses it."""
        with self._opening:
            if not watcher.is_idle or watcher.is_over:
                return watcher.is_over
            self.opened.remove(watcher)
        watcher.close()
        return True


class Subscriptions:
    """The paths and the process that one waiter has asked for. The first of them opens the watcher."""

    def __init__(self, waiter: Wakeable, watchers: PerProcess, *, alone: bool = False) -> None:
        """`alone`: it drives while nobody else waits."""
        self._waiter = waiter
        self._watchers = watchers
        self._alone = alone
        self._watcher: SharedWatcher | None = None
        self._watched: set[int] = set()
        self._process: Process | None = None

    @property
    def watcher(self) -> SharedWatcher | None:
        """What it has been opened for, if that is not over."""
        if self._watcher is not None and self._watcher.is_over:
            self._watcher, self._watched, self._process = None, set(), None
        return self._watcher

    def watch(self, paths: Iterable[str]) -> bool:
        """As `Watcher.watch`."""
        wanted = list(paths)
        watcher = self._opened() if wanted else self.watcher
        if watcher is None:
            return False
        found = [watcher.watch(self._waiter, path) for path in wanted]
        watched = {number for number in found if number is not None}
        for number in self._watched - watched:
            watcher.unwatch(self._waiter, number)
        self._watched = watched
        return bool(wanted) and None not in found

    def follow(self, process: Registration | None) -> bool:
        """As `Watcher.follow`. A process does not end while it waits."""
        if process is not None and is_this_process(process.pid, process.start):
            self._unfollow()
            return True
        wanted = (process.pid, process.start) if process else None
        if wanted != self._process:
            self._unfollow()
        watcher = self._opened() if wanted else None
        if watcher is None or wanted is None:
            return False
        self._process = wanted
        return watcher.follow(self._waiter, wanted)

    def close(self) -> None:
        """It is not used any more."""
        watcher = self.watcher
        if watcher is not None:
            self.watch(())
            self._unfollow()
            watcher.leave(self._waiter)
            self._watcher = None

    def _opened(self) -> SharedWatcher | None:
        if self.watcher is None:
            try:
                self._watcher = self._watchers.open(self._waiter, alone=self._alone)
            except OSError:  # No descriptor, no thread, or no instance of inotify (fs.inotify.max_user_instances).
                self._watcher = None
        return self._watcher

    def _unfollow(self) -> None:
        watcher = self.watcher
        if watcher is not None and self._process is not None:
            watcher.unfollow(self._waiter, self._process)
        self._process = None


class SubscribedWatcher:
    """A watcher of one thread. The process's watcher wakes it, and so do other threads."""

    def __init__(self, watchers: PerProcess) -> None:
        self._latch = Latch()
        self._subscriptions = Subscriptions(self, watchers, alone=True)

    def watch(self, paths: Iterable[str]) -> bool:
        return self._subscriptions.watch(paths)

    def follow(self, process: Registration | None) -> bool:
        return self._subscriptions.follow(process)

    def forget(self) -> None:
        watcher = self._subscriptions.watcher
        if watcher is not None:
            watcher.settle_alone()
        self._latch.forget()

    def wake(self) -> None:
        self._latch.wake()
        watcher = self._subscriptions.watcher
        if watcher is not None:
            watcher.poke()

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds

        def left() -> float:
            return 0.0 if self._latch.is_open else end - time.monotonic()

        watcher = self._subscriptions.watcher
        if watcher is not None:
            watcher.drive_alone(left)
        self._latch.wait(left())

    def close(self) -> None:
        self._subscriptions.close()
