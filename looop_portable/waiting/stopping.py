"""A bell that also has its waiter stop: for one that waits in another thread than whoever wants to know what came of it.

Guarantees: after `stop` it waits no more, and comes back with `Stopped` unless it has got what it waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from looop_portable.protocol.records import Registration
from looop_portable.system.watch.watcher import ThreadBell


class Stopped(Exception):
    """Nobody wants to know any more."""


class Stoppable:
    """A `ThreadBell` that another rings, between `ring_by` and `close`."""

    def __init__(self) -> None:
        self.stops: list[bool] = []
        self._bell: ThreadBell | None = None
        self._guard = threading.RLock()

    @property
    def is_stopped(self) -> bool:
        return bool(self.stops)

    def ring_by(self, bell: ThreadBell) -> None:
        self._bell = bell

    def stop(self) -> None:
        """From any thread, also before or after somebody waits."""
        self.stops.append(True)
        self.ring()

    def listen(self, paths: Iterable[str]) -> bool:
        return self._bell is not None and self._bell.listen(paths)

    def follow(self, process: Registration | None) -> bool:
        return self._bell is not None and self._bell.follow(process)

    def forget(self) -> None:
        if self._bell:
            self._bell.forget()

    def ring(self) -> None:
        with self._guard:  # Without this, it could be one that has been closed meanwhile.
            if self._bell:
                self._bell.ring()

    def wait(self, seconds: float) -> None:
        """Raises `Stopped`."""
        if self._bell and not self.is_stopped:
            self._bell.wait(seconds)
        if self.is_stopped:
            raise Stopped

    def close(self) -> None:
        with self._guard:
            bell, self._bell = self._bell, None
        if bell:
            bell.close()
