"""A watcher that can also stop its waiter, for a waiter in another thread than the one that wants its result.

Guarantees: after `stop` the waiter waits no more. It ends with `Stopped`, unless it has what it waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from looop_portable.protocol.records import Registration
from looop_portable.system.watch.waking import ThreadWatcher


class Stopped(Exception):
    """Nobody wants to know any more."""


class Stoppable:
    """A `ThreadWatcher` that is woken by another watcher, between `wake_by` and `close`."""

    def __init__(self) -> None:
        self.stops: list[bool] = []
        self._watcher: ThreadWatcher | None = None
        self._guard = threading.RLock()

    @property
    def is_stopped(self) -> bool:
        return bool(self.stops)

    def wake_by(self, watcher: ThreadWatcher) -> None:
        self._watcher = watcher

    def stop(self) -> None:
        """From any thread, also before or after somebody waits."""
        self.stops.append(True)
        self.wake()

    def watch(self, paths: Iterable[str]) -> bool:
        return self._watcher is not None and self._watcher.watch(paths)

    def follow(self, process: Registration | None) -> bool:
        return self._watcher is not None and self._watcher.follow(process)

    def forget(self) -> None:
        if self._watcher:
            self._watcher.forget()

    def wake(self) -> None:
        with self._guard:  # Without this, it could be one that has been closed meanwhile.
            if self._watcher:
                self._watcher.wake()

    def wait(self, seconds: float) -> None:
        """Raises `Stopped`."""
        if self._watcher and not self.is_stopped:
            self._watcher.wait(seconds)
        if self.is_stopped:
            raise Stopped

    def close(self) -> None:
        with self._guard:
            watcher, self._watcher = self._watcher, None
        if watcher:
            watcher.close()
