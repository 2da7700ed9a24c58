"""`async with aio.hold("repo-x") as lease:`, and several at once.

Guarantees: as `hold` and `hold_all` do. Cancelled while it enters, a block holds nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing, suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from weakref import ref

from looop_portable.aio.waiting import run
from looop_portable.aio.wakeup import LoopWatcher, whole
from looop_portable.config import PathLike
from looop_portable.errors import ClaimLost
from looop_portable.holding.blocks import log
from looop_portable.holding.blocks.functions import guarded_async
from looop_portable.holding.blocks.one_claim import OneClaim
from looop_portable.holding.options import Options, options_of
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.names import canonical
from looop_portable.protocol.records import Lease
from looop_portable.protocol.shares import in_order
from looop_portable.system.clock import elapsed
from looop_portable.waiting.limits import CancelEvent
from looop_portable.waiting.stopping import Cancelled, cancelled

__all__ = ["AsyncHold", "AsyncHoldAll", "hold", "hold_all"]

P = ParamSpec("P")
R = TypeVar("R")


class AsyncHold:
    """A claim, held from entering the `async with` block until leaving it. Made by `hold`, and entered once at a time.

    Within the block:

    - `lost`: an `asyncio.Event`, set as soon as the claim is known to be lost.
    - `await check()`: read the claim afresh; raises `ClaimLost` if it is lost.
    - `generation`: the fencing token, for what is written to. Every later holder's is greater.

    Also `name`, `session`, `joined` and `lease`: what is published. Without a block: `await acquire()` and
    `await release()`. Before an async function, as its decorator: each call is in a block of its own.
    """

    def __init__(self, name: str, options: Options, on_lost: Callable[[AsyncHold], object] | None) -> None:
        self.lost = asyncio.Event()
        """Set as soon as the claim is known to be lost. Another one each time that the block is entered."""
        self._on_lost = on_lost
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._block = OneClaim(name, options._replace(on_lost=self._schedule_lost, calls_at_once=True))
        self.name = self._block.name

    def __repr__(self) -> str:
        return f"<AsyncHold {self.name!r} {self._block}>"

    @property
    def lease(self) -> Lease:
        """What is published. Raises `ClaimLost` outside of the block."""
        return self._block.lease

    @property
    def generation(self) -> int:
        """The fencing token: every later holder's is greater."""
        return self._block.lease.generation

    @property
    def session(self) -> str:
        return self._block.lease.session

    @property
    def joined(self) -> bool:
        """Whether a session around this process holds the claim: see `Hold.joined`."""
        return self._block.joined

    async def check(self) -> None:
        """Read the claim afresh. Raises `ClaimLost` if it is no longer this one's, or was lost."""
        await whole(self._block.check)

    async def acquire(self) -> Self:
        """Enter without a block, as for `asyncSetUp`. Held until `release`, or until the process ends."""
        await self._enter(self._options.timeout, by_hand=True)
        return self

    async def release(self) -> None:
        """Leave what `acquire` has entered, in any task. Raises `ClaimLost` if it was lost, or is not held."""
        await whole(self._block.leave)

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        """As a decorator: each call of `function` enters a block of its own. Raises `UsageError` for one not async."""
        return guarded_async(lambda: AsyncHold(self.name, self._options, self._on_lost), function)

    async def __aenter__(self) -> Self:
        await self._enter(self._options.timeout)
        return self

    async def _enter(self, timeout: float | None, *, by_hand: bool = False) -> None:
        entrance = self._block.entrance
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
                watcher = LoopWatcher(self._loop, self._options.cancel)
                with closing(watcher), member.waking(watcher):
                    outcome = await run(entrance.waiting(watcher), watcher, timeout, entrance.undo, log.waiting())
            self._block.enter(outcome, by_hand=by_hand)
        except BaseException as error:
            if self._block.entered:  # What logs it has raised that; or there is no thread for its limit.
                await whole(entrance.undo)
            entrance.spare()
            if isinstance(error, Cancelled):
                raise cancelled(self.name, entrance.refused) from None
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await whole(lambda: self._block.leave(error))

    def _schedule_lost(self, _: object = None) -> None:
        """In whatever thread has found it out."""
        assert self._loop
        with suppress(RuntimeError):  # The loop is closed: nobody is there to be told.
            self._loop.call_soon_threadsafe(self._lose)

    def _lose(self) -> None:
        if self._block.lost.is_set():  # Else it has been left and entered again meanwhile.
            self.lost.set()
        if self._on_lost:
            self._on_lost(self)


class AsyncHoldAll:
    """Several claims, held from entering the `async with` block until leaving it. Made by `hold_all`.

    Entering gives an `AsyncHold` for each, in the order of their names. Without a block: `await acquire()` and
    `await release()`. Before an async function, as its decorator: each call is in a block of its own.
    """

    def __init__(self, names: tuple[str, ...], options: Options, on_lost: Callable[[AsyncHold], object] | None) -> None:
        self._names = names
        self._order = in_order(names)
        self._options = options
        self._on_lost = on_lost
        self._held = AsyncExitStack()
        self._blocks: tuple[AsyncHold, ...] = ()

    def __repr__(self) -> str:
        return f"<AsyncHoldAll {', '.join(map(repr, self._names))}>"

    async def acquire(self) -> tuple[AsyncHold, ...]:
        """Enter without a block: as `AsyncHold.acquire`, for all of them or none."""
        return await self._enter(by_hand=True)

    async def release(self) -> None:
        """Leave what `acquire` has entered, in any task. Raises `ClaimLost` if one was lost, or none is held."""
        if not any(each._block.entered for each in self._blocks):
            raise ClaimLost(f"claims {', '.join(self._names)}: not held: none has been acquired, or all have been released")
        await self._held.aclose()

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        """As a decorator: each call of `function` enters a block of its own. Raises `UsageError` for one not async."""
        return guarded_async(lambda: AsyncHoldAll(self._names, self._options, self._on_lost), function)

    async def __aenter__(self) -> tuple[AsyncHold, ...]:
        return await self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._held.__aexit__(kind, error, trace)

    async def _enter(self, *, by_hand: bool = False) -> tuple[AsyncHold, ...]:
        timeout = self._options.timeout
        end = None if timeout is None else elapsed() + max(timeout, 0)
        blocks: dict[str, AsyncHold] = {}
        async with AsyncExitStack() as held:
            for name in self._order:
                blocks[name] = block = AsyncHold(name, self._options, self._on_lost)
                await block._enter(None if end is None else max(end - elapsed(), 0.0), by_hand=by_hand)
                held.push_async_exit(block)
            self._blocks = tuple(blocks[canonical(name)] for name in self._names)
            self._held = held.pop_all()
        return self._blocks


def hold(
    name: str,
    *,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = DEFAULT_TTL,
    on_lost: Callable[[AsyncHold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    max_hold: float | None = None,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    shared: bool = False,
) -> AsyncHold:
    """Claim `name` for this process while an `async with` block runs: `looop_portable.hold`, but for asyncio.

    Tasks exclude each other. `on_lost` is called in the event loop; `lost` is an `asyncio.Event`.
    `cancel_check` is called in the event loop, too.
    """
    options = options_of(
        data_dir, backend, lease_seconds, None, timeout, slots, max_hold, note, cancel_check, cancel, shared=shared
    )
    return AsyncHold(name, options, on_lost)


def hold_all(
    *names: str,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = DEFAULT_TTL,
    on_lost: Callable[[AsyncHold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    max_hold: float | None = None,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    shared: bool = False,
) -> AsyncHoldAll:
    """Claim all of `names` for this process while an `async with` block runs; it is given an `AsyncHold` for each.

    `looop_portable.hold_all`, but for asyncio. Cancelled while it enters, none is held.
    """
    options = options_of(
        data_dir, backend, lease_seconds, None, timeout, slots, max_hold, note, cancel_check, cancel, shared=shared
    )
    return AsyncHoldAll(names, options, on_lost)
