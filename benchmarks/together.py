"""Hand-over within one process: twenty threads, or tasks, that all want one claim again and again.

python benchmarks/together.py

Each waits in line as soon as it has let go. What counts is how often another has it, and not how often the same one takes
it again. With a kernel that tells of changes, on a filesystem where none does (as on a network mount), and in memory.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from unittest import mock

import filelock
from setting import Setting, place, setting_of
from tables import OURS, Panel, Result, Table, number, text

from looop_portable import aio, hold

MANY = 20
SECONDS, QUICK = 1.0, 0.3
ROUNDS, FEW = 5, 2

Turns = list[int]
"""Who had it, one after the other."""


def with_file_lock(directory: str, seconds: float) -> Turns:
    return in_threads(lambda: filelock.FileLock(f"{directory}/lock"), seconds)


def with_threads(directory: str, seconds: float, *, backend: str = "auto") -> Turns:
    return in_threads(lambda: hold("repo-x", data_dir=directory, backend=backend, timeout=None), seconds)


def with_tasks(directory: str, seconds: float, *, backend: str = "auto") -> Turns:
    turns: Turns = []
    end = time.monotonic() + seconds

    async def member(number: int) -> None:
        while time.monotonic() < end:
            async with aio.hold("repo-x", data_dir=directory, backend=backend, timeout=None):
                turns.append(number)

    async def main() -> None:
        await asyncio.gather(*(member(number) for number in range(MANY)))

    asyncio.run(main())
    return turns


def in_threads(block: Callable[[], AbstractContextManager[object]], seconds: float) -> Turns:
    turns: Turns = []
    end = time.monotonic() + seconds

    def member(number: int) -> None:
        while time.monotonic() < end:
            with block():
                turns.append(number)

    threads = [threading.Thread(target=member, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return turns


def without_notifications() -> AbstractContextManager[object]:
    return mock.patch("looop_portable.backends.directory.tickets.TicketFiles.paths", return_value=())


PEER = "filelock.FileLock, threads"
RUNS: dict[str, tuple[Callable[[str, float], Turns], bool]] = {
    f"{OURS}, threads": (with_threads, True),
    f"{OURS}, threads, no kernel tells": (with_threads, False),
    f"{OURS}, threads, memory": (partial(with_threads, backend="memory"), True),
    f"{OURS}, tasks": (with_tasks, True),
    f"{OURS}, tasks, no kernel tells": (with_tasks, False),
    f"{OURS}, tasks, memory": (partial(with_tasks, backend="memory"), True),
    PEER: (with_file_lock, True),
}
"""Each, and whether the kernel tells of changes."""


def measure(setting: Setting) -> Result:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in RUNS}
    with ExitStack() as stack:
        places = {name: stack.enter_context(place(setting.memory)) for name in RUNS}
        for _ in range(setting.few(ROUNDS, FEW)):
            for name in RUNS:
                found[name].append(rates(name, places[name], QUICK if setting.quick else SECONDS))
    return result({name: tuple(map(statistics.median, zip(*each, strict=True))) for name, each in found.items()})


def rates(name: str, directory: str, seconds: float) -> tuple[float, float]:
    """Hand-overs in a second, and turns."""
    run, is_notified = RUNS[name]
    with ExitStack() as stack:
        if not is_notified:
            stack.enter_context(without_notifications())
        begin = time.monotonic()
        turns = run(directory, seconds)
        took = time.monotonic() - begin
    return sum(one != other for one, other in itertools.pairwise(turns)) / took, len(turns) / took


def result(found: dict[str, tuple[float, ...]]) -> Result:
    peer = found[PEER][0]
    rows = tuple(
        (name, f"{each[0]:,.0f}", f"{each[1]:,.0f}", f"{number(each[0] / peer)} x") for name, each in found.items()
    )
    about = (
        f"{MANY} threads, or tasks of one event loop, of one process want one claim, each again as soon as it has let go. "
        "A hand-over is when another has it than before; a turn is when anybody has it. On tmpfs. The more the better. "
        "Ours serves who came first; FileLock whoever tries at the right moment, most often the one that has just let go."
    )
    table = Table(
        "Hand-over within a process", about, ("", "hand-overs a second", "turns a second", "hand-overs, ratio"), rows
    )
    slow = tuple((name, 1e3 / max(each[0], 0.1)) for name, each in found.items())
    return Result((table,), (Panel(f"One hand-over among {MANY} of a process", "ms", slow),))


if __name__ == "__main__":
    for each in measure(setting_of()).tables:
        print(text(each))
