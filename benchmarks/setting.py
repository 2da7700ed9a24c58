"""Where the measurements run, of whom, and for how long; and contenders that take turns."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

LEAST = 5e-3  # Seconds of one contender's part of a round, if its cycles are faster than that.


class Setting(NamedTuple):
    """`memory` and `disk` are directories in which to make others; `without`: rows that are left out."""

    memory: str
    disk: str
    quick: bool = False
    without: frozenset[str] = frozenset()

    def few(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole

    def kept(self, rows: Iterable[str]) -> list[str]:
        return [name for name in rows if name not in self.without]


def setting_of(memory: str | None = None, disk: str | None = None) -> Setting:
    """Else /dev/shm and the temporary directory."""
    return Setting(
        memory or ("/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()), disk or tempfile.gettempdir()
    )


@contextmanager
def place(base: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as directory:
        yield directory


def in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one run of each, round by round. A noisy machine disturbs all alike, as each round has all of them."""
    often = {name: _often(run) for name, run in runs.items()}
    timed: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            timed[name].append(_seconds(run, often[name]))
    return timed


def _often(run: Callable[[], object]) -> int:
    """How many runs make a part of a round. The first is not counted: it makes what later ones find."""
    run()
    return max(1, min(100, round(LEAST / min(_seconds(run, 1) for _ in range(3)))))


def _seconds(run: Callable[[], object], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - begin) / times
