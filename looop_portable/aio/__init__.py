"""The same for asyncio: `async with aio.hold("repo-x") as lease:`, and `claim` and `release` that can be awaited.

Guarantees: what `hold` and `Claims` do. A wait that is cancelled has won nothing when its task ends. Waiting takes no
thread: all that wait in one event loop share a few, which the filesystem's calls run in, and the process's watcher.
Does not guarantee: that a cancelled task ends at once where the filesystem does not answer: the call in the middle is
waited for, as nobody else would know what it did; and while one store does not answer, those who use another may have to
wait for a thread. Nor that two tasks can share a block: each enters its own.
How: `aio/waiting.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing

from looop_portable.aio.blocks import AsyncHold, AsyncHoldAll, hold, hold_all
from looop_portable.aio.waiting import run
from looop_portable.aio.wakeup import LoopWatcher, whole
from looop_portable.claims.gate import Claims
from looop_portable.protocol.names import as_note
from looop_portable.protocol.outcomes import Held, Refused, Released, Renewed, Won
from looop_portable.protocol.records import Holder
from looop_portable.protocol.shares import refuse_both, slots_of
from looop_portable.waiting.attempts import Attempts
from looop_portable.waiting.claiming import waiter
from looop_portable.waiting.limits import CancelEvent, limit
from looop_portable.waiting.stopping import Cancel, Cancelled, cancelled

__all__ = ["AsyncHold", "AsyncHoldAll", "claim", "hold", "hold_all", "release"]


async def claim(
    claims: Claims,
    name: str,
    session: str | Holder | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    shared: bool = False,
) -> Won | Renewed | Held:
    """Claim `name`, or one of its `slots`, for `session` (else $LOOOP_SESSION_ID); wait for it for `timeout` seconds.

    None or -1: without end. Raises as `Claims.claim` does, which `note` is for. Cancelled, it has not won.
    `cancel`, which any thread may set, and `cancel_check`, which is called in the event loop, end the wait with
    `WaitCancelled`, as those of `hold` do.
    """

    def begin() -> tuple[Holder, Attempts]:
        me = claims.acting(session)
        return me, Attempts(claims, slots_of(name, slots), me, note, shared=shared)

    timeout, note = limit(timeout), as_note(note)
    refuse_both(slots, shared)
    me, attempts = await whole(begin)
    if timeout is not None and timeout <= 0:
        return await whole(attempts, attempts.take_back)
    watcher = LoopWatcher(asyncio.get_running_loop(), Cancel.of(cancel_check, cancel))
    with closing(watcher):
        waiting = await whole(lambda: waiter(claims, name, me, slots, watcher, attempts))
        try:
            return await run(waiting, watcher, timeout, attempts.take_back)
        except Cancelled:
            raise cancelled(name, attempts.refused) from None


async def release(claims: Claims, name: str, session: str | Holder | None = None) -> Released | Refused:
    """`Claims.release`. Cancelled, it has been done all the same."""
    return await whole(lambda: claims.release(name, session))
