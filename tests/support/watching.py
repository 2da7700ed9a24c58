"""Watchers of tests, around the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from looop_portable.protocol.records import Registration
from looop_portable.system.watch.waking import ThreadWatcher

PATIENCE = 600
"""Seconds, after which something is taken for hanging."""


class Watched:
    """A watcher that no time wakes. It says so when somebody waits."""

    def __init__(self, watcher: ThreadWatcher, on_wait: Callable[[float], object]) -> None:
        self._watcher = watcher
        self._on_wait = on_wait

    def watch(self, paths: Iterable[str]) -> bool:
        return self._watcher.watch(paths)

    def follow(self, process: Registration | None) -> bool:
        return self._watcher.follow(process)

    def forget(self) -> None:
        self._watcher.forget()

    def wake(self) -> None:
        self._watcher.wake()

    def wait(self, seconds: float) -> None:
        self._on_wait(seconds)
        self._watcher.wait(PATIENCE)

    def close(self) -> None:
        self._watcher.close()
