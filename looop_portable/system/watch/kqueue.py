"""What macOS and the BSDs tell a process's watcher: kqueue(2).

Guarantees: a descriptor for each path that is watched, and no more.
Does not guarantee: that only what was asked for wakes: names that go from the same directory do, too. Nor anything where no
kqueue or no descriptor can be had (256 are a login's limit), nor on a network mount for what others do there; nor to two
threads that call it at once, but for what waits.
How: EVFILT_VNODE on an open directory or file, EVFILT_PROC (NOTE_EXIT) for a process, known by its start token after that
was asked for.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Collection

from looop_portable.system.processes.handle import has_ended
from looop_portable.system.watch.shared import Following, News, Process
from looop_portable.system.watch.subscriptions import PerProcess
from looop_portable.system.watch.vnodes import Vnodes
from looop_portable.typed import Any

_kernel: Any = select
"""Which has no kqueue on Linux, where the tests have one of their own."""
_EVENTS = 64
_SOON, _LOOKS = 0.005, 200
"""NOTE_EXIT is told before the process is seen to have ended: seconds from one look to the next, and how many at most."""
_lost: list[Any] = []
"""Kqueues that are not ours to close: Python would close whatever has their descriptor by then."""


class KqueueKernel:
    """Raises OSError where it cannot be had."""

    poke: Callable[[], None] | None = None
    is_full = False

    def __init__(self) -> None:
        self._followed: set[Process] = set()
        self._ending: dict[Process, int] = {}
        self._queue = _kernel.kqueue()
        self._vnodes = Vnodes(self._queue)

    def watch(self, path: str) -> tuple[int | None, Collection[int]]:
        return self._vnodes.watch(path)

    def unwatch(self, number: int) -> None:
        self._vnodes.unwatch(number)

    def follow(self, process: Process) -> Following:
        try:
            self._ask(_note_of(process[0], _kernel.KQ_EV_ADD | _kernel.KQ_EV_ONESHOT))
        except ProcessLookupError:
            return Following.ENDED if has_ended(*process) else Following.UNSEEN  # It is about to.
        except OSError:
            return Following.UNSEEN
        self._followed.add(process)
        if has_ended(*process):  # Known by its start, now that its end will be told.
            self.unfollow(process)
            return Following.ENDED
        return Following.WATCHED

    def unfollow(self, process: Process) -> None:
        self._ending.pop(process, None)
        self._followed.discard(process)
        if all(pid != process[0] for pid, _ in self._followed):
            with contextlib.suppress(OSError):  # It has been told.
                self._ask(_note_of(process[0], _kernel.KQ_EV_DELETE))

    def prepare(self, seconds: float) -> Callable[[], list[Any]]:
        seconds = min(_SOON, seconds) if self._ending else seconds
        return lambda: list(self._queue.control(None, _EVENTS, seconds))

    def read(self, notified: list[Any]) -> News:
        changed: list[int] = []
        gone: list[int] = []
        for event in notified:
            if event.filter == _kernel.KQ_FILTER_PROC:
                for process in [each for each in self._followed if each[0] == event.ident]:
                    self._followed.discard(process)
                    self._ending[process] = _LOOKS
            else:
                number, is_gone = self._vnodes.changed(event.ident, event.fflags)
                if number is not None:
                    (gone if is_gone else changed).append(number)
        return News(changed, gone, self._of_those_ending())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._queue.close()
        self._vnodes.close()

    def abandon(self) -> None:
        _lost.append(self._queue)

    def close_inherited(self, *, just_begun: bool) -> None:
        """A kqueue is not inherited (kqueue(2)): in a child its descriptor is free, and soon another's."""
        if just_begun:
            self.close()
        else:
            self.abandon()

    def _ask(self, *changes: Any) -> None:
        self._queue.control(list(changes), 0)

    def _of_those_ending(self) -> list[Process]:
        """Those whose end would be seen now. A waiter that is woken before looks, sees it run, and sleeps again."""
        found = []
        for process, looks in list(self._ending.items()):
            if has_ended(*process) or not looks:
                del self._ending[process]
                found.append(process)
            else:
                self._ending[process] = looks - 1
        return found


def _note_of(pid: int, flags: int) -> Any:
    return _kernel.kevent(pid, _kernel.KQ_FILTER_PROC, flags, _kernel.KQ_NOTE_EXIT)


WATCHERS = PerProcess(KqueueKernel)
