"""A watcher that also has its waiter stop: for one that waits in another thread than whoever wants to know what came of it.

Guarantees: after `stop` it waits no more, and comes back with `Stopped` unless it has got what it waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from looop_portable.protocol.records import Registration
from looop_portable.system.watch.waking import ThreadWatcher
from looop_portable.waiting.cancelling import Cancel


class Stopped(Exception):
    """Nobody wants to know any more."""


class Stoppable:
    """A `ThreadWatcher` that another wakes, between `wake_by` and `close`. `cancel`: what ends the wait, too."""

    def __init__(self, cancel: Cancel | None = None) -> None:
        self._cancel = cancel
        self.stops: list[bool] = []
        self._watcher: ThreadWatcher | None = None
        self._guard = threading.RLock()

    @property
    def is_stopped(self) -> bool:
        return bool(self.stops)

    def wake_by(self, watcher: ThreadWatcher) -> None:
        self._watcher = watcher
        if self._cancel:
            self._cancel.add(self)

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
        """Raises `Stopped`, or `Cancelled`."""
        cancel = self._cancel
        if cancel:
            cancel.look()
            seconds = cancel.pause(seconds)
        if self._watcher and not self.is_stopped:
            self._watcher.wait(seconds)
        if self.is_stopped:
            raise Stopped
        if cancel:
            cancel.look()

    def close(self) -> None:
        if self._cancel:
            self._cancel.remove(self)
        with self._guard:
            watcher, self._watcher = self._watcher, None
        if watcher:
            watcher.close()
