"""Watchers for those who wait in an event loop, and threads for what cannot be awaited.

Guarantees: a call that was begun is waited for, cancelled or not, and undone if it was cancelled: see `whole`.
Does not guarantee: that such a call ends: a filesystem's may not.
How: the process's watcher (`system.watch.shared`) wakes the watchers of all loops. `_THREADS` threads a process are all
begun with the first call, so that none has to be started to release something.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from looop_portable.errors import LooopError
from looop_portable.protocol.records import Registration
from looop_portable.system.threads.standby import no_thread
from looop_portable.system.watch.waking import subscriptions
from looop_portable.typed import TypeVar
from looop_portable.waiting.stopping import Cancel

_THREADS = 4
_T = TypeVar("_T")


_threads: ThreadPoolExecutor | None = None
_beginning = threading.Lock()


_owner = os.getpid()


def _begun_threads() -> ThreadPoolExecutor:
    """All of them, begun. Raises `Unavailable`.

    Left to itself, the pool would start the next one when the others are busy: to release a claim, say.
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
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return call()  # A block is left whose loop has been closed. There is nothing to be waited in any more.
    begun = _begun_threads().submit(call)
    cancelled: asyncio.CancelledError | None = None
    try:
        while True:
            try:
                await _end_of(begun, loop)
                break
            except asyncio.CancelledError as error:
                cancelled = error
    except GeneratorExit:
        if undo is not None:
            begun.add_done_callback(partial(_undo, undo))
        raise
    if cancelled is None:
        return begun.result()
    if begun.exception() is None and undo is not None:
        found = begun.result()
        with contextlib.suppress(LooopError):  # Then it stays with this process, whose next block takes it up.
            await whole(lambda: undo(found))
    raise cancelled


def _end_of(begun: Future[_T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Done when that is. What waits for it may be cancelled, and then asks for another: `begun` goes on."""
    ended = loop.create_future()

    def end(_: Future[_T]) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits in it.
            loop.call_soon_threadsafe(_set, ended)

    begun.add_done_callback(end)
    return ended


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


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


class LoopWatcher:
    """A `Watcher` of one task in `loop`, made and closed in its thread. `cancel`: what ends the wait, too; asked there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cancel: Cancel | None = None) -> None:
        self._loop = loop
        self._cancel = cancel
        self.woken = asyncio.Event()
        self._subscriptions = subscriptions(self)
        if cancel:
            cancel.add(self)

    def watch(self, paths: Iterable[str]) -> bool:
        return self._subscriptions.watch(paths)

    def follow(self, process: Registration | None) -> bool:
        return self._subscriptions.follow(process)

    def forget(self) -> None:
        """Called in a thread. A wake-up after this is kept, even if the loop has not run since."""
        self.woken.clear()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits in it.
            self._loop.call_soon_threadsafe(self.woken.set)

    async def wait(self, seconds: float) -> None:
        """Until it wakes, or for so long. Raises `Cancelled`."""
        if self._cancel:
            self._cancel.look()
            seconds = self._cancel.pause(seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        if self._cancel:
            self._cancel.look()

    def close(self) -> None:
        if self._cancel:
            self._cancel.remove(self)
        self._subscriptions.close()
