"""Waiting in a task: `waiting.Waiting` looks; between two looks the task waits for its watcher."""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.aio.wakeup import LoopWatcher, whole
from looop_portable.protocol.outcomes import Held, OnWaiting, Renewed, Won
from looop_portable.system.clock import elapsed
from looop_portable.waiting.waiter import Waiting
from looop_portable.waiting.waits import REPORT_AFTER, Pending


async def run(
    waiting: Waiting,
    watcher: LoopWatcher,
    timeout: float | None,
    undo: Callable[[Won | Renewed | Held], object],
    on_waiting: OnWaiting | None = None,
) -> Won | Renewed | Held:
    """Wait in this task, for `timeout` seconds (None: without end). Held: it was over. Raises as `claim` does."""
    began, end = elapsed(), None if timeout is None else elapsed() + timeout

    def give_up(found: Won | Renewed | Pending) -> None:
        waiting.stop()
        if not isinstance(found, Pending):
            undo(found)

    try:
        while True:
            found = await whole(waiting.look, give_up)
            if not isinstance(found, Pending):
                return found
            pause, waited = found.pause, elapsed() - began
            if on_waiting:
                if waited >= REPORT_AFTER and found.held:
                    on_waiting(found.held, waited)
                elif waited < REPORT_AFTER:
                    pause = min(pause, REPORT_AFTER - waited)
            left = pause if end is None else min(pause, end - elapsed())
            if left <= 0:
                return await whole(waiting.last_look, undo)
            await watcher.wait(left)
    finally:
        if waiting.waits:
            await whole(waiting.stop)
