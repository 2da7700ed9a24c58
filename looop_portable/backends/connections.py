"""The connections of one engine in this process: few, each used by one caller at a time, and none that a parent has.

Guarantees: `most` connections at once, among threads, and where a signal's handler comes in the middle of another call. A
forked child makes its own, and neither uses nor closes those of its parent. One that has failed is not used again.
Does not guarantee: that a connection which was idle is still good. Whoever uses it finds out, and asks again: see `asking`.
How: `most` places in a queue, whose `get` and `put` may interrupt each other (`queue.SimpleQueue`). Whoever has a place
takes an idle connection, or makes one. The one that was used last is used next, so most processes have one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue

from looop_portable.errors import Unavailable
from looop_portable.typed import Generic, TypeVar

__all__ = ["Connections"]

C = TypeVar("C")


class Connections(Generic[C]):
    """At most `most` of what `connect` makes. `end` closes one, and says nothing to the server that others could hear.

    `where` begins the error that says that there is none to be had within `seconds`.
    """

    def __init__(
        self, where: str, connect: Callable[[], C], end: Callable[[C], object], *, most: int = 3, seconds: float = 5.0
    ) -> None:
        self._where = where
        self._connect = connect
        self._end = end
        self._most = most
        self._seconds = seconds
        self._inherited: list[deque[C]] = []
        """Those of our parents. Kept: what is not needed any more would close itself, and say so to the server."""
        self._begin()

    def _begin(self) -> None:
        self._idle: deque[C] = deque()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._most):
            self._places.put(None)
        self._pid = os.getpid()

    @contextmanager
    def one(self) -> Iterator[C]:
        """A connection, for as long as the block runs. One whose block fails is closed: its next answer may be to that.

        So are those that are idle: a server that was restarted has ended them all.
        Raises `Unavailable` when all are in use for too long, or what `connect` raises.
        """
        if self._pid != os.getpid():
            self._inherited.append(self._idle)
            self._begin()
        places, idle = self._places, self._idle
        try:
            places.get(timeout=self._seconds)
        except Empty:
            raise Unavailable(
                f"{self._where}: its {self._most} connections are all in use, for {self._seconds:g} s"
            ) from None
        connection: C | None = None
        try:
            try:
                connection = idle.pop()
            except IndexError:
                connection = None
            if connection is None:
                connection = self._connect()
            yield connection
        except BaseException:
            if connection is not None:
                with suppress(Exception):
                    self._end(connection)
                self._end_idle(idle)
            raise
        else:
            idle.append(connection)
        finally:
            places.put(None)

    def close(self) -> None:
        """End those that nobody uses, and that are this process's."""
        if self._pid == os.getpid():
            self._end_idle(self._idle)

    def _end_idle(self, idle: deque[C]) -> None:
        with suppress(IndexError):
            while True:
                connection = idle.pop()
                with suppress(Exception):
                    self._end(connection)
