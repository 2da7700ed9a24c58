"""What somebody who waits does, one look at a time, whatever it waits for. Who drives it waits between two looks."""

from __future__ import annotations

from looop_portable.protocol.outcomes import Held, OnWaiting
from looop_portable.protocol.records import FOREIGN, Lease
from looop_portable.system.clock import elapsed
from looop_portable.system.watch.waking import ThreadWatcher
from looop_portable.typed import NamedTuple, Protocol, TypeVar

REPORT_AFTER = 2.0
"""Seconds of waiting, after which people are told whom for."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pending(NamedTuple):
    """Not yet. `held`: who holds it, if somebody does; look again when the watcher wakes, or after `pause` seconds."""

    held: Held | None
    pause: float


class Waits(Protocol[T_co]):
    """`stop` is called in any case, and may be called twice."""

    def look(self) -> T_co | Pending: ...
    def last_look(self) -> T_co: ...
    def stop(self) -> None: ...


def is_looops(lease: Lease) -> bool:
    """Whether looop itself holds it, which publishes no generation when it releases."""
    return lease.foreign or lease.incarnation.startswith(FOREIGN)


def run(waiting: Waits[T], watcher: ThreadWatcher, timeout: float | None, on_waiting: OnWaiting | None = None) -> T:
    """Wait in this thread, for `timeout` seconds (None: without end); then the last look counts. Raises as looks do."""
    began, end = elapsed(), None if timeout is None else elapsed() + timeout
    try:
        while True:
            found = waiting.look()
            if not isinstance(found, Pending):
                return found
            waited = elapsed() - began
            pause = found.pause
            if on_waiting:
                if waited >= REPORT_AFTER and found.held:
                    on_waiting(found.held, waited)
                elif waited < REPORT_AFTER:
                    pause = min(pause, REPORT_AFTER - waited)
            if end is not None:
                left = end - elapsed()
                if left <= 0:
                    return waiting.last_look()
                pause = min(pause, left)
            watcher.wait(pause)
    finally:
        waiting.stop()
