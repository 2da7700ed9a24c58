"""What Linux tells this process of changes and of ends, and which watchers it wakes: one inotify(7) instance for them all.

Guarantees: what happens after `watch` or `follow` answered wakes the watcher that asked. One instance a process, however
many wait: a user has 128 of them, and other programs need some.
Does not guarantee: anything where no instance, no descriptor or no thread can be had (OSError); nor in a child made by
fork, which has a notifier of its own.
How: one thread waits for the instance, and for the pidfds of the processes whose end matters, and wakes. It ends when
nobody has listened for a while, and the instance is closed. It reads what is there to be read, and no more: greenlets,
where a program is patched for them, would wait in a read(2) that finds nothing.
"""

from __future__ import annotations

import os
import select  # noqa: F401 (`readable` uses it: there may be no descriptor to load it with by then)
import sys
import threading
from weakref import WeakSet, ref

from looop_portable.errors import Unavailable
from looop_portable.system.processes.handle import Watch, readable
from looop_portable.system.threads.standby import started
from looop_portable.system.watch.announcing import Wakeable
from looop_portable.system.watch.inotify import Inotify
from looop_portable.system.watch.subscription import Ended

assert sys.platform == "linux"

IDLE = 5.0
"""Seconds for which nobody listens, after which the notifier is closed."""

_Watchers = set[ref[Wakeable]]


class Notifier:
    """The notifier of one process. Made by `open_notifier`. Its guard is one that a signal handler may take again."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._watchers: dict[int, _Watchers] = {}
        self._ends: dict[Ended, tuple[Watch, _Watchers]] = {}
        self._users: WeakSet[Wakeable] = WeakSet()
        self._removed = 0
        self.is_over = False
        """Its descriptors are not its own any more."""
        self._changes = Inotify()
        try:
            self._called = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._changes.close()
            raise

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
            while True:
                removed = self._removed
                watch = self._changes.add(path)
                if watch is None:
                    return None
                self._watchers.setdefault(watch, set()).add(ref(watcher))
                if self._removed == removed:  # Else a signal handler has released just this, in between.
                    return watch

    def ignore(self, watcher: Wakeable, watch: int) -> None:
        with self._guard:
            watchers = self._watchers.get(watch)
            if watchers is None:
                return
            watchers.discard(ref(watcher))
            if not watchers:
                del self._watchers[watch]
                self._removed += 1
                self._changes.remove(watch)

    def follow(self, watcher: Wakeable, process: Ended) -> bool:
        """Wake `watcher` when `process` has ended, also if it has already. False: that cannot be heard."""
        with self._guard:
            if process not in self._ends:
                watch = Watch(*process)
                if watch.descriptor is None:
                    return False
                if watch.ended(0):
                    watch.close()
                    watcher.wake()
                    return True
                self._ends[process] = watch, set()
                os.eventfd_write(self._called, 1)
            self._ends[process][1].add(ref(watcher))
            return True

    def follow_no_more(self, watcher: Wakeable, process: Ended) -> None:
        with self._guard:
            found = self._ends.get(process)
            if found is None:
                return
            found[1].discard(ref(watcher))
            if not found[1]:
                del self._ends[process]
                found[0].close()  # Also where the thread waits for it just now: what it hears then is of nobody.

    def close(self) -> None:
        """Only where no thread of this process uses it: in a child, or when it has ended."""
        self._changes.close()
        os.close(self._called)
        for watch, _ in self._ends.values():
            watch.close()

    def _dispatch(self) -> None:
        """The thread's work."""
        try:
            while self._dispatch_once():
                pass
        except (
            OSError
        ):  # Somebody has closed its descriptors, a daemon's closefrom say. Those who wait open another notifier.
            self.is_over = True
            for watcher in list(self._users):
                watcher.wake()

    def _dispatch_once(self) -> bool:
        """False: it has been closed."""
        with self._guard:
            self._drop_forsaken()
            ends = {fd: process for process, (watch, _) in self._ends.items() if (fd := watch.descriptor) is not None}
        notified = readable([self._changes.fd, self._called, *ends], IDLE)
        if not notified:
            return not _closed(self)
        with self._guard:
            watchers = self._of_changes() if self._changes.fd in notified else set()
            if self._called in notified:
                os.eventfd_read(self._called)
            for descriptor in notified:
                if descriptor in ends:
                    watchers |= self._of_end(ends[descriptor])
        for each in watchers:
            watcher = each()
            if watcher is not None:
                watcher.wake()
        return True

    def _of_changes(self) -> _Watchers:
        watchers: _Watchers = set()
        for watch, last in self._changes.events():
            if watch == Inotify.OVERFLOW:
                return set().union(*self._watchers.values())
            watchers |= self._watchers.get(watch, set())
            if last:
                self._watchers.pop(watch, None)
        return watchers

    def _of_end(self, process: Ended) -> _Watchers:
        found = self._ends.pop(process, None)
        if found is None:
            return set()
        found[0].close()
        return found[1]

    def _drop_forsaken(self) -> None:
        """A task of a loop that was closed does not say that it follows no more."""
        for process, (watch, watchers) in list(self._ends.items()):
            if not any(each() is not None for each in watchers):
                del self._ends[process]
                watch.close()

    @property
    def is_idle(self) -> bool:
        with self._guard:
            return not self._users


_notifier: Notifier | None = None
_owner = os.getpid()
_opening = threading.RLock()


def open_notifier(watcher: Wakeable) -> Notifier:
    """This process's, joined by `watcher`. Raises OSError where there is none to be had."""
    global _notifier
    if _owner != os.getpid():  # A child whose fork ran no hooks.
        _after_fork()
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


def _after_fork() -> None:
    """Without this, a child would take what is told to its parent."""
    global _notifier, _owner, _opening
    _owner, _opening = os.getpid(), threading.RLock()
    parents, _notifier = _notifier, None
    if parents is not None:
        parents.close()


os.register_at_fork(after_in_child=_after_fork)
