"""Bells for those who wait in an event loop, and threads for what cannot be awaited.

Guarantees: a call that was begun is waited for, cancelled or not, and undone if it was cancelled: see `whole`.
Does not guarantee: that such a call ends: a filesystem's may not.
How: one inotify instance for all bells of a loop, since a user has few of them; at most `_THREADS` threads a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from looop_portable.errors import LooopError
from looop_portable.liveness import Registration
from looop_portable.watching import Watch

if TYPE_CHECKING:
    from looop_portable.inotify import Inotify

_THREADS = 4
_T = TypeVar("_T")

_threads: ThreadPoolExecutor | None = None


async def whole(call: Callable[[], _T], undo: Callable[[_T], object] | None = None) -> _T:
    """What `call` returns, which is run in a thread. Cancelled meanwhile, its end is waited for, and then it is undone."""
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(_pool(), call)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if future.exception() is None and undo is not None:
        found = future.result()
        with contextlib.suppress(LooopError):  # Then it stays with this process, whose next block takes it up.
            await whole(lambda: undo(found))
    raise cancelled


def _pool() -> ThreadPoolExecutor:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(_THREADS, "looop aio")
    return _threads


def _after_fork() -> None:
    """A child has none of its parent's threads."""
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Ear:
    """One inotify instance for all bells of a loop. Its methods may be called in any thread, but `_hear` and `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changes: Inotify) -> None:
        self._loop = loop
        self._changes = changes
        self._guard = threading.Lock()
        self._paths: dict[str, int] = {}
        self._bells: dict[str, set[LoopBell]] = {}
        self.bells = 0
        loop.add_reader(changes.fd, self._hear)

    def listen(self, bell: LoopBell, path: str) -> bool:
        """Whether changes of `path` will be heard."""
        with self._guard:
            if path not in self._paths:
                watch = self._changes.add(path)
                if watch is None:
                    return False
                self._paths[path] = watch
            self._bells.setdefault(path, set()).add(bell)
            return True

    def ignore(self, bell: LoopBell, path: str) -> None:
        """`bell` does not wait for `path` any more."""
        with self._guard:
            bells = self._bells.get(path, set())
            bells.discard(bell)
            if not bells and path in self._paths:
                self._changes.remove(self._paths.pop(path))
                del self._bells[path]

    def _hear(self) -> None:
        with self._guard:
            told = self._changes.events()
            gone = {watch for watch, ignored in told if ignored}
            changed = {watch for watch, _ in told}
            paths = [path for path, watch in self._paths.items() if watch in changed]
            bells = {bell for path in paths for bell in self._bells[path]}
            for path in paths:
                if self._paths[path] in gone:
                    del self._paths[path], self._bells[path]
        for bell in bells:
            bell.rung.set()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._changes.fd)
        self._changes.close()


_ears: WeakKeyDictionary[asyncio.AbstractEventLoop, Ear] = WeakKeyDictionary()


class LoopBell:
    """A `Bell` of one task in `loop`, made and closed in its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.rung = asyncio.Event()
        self._ear = _ear_of(loop)
        self._heard: set[str] = set()
        self._process: tuple[int, str] | None = None
        self._watch: Watch | None = None
        if self._ear:
            self._ear.bells += 1

    def listen(self, paths: Iterable[str]) -> bool:
        ear, wanted = self._ear, set(paths)
        if ear is None:
            return False
        for path in self._heard - wanted:
            ear.ignore(self, path)
        self._heard = {path for path in wanted if ear.listen(self, path)}
        return bool(wanted) and self._heard == wanted

    def follow(self, process: Registration | None) -> bool:
        wanted = (process.pid, process.start) if process else None
        if wanted != self._process:
            self._let_go()
            self._watch = Watch(process.pid, process.start) if process and self._ear else None
            self._process = wanted
        return self._watch is not None and self._watch.descriptor is not None

    def forget(self) -> None:
        """Called in a thread: what rings from here on is kept, also if the loop has not come to tell yet."""
        self.rung.clear()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits in it.
            self._loop.call_soon_threadsafe(self.rung.set)

    async def wait(self, seconds: float) -> None:
        """Until it rings, or for so long."""
        descriptor = self._watch.descriptor if self._watch else None
        if descriptor is not None:
            if self._watch and self._watch.ended(0):
                self._let_go()
                return
            self._loop.add_reader(descriptor, self.rung.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.rung.wait()
        finally:
            if descriptor is not None:
                self._loop.remove_reader(descriptor)

    def close(self) -> None:
        self._let_go()
        ear = self._ear
        if ear:
            for path in self._heard:
                ear.ignore(self, path)
            ear.bells -= 1
            if not ear.bells:
                ear.close()
                del _ears[self._loop]

    def _let_go(self) -> None:
        if self._watch:
            self._watch.close()
        self._watch, self._process = None, None


def _ear_of(loop: asyncio.AbstractEventLoop) -> Ear | None:
    """None: where no kernel tells, or this loop cannot wait for descriptors."""
    if sys.platform != "linux":
        return None
    from looop_portable.inotify import Inotify

    if loop not in _ears:
        try:
            changes = Inotify()
        except OSError:
            return None
        try:
            _ears[loop] = Ear(loop, changes)
        except NotImplementedError:
            changes.close()
            return None
    return _ears[loop]
