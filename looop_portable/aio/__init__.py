"""The same for asyncio: `async with aio.hold("repo-x") as lease:`, and `claim` and `release` that can be awaited.

Guarantees: what `hold` and `Claims` do. A wait that is cancelled has won nothing when its task ends. Waiting takes no
thread: all that wait in one event loop share a few, which the filesystem's calls run in, and the process's watcher.
Does not guarantee: that a cancelled task ends at once where the filesystem does not answer: the call in the middle is
waited for, as nobody else would know what it did; and while one store does not answer, those who use another may have to
wait for a thread. Nor that two tasks can share a block: each enters its own.
How: `waiting.Waiting` looks; between two looks the task waits for its watcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from types import TracebackType
from typing import Self
from weakref import ref

from looop_portable.aio.wakeup import LoopWatcher, whole
from looop_portable.claims.gate import Claims
from looop_portable.config import PathLike
from looop_portable.errors import Unavailable
from looop_portable.holding.hold import Hold
from looop_portable.holding.options import Options, options_of
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.names import as_note
from looop_portable.protocol.outcomes import Held, Refused, Released, Renewed, Won
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.slots import slots_of
from looop_portable.system.clock import elapsed
from looop_portable.waiting.attempts import Attempts
from looop_portable.waiting.claiming import waiter
from looop_portable.waiting.limits import limit
from looop_portable.waiting.waiter import Waiting
from looop_portable.waiting.waits import Pending

__all__ = ["AsyncHold", "claim", "hold", "release"]


class AsyncHold:
    """A claim, held from entering the `async with` block until leaving it. Made by `hold`, and entered once at a time."""

    def __init__(self, name: str, options: Options, on_lost: Callable[[AsyncHold], object] | None) -> None:
        self.lost = asyncio.Event()
        """Set as soon as the claim is known to be lost. Another one each time that the block is entered."""
        self._on_lost = on_lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hold = Hold(name, options._replace(on_lost=self._schedule_lost, calls_at_once=True))
        self.name = self._hold.name

    def __repr__(self) -> str:
        return f"<Async{repr(self._hold)[1:]}"

    @property
    def lease(self) -> Lease:
        """What is published. Raises `ClaimLost` outside of the block."""
        return self._hold.lease

    @property
    def generation(self) -> int:
        """The fencing token: every later holder's is greater."""
        return self._hold.generation

    @property
    def session(self) -> str:
        return self._hold.session

    @property
    def joined(self) -> bool:
        """Whether a session around this process holds the claim: see `Hold.joined`."""
        return self._hold.joined

    async def check(self) -> None:
        """Read the claim afresh. Raises `ClaimLost` if it is no longer this one's, or was lost."""
        await whole(self._hold.check)

    async def __aenter__(self) -> Self:
        entrance, timeout = self._hold.entrance, self._hold.options.timeout
        task = asyncio.current_task()
        owner = ref(task)  # Weak. Without that, a task of a loop that was closed would never end, and so never leave.
        member = entrance.prepare_at_once(owner)
        if member is None:
            member = await whole(lambda: entrance.prepare(owner), lambda _: entrance.spare())
        try:
            self._loop, self.lost = asyncio.get_running_loop(), asyncio.Event()
            if timeout is not None and timeout <= 0:
                outcome = await whole(entrance.attempt, entrance.undo)
            else:
                watcher = LoopWatcher(self._loop)
                with closing(watcher), member.waking(watcher):
                    outcome = await _run(entrance.waiting(watcher), watcher, timeout, entrance.undo)
            try:
                self._hold.enter(outcome)
            except Unavailable:  # There is no thread for its limit.
                await whole(entrance.undo)
                raise
        except BaseException:
            entrance.spare()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await whole(lambda: self._hold.__exit__(kind, error, trace))

    def _schedule_lost(self, _: Hold) -> None:
        """In whatever thread has found it out."""
        assert self._loop
        with suppress(RuntimeError):  # The loop is closed: nobody is there to be told.
            self._loop.call_soon_threadsafe(self._lose)

    def _lose(self) -> None:
        if self._hold.lost.is_set():  # Else it has been left and entered again meanwhile.
            self.lost.set()
        if self._on_lost:
            self._on_lost(self)


def hold(
    name: str,
    *,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = DEFAULT_TTL,
    on_lost: Callable[[AsyncHold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    note: str = "",
    max_hold: float | None = None,
) -> AsyncHold:
    """Claim `name` for this process while an `async with` block runs: `looop_portable.hold`, but for asyncio.

    Tasks exclude each other. `on_lost` is called in the event loop; `lost` is an `asyncio.Event`.
    """
    return AsyncHold(name, options_of(data_dir, backend, lease_seconds, None, timeout, slots, note, max_hold), on_lost)


async def claim(
    claims: Claims,
    name: str,
    session: str | Holder | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    note: str = "",
) -> Won | Renewed | Held:
    """Claim `name`, or one of its `slots`, for `session` (else $LOOOP_SESSION_ID); wait for it for `timeout` seconds.

    None or -1: without end. Raises as `Claims.claim` does, which `note` is for. Cancelled, it has not won.
    """

    def begin() -> tuple[Holder, Attempts]:
        me = claims.acting(session)
        return me, Attempts(claims, slots_of(name, slots), me, note)

    timeout, note = limit(timeout), as_note(note)
    me, attempts = await whole(begin)
    if timeout is not None and timeout <= 0:
        return await whole(attempts, attempts.take_back)
    watcher = LoopWatcher(asyncio.get_running_loop())
    with closing(watcher):
        waiting = await whole(lambda: waiter(claims, name, me, slots, watcher, attempts))
        return await _run(waiting, watcher, timeout, attempts.take_back)


async def release(claims: Claims, name: str, session: str | Holder | None = None) -> Released | Refused:
    """`Claims.release`. Cancelled, it has been done all the same."""
    return await whole(lambda: claims.release(name, session))


async def _run(
    waiting: Waiting, watcher: LoopWatcher, timeout: float | None, undo: Callable[[Won | Renewed | Held], object]
) -> Won | Renewed | Held:
    end = None if timeout is None else elapsed() + timeout

    def give_up(found: Won | Renewed | Pending) -> None:
        waiting.stop()
        if not isinstance(found, Pending):
            undo(found)

    try:
        while True:
            found = await whole(waiting.look, give_up)
            if not isinstance(found, Pending):
                return found
            left = found.pause if end is None else min(found.pause, end - elapsed())
            if left <= 0:
                return await whole(waiting.last_look, undo)
            await watcher.wait(left)
    finally:
        if waiting.waits:
            await whole(waiting.stop)
