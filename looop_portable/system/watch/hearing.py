"""What one bell has asked its process's ear for; and a bell of one thread that an ear rings. For each kernel's ear."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from looop_portable.protocol.records import Registration
from looop_portable.system.processes.handle import is_this_process
from looop_portable.system.threads.latch import Latch
from looop_portable.system.watch.announcing import Rings

Ended = tuple[int, str]
"""A process: its id, and its start token."""


class Ear(Protocol):
    """What hears for all of one process. It is opened for the first bell, and closed when none listens any more."""

    @property
    def is_over(self) -> bool:
        """Its descriptors are not its own any more."""

    def listen(self, bell: Rings, path: str) -> int | None:
        """Ring `bell` for changes of `path`; the number to `ignore` it by. None: it cannot be heard, or is not there."""

    def ignore(self, bell: Rings, number: int, /) -> None: ...
    def follow(self, bell: Rings, process: Ended) -> bool:
        """Ring `bell` when `process` has ended, also if it has already. False: that cannot be heard."""

    def follow_no_more(self, bell: Rings, process: Ended) -> None: ...
    def leave(self, bell: Rings) -> None: ...


Opening = Callable[[Rings], Ear]
"""This process's ear, joined by a bell. Raises OSError where there is none to be had."""


class Hearing:
    """What one bell has asked this process's ear for. The ear is opened with the first path or process."""

    def __init__(self, bell: Rings, opening: Opening) -> None:
        self._bell = bell
        self._opening = opening
        self._ear: Ear | None = None
        self._watched: set[int] = set()
        self._process: tuple[int, str] | None = None

    def listen(self, paths: Iterable[str]) -> bool:
        """As `Bell.listen`."""
        wanted = list(paths)
        if not (wanted or self._watched):
            return False
        ear = self._opened()
        if ear is None:
            return False
        found = [ear.listen(self._bell, path) for path in wanted]
        watched = {watch for watch in found if watch is not None}
        for watch in self._watched - watched:
            ear.ignore(self._bell, watch)
        self._watched = watched
        return bool(wanted) and None not in found

    def follow(self, process: Registration | None) -> bool:
        """As `Bell.follow`. A process does not end while it waits."""
        if process is not None and is_this_process(process.pid, process.start):
            self._follow_no_more()
            return True
        wanted = (process.pid, process.start) if process else None
        if wanted != self._process:
            self._follow_no_more()
        ear = self._opened() if wanted else None
        if ear is None or wanted is None:
            return False
        self._process = wanted
        return ear.follow(self._bell, wanted)

    def close(self) -> None:
        """It is not used any more."""
        if self._ear:
            self.listen([])
            self._follow_no_more()
            self._ear.leave(self._bell)
            self._ear = None

    def _opened(self) -> Ear | None:
        if self._ear is None or self._ear.is_over:
            self._watched, self._process = set(), None
            try:
                self._ear = self._opening(self._bell)
            except OSError:  # No descriptor, no thread, or no instance of inotify (fs.inotify.max_user_instances).
                self._ear = None
        return self._ear

    def _follow_no_more(self) -> None:
        if self._ear and self._process:
            self._ear.follow_no_more(self._bell, self._process)
        self._process = None


class HearingBell:
    """A bell of one thread, that the ear rings, and other threads do."""

    def __init__(self, opening: Opening) -> None:
        self._latch = Latch()
        self._hearing = Hearing(self, opening)

    def listen(self, paths: Iterable[str]) -> bool:
        return self._hearing.listen(paths)

    def follow(self, process: Registration | None) -> bool:
        return self._hearing.follow(process)

    def forget(self) -> None:
        self._latch.forget()

    def ring(self) -> None:
        self._latch.ring()

    def wait(self, seconds: float) -> None:
        self._latch.wait(seconds)

    def close(self) -> None:
        self._hearing.close()
