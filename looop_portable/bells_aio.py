"""Bells for those who wait in an event loop, and threads for what cannot be awaited.

Guarantees: a call that was begun is waited for, cancelled or not, and undone if it was cancelled: see `whole`.
Does not guarantee: that such a call ends: a filesystem's may not. Nor that the loop never waits for inotify_add_watch(2),
which is called for local disks alone.
How: one inotify instance for all bells of a loop, since a user has few of them; `_THREADS` threads a
process, which are all begun with the first call, so that none has to be started to let go of something.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from looop_portable.errors import LooopError
from looop_portable.liveness import Registration
from looop_portable.standby import no_thread
from looop_portable.watching import Watch, is_this_process

if TYPE_CHECKING:
    from looop_portable.inotify import Inotify

_THREADS = 4
_T = TypeVar("_T")


_threads: ThreadPoolExecutor | None = None
_beginning = threading.Lock()


_owner = os.getpid()


def _begun_threads() -> ThreadPoolExecutor:
    """All of them, begun. Raises `Unavailable`.

    Left to itself, the pool would start the next one when the others are busy: to let go of a claim, say.
    """
    global _threads
    if _owner != os.getpid():  # A child whose fork ran no hooks.
        _after_fork()
    with _beginning:
        if _threads is None:
            threads, all_there = ThreadPoolExecutor(_THREADS, "looop aio"), threading.Event()
            try:
                for _ in range(_THREADS):
                    threads.submit(all_there.wait)
            except (RuntimeError, MemoryError) as error:
                threads.shutdown(wait=False)
                raise no_thread(error) from error
            finally:
                all_there.set()
            _threads = threads
        return _threads


async def whole(call: Callable[[], _T], undo: Callable[[_T], object] | None = None) -> _T:
    """What `call` returns, which is run in a thread. Cancelled meanwhile, its end is waited for, and then it is undone.

    So it is where the loop has been closed in the middle of it, but then nobody waits for it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()  # A block is left whose loop has been closed. There is nothing to be waited in any more.
    begun = _begun_threads().submit(call)
    future = asyncio.wrap_future(begun)
    cancelled: asyncio.CancelledError | None = None
    try:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
    except GeneratorExit:
        if undo is not None:
            begun.add_done_callback(partial(_undo, undo))
        raise
    if cancelled is None:
        return future.result()
    if future.exception() is None and undo is not None:
        found = future.result()
        with contextlib.suppress(LooopError):  # Then it stays with this process, whose next block takes it up.
            await whole(lambda: undo(found))
    raise cancelled


def _undo(undo: Callable[[_T], object], done: Future[_T]) -> None:
    if done.exception() is None:
        with contextlib.suppress(LooopError):
            undo(done.result())


def _after_fork() -> None:
    """A child has none of its parent's threads."""
    global _threads, _owner, _beginning
    _threads, _owner, _beginning = None, os.getpid(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Ear:
    """One inotify instance for all bells of a loop. Its methods may be called in any thread, but `_hear` and `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changes: Inotify) -> None:
        self._loop = loop
        self._changes = changes
        self._guard = threading.Lock()
        self._paths: dict[str, int] = {}
        # Weak. Without that, tasks of a loop that was closed would never end, and neither would what they hold.
        self._bells: dict[str, WeakSet[LoopBell]] = {}
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
            self._bells.setdefault(path, WeakSet()).add(bell)
            return True

    def ignore(self, bell: LoopBell, path: str) -> None:
        """`bell` does not wait for `path` any more."""
        with self._guard:
            bells = self._bells.get(path)
            if bells is not None:
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
            if self._changes.OVERFLOW in changed:
                bells = {bell for heard in self._bells.values() for bell in heard}
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
            if process and self._ear and not is_this_process(process.pid, process.start):
                self._watch = Watch(process.pid, process.start)
            self._process = wanted
        if self._watch is None:  # A process does not end while it waits; and many of it would need as many descriptors.
            return process is not None and is_this_process(process.pid, process.start)
        return self._watch.descriptor is not None

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
    from looop_portable.inotify import new_inotify

    if loop not in _ears:
        try:
            changes = new_inotify()
        except OSError:
            return None
        try:
            _ears[loop] = Ear(loop, changes)
        except NotImplementedError:
            changes.close()
            return None
    return _ears[loop]
