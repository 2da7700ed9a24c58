"""Bells that macOS and the BSDs ring: `watcher` there. One kqueue(2) for all that wait in this process.

Guarantees: as `watcher` has it. A descriptor for each path that is listened to, and no more, however many listen.
Does not guarantee: that only what was asked for rings: names that go from the same directory do, too. Nor anything where no
kqueue, no descriptor (256 are a login's limit) or no thread can be had, nor on a network mount for what others do there.
How: EVFILT_VNODE on an open directory or file, EVFILT_PROC (NOTE_EXIT) for a process, known by its start token after that
was asked for. One thread waits for all of it, and rings. It ends when nobody has listened for a while.
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
from looop_portable.system.watch.announcing import Rings
from looop_portable.system.watch.hearing import Ended, Hearing, HearingBell
from looop_portable.system.watch.vnodes import Bells, Vnodes

IDLE = 5.0
"""Seconds for which nobody listens, after which the ear is closed."""
_kernel: Any = select
"""Which has no kqueue on Linux, where the tests have one of their own."""
_EVENTS = 64
_SOON, _LOOKS = 0.005, 200
"""NOTE_EXIT is told before the process is seen to have ended: seconds from one look to the next, and how many at most."""


class Ear:
    """The ear of one process. Made by `open_ear`. Its guard is one that a signal handler may take again."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._ends: dict[Ended, Bells] = {}
        self._ending: dict[Ended, tuple[Bells, int]] = {}
        self._users: WeakSet[Rings] = WeakSet()
        self.is_over = False
        """Its descriptors are not its own any more."""
        self._queue = _kernel.kqueue()
        self._vnodes = Vnodes(self._queue)

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
            number, missed = self._vnodes.listen(bell, path)
            self._ring(missed)
            return number

    def ignore(self, bell: Rings, number: int) -> None:
        with self._guard:
            self._vnodes.ignore(bell, number)

    def follow(self, bell: Rings, process: Ended) -> bool:
        """Ring `bell` when `process` has ended, also if it has already. False: that cannot be heard."""
        with self._guard:
            if process not in self._ends:
                try:
                    self._ask(_note_of(process[0], _kernel.KQ_EV_ADD | _kernel.KQ_EV_ONESHOT))
                except ProcessLookupError:
                    if not has_ended(*process):  # It is about to.
                        return False
                    bell.ring()
                    return True
                except OSError:
                    return False
                self._ends[process] = set()
            self._ends[process].add(ref(bell))
            if has_ended(*process):  # Known by its start, now that its end will be told.
                self._ring(self._unfollow(process))
            return True

    def follow_no_more(self, bell: Rings, process: Ended) -> None:
        with self._guard:
            bells = self._ends.get(process)
            if bells is not None:
                bells.discard(ref(bell))
                if not bells:
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

    def _unfollow(self, process: Ended) -> Bells:
        bells = self._ends.pop(process, set())
        if all(pid != process[0] for pid, _ in self._ends):
            with contextlib.suppress(OSError):  # It has been told.
                self._ask(_note_of(process[0], _kernel.KQ_EV_DELETE))
        return bells

    def _listen_for_all(self) -> None:
        """The thread's work."""
        try:
            while self._listen_once():
                pass
        except (OSError, ValueError):  # Somebody has closed its descriptors, a daemon's closefrom say.
            self.is_over = True
            _lost.append(self._queue)  # Without this, Python would close whatever has its descriptor by then.
            self._ring({ref(bell) for bell in list(self._users)})

    def _listen_once(self) -> bool:
        """False: it has been closed."""
        with self._guard:
            self._drop_forsaken()
            ending = bool(self._ending)
        heard = self._queue.control(None, _EVENTS, _SOON if ending else IDLE)
        if not heard and not ending:
            return not _closed(self)
        with self._guard:
            bells: Bells = set()
            for event in heard:
                if event.filter == _kernel.KQ_FILTER_PROC:
                    self._of_end(event.ident)
                else:
                    bells |= self._vnodes.changed(event.ident, event.fflags)
            bells |= self._of_those_ending()
        self._ring(bells)
        return True

    def _of_end(self, pid: int) -> None:
        for process in [each for each in self._ends if each[0] == pid]:
            self._ending[process] = self._ends.pop(process), _LOOKS

    def _of_those_ending(self) -> Bells:
        """Those are rung that would see it now. Rung before, they would look, see it run, and sleep again."""
        bells: Bells = set()
        for process, (waiting, looks) in list(self._ending.items()):
            if has_ended(*process) or not looks:
                del self._ending[process]
                bells |= waiting
            else:
                self._ending[process] = waiting, looks - 1
        return bells

    def _drop_forsaken(self) -> None:
        """A task of a loop that was closed does not say that it follows no more."""
        for process, bells in list(self._ends.items()):
            if not any(each() is not None for each in bells):
                self._unfollow(process)
        self._vnodes.drop_forsaken()

    @staticmethod
    def _ring(bells: Bells) -> None:
        for each in list(bells):
            bell = each()
            if bell is not None:
                bell.ring()


def _note_of(pid: int, flags: int) -> Any:
    return _kernel.kevent(pid, _kernel.KQ_FILTER_PROC, flags, _kernel.KQ_NOTE_EXIT)


_ear: Ear | None = None
_owner = os.getpid()
_opening = threading.RLock()
_lost: list[Any] = []
"""Kqueues that are not ours to close."""


def open_ear(bell: Rings) -> Ear:
    """This process's, joined by `bell`. Raises OSError where there is none to be had."""
    global _ear
    if _owner != os.getpid():  # A child whose fork ran no hooks, and which may have opened others since.
        if _ear is not None:
            _lost.append(_ear._queue)
        _begin_anew()
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


def _begin_anew() -> None:
    global _ear, _owner, _opening
    _ear, _owner, _opening = None, os.getpid(), threading.RLock()


def _after_fork() -> None:
    """A kqueue is not inherited (kqueue(2)): its descriptor is free in a child, and is closed before it is another's."""
    parents = _ear
    _begin_anew()
    if parents is not None:
        parents.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def hearing(bell: Rings) -> Hearing:
    """What hears for `bell`."""
    return Hearing(bell, open_ear)


def new_bell() -> HearingBell:
    """A bell of one thread."""
    return HearingBell(open_ear)
