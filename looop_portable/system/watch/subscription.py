"""What one watcher has asked its process's notifier for; and a watcher of one thread. For the notifier of each kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from looop_portable.protocol.liveness import Registration
from looop_portable.system.processes.handle import is_this_process
from looop_portable.system.threads.latch import Latch
from looop_portable.system.watch.announcing import Wakeable

Ended = tuple[int, str]
"""A process: its id, and its start token."""


class Notifier(Protocol):
    """What hears for all of one process. It is opened for the first watcher, and closed when none listens any more."""

    @property
    def is_over(self) -> bool:
        """Its descriptors are not its own any more."""

    def watch(self, watcher: Wakeable, path: str) -> int | None:
        """Wake `watcher` for changes of `path`; the number to `ignore` it by. None: it cannot be heard, or is not there."""

    def ignore(self, watcher: Wakeable, number: int, /) -> None: ...
    def follow(self, watcher: Wakeable, process: Ended) -> bool:
        """Wake `watcher` when `process` has ended, also if it has already. False: that cannot be heard."""

    def follow_no_more(self, watcher: Wakeable, process: Ended) -> None: ...
    def leave(self, watcher: Wakeable) -> None: ...


Opening = Callable[[Wakeable], Notifier]
"""This process's notifier, joined by a watcher. Raises OSError where there is none to be had."""


class Subscription:
    """What one watcher has asked this process's notifier for. The notifier is opened with the first path or process."""

    def __init__(self, watcher: Wakeable, opening: Opening) -> None:
        self._watcher = watcher
        self._opening = opening
        self._notifier: Notifier | None = None
        self._watched: set[int] = set()
        self._process: tuple[int, str] | None = None

    def watch(self, paths: Iterable[str]) -> bool:
        """As `Watcher.watch`."""
        wanted = list(paths)
        if not (wanted or self._watched):
            return False
        notifier = self._opened()
        if notifier is None:
            return False
        found = [notifier.watch(self._watcher, path) for path in wanted]
        watched = {watch for watch in found if watch is not None}
        for watch in self._watched - watched:
            notifier.ignore(self._watcher, watch)
        self._watched = watched
        return bool(wanted) and None not in found

    def follow(self, process: Registration | None) -> bool:
        """As `Watcher.follow`. A process does not end while it waits."""
        if process is not None and is_this_process(process.pid, process.start):
            self._follow_no_more()
            return True
        wanted = (process.pid, process.start) if process else None
        if wanted != self._process:
            self._follow_no_more()
        notifier = self._opened() if wanted else None
        if notifier is None or wanted is None:
            return False
        self._process = wanted
        return notifier.follow(self._watcher, wanted)

    def close(self) -> None:
        """It is not used any more."""
        if self._notifier:
            self.watch([])
            self._follow_no_more()
            self._notifier.leave(self._watcher)
            self._notifier = None

    def _opened(self) -> Notifier | None:
        if self._notifier is None or self._notifier.is_over:
            self._watched, self._process = set(), None
            try:
                self._notifier = self._opening(self._watcher)
            except OSError:  # No descriptor, no thread, or no instance of inotify (fs.inotify.max_user_instances).
                self._notifier = None
        return self._notifier

    def _follow_no_more(self) -> None:
        if self._notifier and self._process:
            self._notifier.follow_no_more(self._watcher, self._process)
        self._process = None


class KernelWatcher:
    """A watcher of one thread, that the notifier wakes, and other threads do."""

    def __init__(self, opening: Opening) -> None:
        self._latch = Latch()
        self._subscription = Subscription(self, opening)

    def watch(self, paths: Iterable[str]) -> bool:
        return self._subscription.watch(paths)

    def follow(self, process: Registration | None) -> bool:
        return self._subscription.follow(process)

    def forget(self) -> None:
        self._latch.forget()

    def wake(self) -> None:
        self._latch.wake()

    def wait(self, seconds: float) -> None:
        self._latch.wait(seconds)

    def close(self) -> None:
        self._subscription.close()
