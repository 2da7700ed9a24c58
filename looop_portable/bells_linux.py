"""A bell that Linux rings: `bells` there."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable

from looop_portable.inotify import Inotify
from looop_portable.liveness import Registration
from looop_portable.watching import Watch

assert sys.platform == "linux"


class LinuxBell:
    """A bell that inotify, a pidfd and an eventfd ring. Raises OSError where there are no descriptors left for it."""

    def __init__(self) -> None:
        self._changes = Inotify()
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
        useless = [path for path in self._watched if path not in wanted]
        for path in useless:
            self._changes.remove(self._watched.pop(path))
        if useless:
            self._pass_over_what_is_ignored()
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
            if process:
                self._watch = Watch(process.pid, process.start)
            self._process = wanted
        return self._watch is not None and self._watch.descriptor is not None

    def forget(self) -> None:
        gone = self._changes.read()
        self._watched = {path: watch for path, watch in self._watched.items() if watch not in gone}
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

    def _pass_over_what_is_ignored(self) -> None:
        """That something is not watched any more would ring, too. What else has been told rings on."""
        told = {watch for watch, _ in self._changes.events()}
        if told.intersection(self._watched.values()):
            self.ring()

    def close(self) -> None:
        self._let_go()
        self._changes.close()
        os.close(self._rung)

    def _let_go(self) -> None:
        if self._watch:
            self._watch.close()
        self._watch, self._process = None, None
