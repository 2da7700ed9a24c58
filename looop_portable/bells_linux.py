"""A bell that Linux rings: `bells` there."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable

from looop_portable.inotify import new_inotify
from looop_portable.liveness import Registration
from looop_portable.watching import Watch, is_this_process

assert sys.platform == "linux"


class LinuxBell:
    """A bell that inotify, a pidfd and an eventfd ring. Raises OSError where there are no descriptors left for it."""

    def __init__(self) -> None:
        self._changes = new_inotify()
        self._watched: dict[str, int] = {}
        self._process: tuple[int, str] | None = None
        self._watch: Watch | None = None
        try:
            self._rung = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._changes.close()
            raise

    def listen(self, paths: Iterable[str]) -> bool:
        wanted = list(paths)
        let_go = {self._watched.pop(path) for path in list(self._watched) if path not in wanted}
        for known in let_go:
            self._changes.remove(known)
        if let_go and not self._take() <= let_go:  # That they end is told as well, and no news: without this it would ring.
            self.ring()
        for path in wanted:
            if path not in self._watched:
                watch = self._changes.add(path)
                if watch is None:
                    return False
                self._watched[path] = watch
        return bool(wanted)

    def follow(self, process: Registration | None) -> bool:
        wanted = (process.pid, process.start) if process else None
        if wanted != self._process:
            self._let_go()
            if process and not is_this_process(process.pid, process.start):
                self._watch = Watch(process.pid, process.start)
            self._process = wanted
        if self._watch is None:  # A process does not end while it waits.
            return process is not None and is_this_process(process.pid, process.start)
        return self._watch.descriptor is not None

    def forget(self) -> None:
        self._take()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._rung)

    def ring(self) -> None:
        os.eventfd_write(self._rung, 1)

    def wait(self, seconds: float) -> None:
        if self._watch and self._watch.ended(0):
            self._let_go()
            return
        poll = select.poll()
        for fd in (self._changes.fd, self._rung, self._watch.descriptor if self._watch else None):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        poll.poll(seconds * 1000)

    def close(self) -> None:
        self._let_go()
        self._changes.close()
        os.close(self._rung)

    def _take(self) -> set[int]:
        """What the kernel has told of. Of what it says no more, as of a file that has changed, is watched no more."""
        told = self._changes.events()
        gone = {watch for watch, last in told if last}
        self._watched = {path: watch for path, watch in self._watched.items() if watch not in gone}
        return {watch for watch, _ in told}

    def _let_go(self) -> None:
        if self._watch:
            self._watch.close()
        self._watch, self._process = None, None
