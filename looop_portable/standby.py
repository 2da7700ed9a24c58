"""Threads that are there before they are needed.

Guarantees: what a standby is handed is done, also where no thread can be started any more by then: the limit of processes
(RLIMIT_NPROC, a control group's `pids.max`) counts threads too, and is met when it is least wanted.
Does not guarantee: that there is a processor for it.
How: it waits at a queue (`queue.SimpleQueue`), which takes no more than a few bytes to hand something over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from looop_portable.errors import Unavailable

Call = Callable[[], object]


def started(work: Call, name: str) -> threading.Thread:
    """A thread that does `work`, and keeps no process from ending. Raises `Unavailable`."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise no_thread(error) from error
    return thread


def no_thread(error: Exception) -> Unavailable:
    """What to tell of a thread that could not be started."""
    why = str(error) or "out of memory"
    return Unavailable(
        f"a thread that is needed to hold a claim could not be started: {why} (raise the limit of processes, as ulimit -u, "
        "TasksMax= or pids.max have it, or that of memory)"
    )


class Standby:
    """A thread that does what it is handed, one call after the other. Making one raises `Unavailable`."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        started(partial(_work, self._calls), name)

    def do(self, call: Call) -> None:
        """Returns at once. A call that raises is the last."""
        self._calls.put(call)

    def dismiss(self) -> None:
        """It ends when it has done what it was handed before."""
        self._calls.put(None)


class Standbys:
    """Standbys of one name that are used again: making a thread for each use would cost more than most uses."""

    def __init__(self, name: str, most: int = 8) -> None:
        self._name = name
        self._most = most
        self._idle: list[Standby] = []

    def take(self) -> Standby:
        """Raises `Unavailable`."""
        try:
            return self._idle.pop()
        except IndexError:
            return Standby(self._name)

    def give_back(self, standby: Standby, *, used: bool) -> None:
        """`used`: it was handed something, which may take for ever."""
        if used or len(self._idle) >= self._most:
            standby.dismiss()
        else:
            self._idle.append(standby)


def _work(calls: SimpleQueue[Call | None]) -> None:
    while call := calls.get():
        call()
