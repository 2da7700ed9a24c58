"""A wait that ends before its time: because nobody wants to know any more, or because its caller says so.

Guarantees: after `stop` a waiter waits no more, and comes back with `Stopped` unless it has got what it waits for. One that
is cancelled has not won; a `CancelEvent` that is set wakes whoever waits with it at once, from any thread.
Does not guarantee: that whoever is cancelled in the same moment in which it wins is told so: then it has won.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from looop_portable.errors import WaitCancelled
from looop_portable.protocol.outcomes import Held
from looop_portable.protocol.records import Registration
from looop_portable.system.watch.waking import ThreadWatcher
from looop_portable.typed import NamedTuple
from looop_portable.waiting.limits import CancelEvent, Wakes

ASKED = 0.5
"""Seconds from one question to the next, at most."""


class Cancelled(Exception):
    """The caller wants to wait no more."""


def cancelled(name: str, held: Held | None) -> WaitCancelled:
    """What is raised of a wait that its caller has cancelled. `held`: who had it when it was last asked for."""
    if held is None:
        return WaitCancelled(name, "", "others are before this one in line")
    lease = held.lease
    return WaitCancelled(name, lease.session, held.verdict.evidence, lease.claimed_at, lease.host, lease.note)


class Cancel(NamedTuple):
    """What ends a wait, as the caller gave it."""

    check: Callable[[], bool] | None = None
    event: CancelEvent | None = None

    @classmethod
    def of(cls, check: Callable[[], bool] | None, event: CancelEvent | None) -> Cancel | None:
        """None: nothing does."""
        return cls(check, event) if check or event else None

    def look(self) -> None:
        """Raises `Cancelled`, and what the caller's own question raises."""
        if (self.event and self.event.is_set()) or (self.check and self.check()):
            raise Cancelled

    def pause(self, seconds: float) -> float:
        """For how long to wait until it is asked again."""
        return min(seconds, ASKED) if self.check else seconds

    def add(self, waiter: Wakes) -> None:
        if self.event:
            self.event._add(waiter)

    def remove(self, waiter: Wakes) -> None:
        if self.event:
            self.event._remove(waiter)


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
