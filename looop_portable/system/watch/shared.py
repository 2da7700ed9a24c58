"""One watcher a process: what the kernel says of paths and of processes wakes those who asked, threads and tasks alike.

Guarantees: what happens after `watch` or `follow` answered wakes the waiter that asked, and no other. However many wait,
the kernel is asked once: a user has 128 instances of inotify, and other programs need some.
Does not guarantee: anything where the kernel, a descriptor or a thread cannot be had (OSError). Nor in a child made by
fork: it has a watcher of its own, and what was asked for before is asked for again there.
How: one thread or task *drives* at a time: it waits for the kernel, and wakes. A thread that waits alone drives itself, so
that no other thread stands between the kernel and it. From the second waiter on, and for a task of an event loop, a thread
of the watcher does. That thread also closes what nobody has used for a while: closing an inotify instance may take long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from enum import Enum
from weakref import WeakSet, ref

from looop_portable.system.threads.latch import Latch
from looop_portable.system.threads.standby import started
from looop_portable.system.watch.announcing import Wakeable
from looop_portable.typed import Any, NamedTuple, Protocol

IDLE = 5.0
"""Seconds for which nobody waits, after which a watcher is closed."""
_LONGEST = 3600.0

Process = tuple[int, str]
"""Its id, and its start token."""
Waiters = set[ref[Wakeable]]


class Following(Enum):
    """What a kernel answers when it is asked for the end of a process."""

    WATCHED = "its end will be seen"
    ENDED = "it has ended"
    UNSEEN = "its end cannot be seen"


class News(NamedTuple):
    """What a kernel has said. `gone`: numbers of which it says no more. `overflowed`: it was more than it can remember."""

    changed: Collection[int] = ()
    gone: Collection[int] = ()
    ended: Collection[Process] = ()
    overflowed: bool = False


class Kernel(Protocol):
    """What one system tells. It need not be safe for two threads at once, but for what `prepare` returns, and `poke`."""

    @property
    def poke(self) -> Callable[[], None] | None:
        """Have a wait return at once, from any thread. None: it cannot be, so waiters do not wait for this themselves."""

    @property
    def is_full(self) -> bool:
        """Another is opened for those who come now."""

    def watch(self, path: str) -> tuple[int | None, Collection[int]]:
        """A number for this directory or file; None: it cannot be watched, or is not there. And numbers that have gone."""

    def unwatch(self, number: int, /) -> None: ...
    def follow(self, process: Process, /) -> Following: ...
    def unfollow(self, process: Process, /) -> None: ...
    def prepare(self, seconds: float) -> Callable[[], list[Any]]:
        """What waits for so long, and returns what `read` takes."""

    def read(self, notified: list[Any], /) -> News: ...
    def close(self) -> None:
        """Nobody uses it any more."""

    def abandon(self) -> None:
        """Somebody has closed its descriptors, which may be another's by now."""

    def close_inherited(self, *, just_begun: bool) -> None:
        """This is a child made by fork, which has opened nothing of its own yet, if it has `just_begun`."""


class SharedWatcher:
    """Opened by `PerProcess`. Its guard is one that a signal handler may take again."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._owner = os.getpid()
        self._guard = threading.RLock()
        self._driving = threading.Lock()
        self._turn = Latch()
        self._paths: dict[int, Waiters] = {}
        self._ends: dict[Process, Waiters] = {}
        self._users: WeakSet[Wakeable] = WeakSet()
        self._removed = 0
        self._was_joined = False
        self._is_driven_by_thread = kernel.poke is None
        self._waits = False
        self._is_over = False
        self._tidied = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Its descriptors are not its own any more."""
        return self._is_over or self._owner != os.getpid()

    @property
    def is_full(self) -> bool:
        return self._kernel.is_full

    def start(self, is_closed: Callable[[SharedWatcher], bool]) -> None:
        """Its thread asks `is_closed` when nobody has used it for a while. Raises `Unavailable` where none can be had."""
        started(lambda: self._drive(is_closed), "looop watcher")

    def join(self, waiter: Wakeable, *, alone: bool) -> None:
        """Until `waiter` leaves, or is no more, this is open. `alone`: it would drive, if nobody else is there."""
        with self._guard:
            self._users.add(waiter)
            self._was_joined = True
            if not self._is_driven_by_thread and not (alone and len(self._users) == 1):
                self._is_driven_by_thread = True
                self._turn.wake()
                self.poke()

    def leave(self, waiter: Wakeable) -> None:
        with self._guard:
            self._users.discard(waiter)

    def watch(self, waiter: Wakeable, path: str) -> int | None:
        """Wake `waiter` when `path` changes. A number to `unwatch` it by. None: it cannot be watched, or is not there."""
        with self._guard:
            while True:
                removed = self._removed
                number, gone = self._kernel.watch(path)
                _wake(self._of_paths(gone))
                if number is None:
                    return None
                self._paths.setdefault(number, set()).add(ref(waiter))
                if self._removed == removed:  # Else a signal handler has unwatched just this, in between.
                    return number

    def unwatch(self, waiter: Wakeable, number: int) -> None:
        with self._guard:
            waiters = self._paths.get(number)
            if waiters is not None:
                waiters.discard(ref(waiter))
                if not waiters:
                    self._unwatch(number)

    def follow(self, waiter: Wakeable, process: Process) -> bool:
        """Wake `waiter` when `process` has ended, also if it has already. False: that cannot be seen."""
        with self._guard:
            if process not in self._ends:
                answer = self._kernel.follow(process)
                if answer is not Following.WATCHED:
                    if answer is Following.ENDED:
                        waiter.wake()
                    return answer is Following.ENDED
            self._ends.setdefault(process, set()).add(ref(waiter))
            return True

    def unfollow(self, waiter: Wakeable, process: Process) -> None:
        with self._guard:
            waiters = self._ends.get(process)
            if waiters is not None:
                waiters.discard(ref(waiter))
                if not waiters:
                    self._unfollow(process)

    def poke(self) -> None:
        """A waiter that drives comes back at once, and looks whether it was woken."""
        if self._waits and self._kernel.poke is not None:
            self._kernel.poke()

    def drive_alone(self, left: Callable[[], float]) -> None:
        """A waiter that is alone drives while there are seconds `left`. There are none when it has been woken."""
        if self._is_driven_by_thread or self.is_over or not self._driving.acquire(blocking=False):
            return
        try:
            while True:
                self._waits = True  # First, and look then: whoever comes in between pokes.
                seconds = self._alone_for(left)
                if seconds <= 0:
                    return
                self._step(seconds)
        except (OSError, ValueError):
            self._give_up()
        finally:
            self._waits = False
            self._driving.release()

    def settle_alone(self) -> None:
        """What has happened so far wakes now, and not when the waiter that is alone waits again."""
        if self._is_driven_by_thread or self.is_over or not self._driving.acquire(blocking=False):
            return
        try:
            self._step(0)
        except (OSError, ValueError):
            self._give_up()
        finally:
            self._driving.release()

    @property
    def is_idle(self) -> bool:
        with self._guard:
            return not self._users and not self._was_joined

    def close(self) -> None:
        """Only when its thread has ended, or was never begun."""
        self._is_over = True  # First: a child that is forked now closes nothing whose number may be another's.
        self._kernel.close()

    def close_inherited(self, *, just_begun: bool) -> None:
        """It is the parent's of this process. Where the parent had given it up, its descriptors may be another's."""
        if not self._is_over:
            self._is_over = True
            self._kernel.close_inherited(just_begun=just_begun)

    def _alone_for(self, left: Callable[[], float]) -> float:
        return 0.0 if self._is_driven_by_thread else left()

    def _drive(self, is_closed: Callable[[SharedWatcher], bool]) -> None:
        """The thread's work."""
        try:
            while self._goes_on(is_closed):
                pass
        except (OSError, ValueError):
            self._give_up()

    def _goes_on(self, is_closed: Callable[[SharedWatcher], bool]) -> bool:
        if self._is_driven_by_thread:
            with self._driving:
                notified = self._step(IDLE)
        else:
            self._turn.wait(IDLE)
            notified = self._is_driven_by_thread
        if self.is_over:
            return False
        if not notified or time.monotonic() - self._tidied > IDLE:
            self._tidy()
        return notified or not is_closed(self)

    def _step(self, seconds: float) -> bool:
        """Wait for the kernel, and wake. False: it said nothing. Raises OSError, ValueError: its descriptors are closed."""
        with self._guard:
            wait = self._kernel.prepare(min(seconds, _LONGEST))
        notified = wait()
        self._waits = False
        with self._guard:
            waiters = self._concerned(self._kernel.read(notified))
        _wake(waiters)
        return bool(notified or waiters)

    def _concerned(self, news: News) -> Waiters:
        waiters: Waiters = set().union(*self._paths.values()) if news.overflowed else set()
        for number in news.changed:
            waiters |= self._paths.get(number, set())
        waiters |= self._of_paths(news.gone)
        for process in news.ended:
            waiters |= self._ends.pop(process, set())
        return waiters

    def _of_paths(self, gone: Collection[int]) -> Waiters:
        return set().union(*(self._paths.pop(number, set()) for number in gone))

    def _unwatch(self, number: int) -> None:
        del self._paths[number]
        self._removed += 1
        self._kernel.unwatch(number)

    def _unfollow(self, process: Process) -> None:
        del self._ends[process]
        self._kernel.unfollow(process)

    def _tidy(self) -> None:
        """A task of a loop that was closed does not say that it waits no more."""
        with self._guard:
            self._tidied, self._was_joined = time.monotonic(), False
            for number in [number for number, waiters in self._paths.items() if not _any_of(waiters)]:
                self._unwatch(number)
            for process in [process for process, waiters in self._ends.items() if not _any_of(waiters)]:
                self._unfollow(process)

    def _give_up(self) -> None:
        """Somebody has closed its descriptors, a daemon's closefrom say. Those who wait open another."""
        self._is_over = True
        self._kernel.abandon()
        _wake({ref(waiter) for waiter in list(self._users)})


def _any_of(waiters: Waiters) -> bool:
    return any(each() is not None for each in waiters)


def _wake(waiters: Waiters) -> None:
    for each in list(waiters):
        waiter = each()
        if waiter is not None:
            waiter.wake()
