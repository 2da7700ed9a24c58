"""Watchers that macOS and the BSDs ring: `waking` there. One kqueue(2) for all that wait in this process.

Guarantees: as `waking` has it. A descriptor for each path that is listened to, and no more, however many listen.
Does not guarantee: that only what was asked for wakes: names that go from the same directory do, too. Nor anything where no
kqueue, no descriptor (256 are a login's limit) or no thread can be had, nor on a network mount for what others do there.
How: EVFILT_VNODE on an open directory or file, EVFILT_PROC (NOTE_EXIT) for a process, known by its start token after that
was asked for. One thread waits for all of it, and wakes. It ends when nobody has listened for a while.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Any
from weakref import WeakSet, ref

from looop_portable.errors import Unavailable
from looop_portable.system.processes.handle import has_ended
from looop_portable.system.threads.standby import started
from looop_portable.system.watch.announcing import Wakeable
from looop_portable.system.watch.subscription import Ended, KernelWatcher, Subscription
from looop_portable.system.watch.vnodes import Vnodes, Watchers

IDLE = 5.0
"""Seconds for which nobody listens, after which the notifier is closed."""
_kernel: Any = select
"""Which has no kqueue on Linux, where the tests have one of their own."""
_EVENTS = 64
_SOON, _LOOKS = 0.005, 200
"""NOTE_EXIT is told before the process is seen to have ended: seconds from one look to the next, and how many at most."""


class Notifier:
    """The notifier of one process. Made by `open_notifier`. Its guard is one that a signal handler may take again."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._ends: dict[Ended, Watchers] = {}
        self._ending: dict[Ended, tuple[Watchers, int]] = {}
        self._users: WeakSet[Wakeable] = WeakSet()
        self.is_over = False
        """Its descriptors are not its own any more."""
        self._queue = _kernel.kqueue()
        self._vnodes = Vnodes(self._queue)

    def start(self) -> None:
        """Raises `Unavailable` where no thread can be had."""
        started(self._dispatch, "looop notifier")

    def join(self, watcher: Wakeable) -> None:
        """`watcher` may listen: until it leaves, or is no more, the notifier is open."""
        with self._guard:
            self._users.add(watcher)

    def leave(self, watcher: Wakeable) -> None:
        with self._guard:
            self._users.discard(watcher)

    def watch(self, watcher: Wakeable, path: str) -> int | None:
        """Wake `watcher` for changes of `path`; the number to `ignore` it by. None: it cannot be heard, or is not there."""
        with self._guard:
            number, missed = self._vnodes.watch(watcher, path)
            self._wake(missed)
            return number

    def ignore(self, watcher: Wakeable, number: int) -> None:
        with self._guard:
            self._vnodes.ignore(watcher, number)

    def follow(self, watcher: Wakeable, process: Ended) -> bool:
        """Wake `watcher` when `process` has ended, also if it has already. False: that cannot be heard."""
        with self._guard:
            if process not in self._ends:
                try:
                    self._ask(_note_of(process[0], _kernel.KQ_EV_ADD | _kernel.KQ_EV_ONESHOT))
                except ProcessLookupError:
                    if not has_ended(*process):  # It is about to.
                        return False
                    watcher.wake()
                    return True
                except OSError:
                    return False
                self._ends[process] = set()
            self._ends[process].add(ref(watcher))
            if has_ended(*process):  # Known by its start, now that its end will be told.
                self._wake(self._unfollow(process))
            return True

    def follow_no_more(self, watcher: Wakeable, process: Ended) -> None:
        with self._guard:
            watchers = self._ends.get(process)
            if watchers is not None:
                watchers.discard(ref(watcher))
                if not watchers:
                    self._unfollow(process)

    def close(self) -> None:
        """Only where no thread of this process uses it: when it has ended, or in a child, which has no kqueue any more."""
        with contextlib.suppress(OSError):
            self._queue.close()
        self._vnodes.close()

    @property
    def is_idle(self) -> bool:
        with self._guard:
            return not self._users

    def _ask(self, *changes: Any) -> None:
        self._queue.control(list(changes), 0)

    def _unfollow(self, process: Ended) -> Watchers:
        watchers = self._ends.pop(process, set())
        if all(pid != process[0] for pid, _ in self._ends):
            with contextlib.suppress(OSError):  # It has been told.
                self._ask(_note_of(process[0], _kernel.KQ_EV_DELETE))
        return watchers

    def _dispatch(self) -> None:
        """The thread's work."""
        try:
            while self._dispatch_once():
                pass
        except (OSError, ValueError):  # Somebody has closed its descriptors, a daemon's closefrom say.
            self.is_over = True
            _lost.append(self._queue)  # Without this, Python would close whatever has its descriptor by then.
            self._wake({ref(watcher) for watcher in list(self._users)})

    def _dispatch_once(self) -> bool:
        """False: it has been closed."""
        with self._guard:
            self._drop_forsaken()
            ending = bool(self._ending)
        notified = self._queue.control(None, _EVENTS, _SOON if ending else IDLE)
        if not notified and not ending:
            return not _closed(self)
        with self._guard:
            watchers: Watchers = set()
            for event in notified:
                if event.filter == _kernel.KQ_FILTER_PROC:
                    self._of_end(event.ident)
                else:
                    watchers |= self._vnodes.changed(event.ident, event.fflags)
            watchers |= self._of_those_ending()
        self._wake(watchers)
        return True

    def _of_end(self, pid: int) -> None:
        for process in [each for each in self._ends if each[0] == pid]:
            self._ending[process] = self._ends.pop(process), _LOOKS

    def _of_those_ending(self) -> Watchers:
        """Those are woken that would see it now. Woken before, they would look, see it run, and sleep again."""
        watchers: Watchers = set()
        for process, (waiting, looks) in list(self._ending.items()):
            if has_ended(*process) or not looks:
                del self._ending[process]
                watchers |= waiting
            else:
                self._ending[process] = waiting, looks - 1
        return watchers

    def _drop_forsaken(self) -> None:
        """A task of a loop that was closed does not say that it follows no more."""
        for process, watchers in list(self._ends.items()):
            if not any(each() is not None for each in watchers):
                self._unfollow(process)
        self._vnodes.drop_forsaken()

    @staticmethod
    def _wake(watchers: Watchers) -> None:
        for each in list(watchers):
            watcher = each()
            if watcher is not None:
                watcher.wake()


def _note_of(pid: int, flags: int) -> Any:
    return _kernel.kevent(pid, _kernel.KQ_FILTER_PROC, flags, _kernel.KQ_NOTE_EXIT)


_notifier: Notifier | None = None
_owner = os.getpid()
_opening = threading.RLock()
_lost: list[Any] = []
"""Kqueues that are not ours to close."""


def open_notifier(watcher: Wakeable) -> Notifier:
    """This process's, joined by `watcher`. Raises OSError where there is none to be had."""
    global _notifier
    if _owner != os.getpid():  # A child whose fork ran no hooks, and which may have opened others since.
        if _notifier is not None:
            _lost.append(_notifier._queue)
        _begin_anew()
    with _opening:
        if _notifier is None or _notifier.is_over:
            made = Notifier()
            try:
                made.start()
            except Unavailable as error:
                made.close()
                raise OSError(str(error)) from error
            _notifier = made
        _notifier.join(watcher)
        return _notifier


def _closed(notifier: Notifier) -> bool:
    """Close it, if nobody uses it."""
    global _notifier
    with _opening:
        if not notifier.is_idle or _notifier is not notifier:
            return False
        _notifier = None
    notifier.close()
    return True


def _begin_anew() -> None:
    global _notifier, _owner, _opening
    _notifier, _owner, _opening = None, os.getpid(), threading.RLock()


def _after_fork() -> None:
    """A kqueue is not inherited (kqueue(2)): its descriptor is free in a child, and is closed before it is another's."""
    parents = _notifier
    _begin_anew()
    if parents is not None:
        parents.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def subscription(watcher: Wakeable) -> Subscription:
    """What hears for `watcher`."""
    return Subscription(watcher, open_notifier)


def new_watcher() -> KernelWatcher:
    """A watcher of one thread."""
    return KernelWatcher(open_notifier)
