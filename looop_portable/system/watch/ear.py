"""What Linux tells this process of changes and of ends, and which bells it rings: one inotify(7) instance for them all.

Guarantees: what happens after `listen` or `follow` answered rings the bell that asked. One instance a process, however
many wait: a user has 128 of them, and other programs need some.
Does not guarantee: anything where no instance, no descriptor or no thread can be had (OSError); nor in a child made by
fork, which has an ear of its own.
How: one thread waits for the instance, and for the pidfds of the processes whose end matters, and rings. It ends when
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
from looop_portable.system.watch.announcing import Rings
from looop_portable.system.watch.hearing import Ended
from looop_portable.system.watch.inotify import Inotify

assert sys.platform == "linux"

IDLE = 5.0
"""Seconds for which nobody listens, after which the ear is closed."""

_Bells = set[ref[Rings]]


class Ear:
    """The ear of one process. Made by `open_ear`. Its guard is one that a signal handler may take again."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._bells: dict[int, _Bells] = {}
        self._ends: dict[Ended, tuple[Watch, _Bells]] = {}
        self._users: WeakSet[Rings] = WeakSet()
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
        started(self._listen_for_all, "looop ear")

    def join(self, bell: Rings) -> None:
        """`bell` may listen: until it leaves, or is no more, the ear is open."""
        with self._guard:
            self._users.add(bell)

    def leave(self, bell: Rings) -> None:
        with self._guard:
            self._users.discard(bell)

    def listen(self, bell: Rings, path: str) -> int | None:
        """Ring `bell` for changes of `path`; the number to `ignore` it by. None: it cannot be heard, or is not there."""
        with self._guard:
            while True:
                removed = self._removed
                watch = self._changes.add(path)
                if watch is None:
                    return None
                self._bells.setdefault(watch, set()).add(ref(bell))
                if self._removed == removed:  # Else a signal handler has let go of just this, in between.
                    return watch

    def ignore(self, bell: Rings, watch: int) -> None:
        with self._guard:
            bells = self._bells.get(watch)
            if bells is None:
                return
            bells.discard(ref(bell))
            if not bells:
                del self._bells[watch]
                self._removed += 1
                self._changes.remove(watch)

    def follow(self, bell: Rings, process: Ended) -> bool:
        """Ring `bell` when `process` has ended, also if it has already. False: that cannot be heard."""
        with self._guard:
            if process not in self._ends:
                watch = Watch(*process)
                if watch.descriptor is None:
                    return False
                if watch.ended(0):
                    watch.close()
                    bell.ring()
                    return True
                self._ends[process] = watch, set()
                os.eventfd_write(self._called, 1)
            self._ends[process][1].add(ref(bell))
            return True

    def follow_no_more(self, bell: Rings, process: Ended) -> None:
        with self._guard:
            found = self._ends.get(process)
            if found is None:
                return
            found[1].discard(ref(bell))
            if not found[1]:
                del self._ends[process]
                found[0].close()  # Also where the thread waits for it just now: what it hears then is of nobody.

    def close(self) -> None:
        """Only where no thread of this process uses it: in a child, or when it has ended."""
        self._changes.close()
        os.close(self._called)
        for watch, _ in self._ends.values():
            watch.close()

    def _listen_for_all(self) -> None:
        """The thread's work."""
        try:
            while self._listen_once():
                pass
        except OSError:  # Somebody has closed its descriptors, a daemon's closefrom say. Those who wait open another ear.
            self.is_over = True
            for bell in list(self._users):
                bell.ring()

    def _listen_once(self) -> bool:
        """False: it has been closed."""
        with self._guard:
            self._drop_forsaken()
            ends = {fd: process for process, (watch, _) in self._ends.items() if (fd := watch.descriptor) is not None}
        heard = readable([self._changes.fd, self._called, *ends], IDLE)
        if not heard:
            return not _closed(self)
        with self._guard:
            bells = self._of_changes() if self._changes.fd in heard else set()
            if self._called in heard:
                os.eventfd_read(self._called)
            for descriptor in heard:
                if descriptor in ends:
                    bells |= self._of_end(ends[descriptor])
        for each in bells:
            bell = each()
            if bell is not None:
                bell.ring()
        return True

    def _of_changes(self) -> _Bells:
        bells: _Bells = set()
        for watch, last in self._changes.events():
            if watch == Inotify.OVERFLOW:
                return set().union(*self._bells.values())
            bells |= self._bells.get(watch, set())
            if last:
                self._bells.pop(watch, None)
        return bells

    def _of_end(self, process: Ended) -> _Bells:
        found = self._ends.pop(process, None)
        if found is None:
            return set()
        found[0].close()
        return found[1]

    def _drop_forsaken(self) -> None:
        """A task of a loop that was closed does not say that it follows no more."""
        for process, (watch, bells) in list(self._ends.items()):
            if not any(each() is not None for each in bells):
                del self._ends[process]
                watch.close()

    @property
    def is_idle(self) -> bool:
        with self._guard:
            return not self._users


_ear: Ear | None = None
_owner = os.getpid()
_opening = threading.RLock()


def open_ear(bell: Rings) -> Ear:
    """This process's, joined by `bell`. Raises OSError where there is none to be had."""
    global _ear
    if _owner != os.getpid():  # A child whose fork ran no hooks.
        _after_fork()
    with _opening:
        if _ear is None or _ear.is_over:
            made = Ear()
            try:
                made.start()
            except Unavailable as error:
                made.close()
                raise OSError(str(error)) from error
            _ear = made
        _ear.join(bell)
        return _ear


def _closed(ear: Ear) -> bool:
    """Close it, if nobody uses it."""
    global _ear
    with _opening:
        if not ear.is_idle or _ear is not ear:
            return False
        _ear = None
    ear.close()
    return True


def _after_fork() -> None:
    """Without this, a child would take what is told to its parent."""
    global _ear, _owner, _opening
    _owner, _opening = os.getpid(), threading.RLock()
    parents, _ear = _ear, None
    if parents is not None:
        parents.close()


os.register_at_fork(after_in_child=_after_fork)
