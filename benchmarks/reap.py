"""Listing, and one sweep of the reaper, over many claims of up to 1,000 sessions, half of them dead, in one process.

    python benchmarks/reap.py [DIRECTORY]      (default: /dev/shm, else the temporary directory)

For 10 to 10,000 claims: how long, how long a claim, and how often each session's process was looked at while sweeping (must
be once). A time that grows with the claims stays the same a claim. The dead are sessions of processes that have run and are
gone.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from typing import NamedTuple

from setting import Setting, place, setting_of
from tables import Result, Table, duration, number, text

from looop_portable import Claims
from looop_portable.backends import open_backend
from looop_portable.protocol.liveness import Here, ProcessState
from looop_portable.protocol.records import Holder
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.processes import SYSTEM

SESSIONS, SIZES, SIZES_QUICK = 1_000, (10, 100, 1_000, 10_000), (10, 100, 1_000)
TIMES = 3


class Counting:
    """The system's `Processes`, with a count of the looks at each process.

    Every session is given a pid of its own, though 1,000 processes do not run here: the living stand for this process,
    the dead for one that is gone. The same question is asked of the system, so a look costs what it costs.
    """

    def __init__(self, dead: int) -> None:
        self.looks: Counter[int] = Counter()
        self._dead = dead

    def here(self) -> Here:
        return SYSTEM.here()

    def start_of(self, pid: int) -> str:
        return str(pid)

    def state(self, pid: int, start: str) -> ProcessState:
        self.looks[int(start)] += 1
        real = self._dead if pid % 2 else os.getpid()
        return SYSTEM.state(real, "")


def corpse() -> int:
    """The pid of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class Found(NamedTuple):
    """Seconds to list `size` claims, and for one sweep of them; and the most looks at one session's process in it."""

    size: int
    listing: float
    sweeping: float
    looks: int


def of(directory: str, size: int) -> Found:
    counting = Counting(corpse())
    backend = open_backend("posix", directory)
    claims = Claims(backend, Claims.open(directory, "posix").events, Sessions(backend.sessions, counting))
    found = [claims.sessions.register(f"session-{pid}", pid=pid) for pid in range(1, min(SESSIONS, size) + 1)]
    for number_of_claim in range(size):
        registration = found[number_of_claim % len(found)]
        claims.claim(f"repo-{number_of_claim}", Holder(registration.session, registration.incarnation))
    gc.collect()
    begin = time.perf_counter()
    listed = claims.list()
    listing = time.perf_counter() - begin
    assert len(listed) == size
    counting.looks.clear()
    gc.collect()
    begin = time.perf_counter()
    outcome = claims.reap()
    sweeping = time.perf_counter() - begin
    assert (len(outcome.reaped), outcome.kept, outcome.failed) == (size // 2, size - size // 2, ())
    return Found(size, listing, sweeping, max(counting.looks.values()))


def measure(setting: Setting) -> Result:
    found = []
    for size in SIZES_QUICK if setting.quick else SIZES:
        several = []
        for _ in range(1 if size > 1_000 else TIMES):
            with place(setting.memory) as directory:
                several.append(of(directory, size))
        found.append(
            Found(
                size,
                statistics.median(each.listing for each in several),
                statistics.median(each.sweeping for each in several),
                max(each.looks for each in several),
            )
        )
    return result(found)


def result(found: list[Found]) -> Result:
    base = found[-2]
    rows = tuple(
        (
            f"{each.size:,} claims",
            duration(each.listing),
            duration(each.listing / each.size),
            duration(each.sweeping),
            duration(each.sweeping / each.size),
            f"{each.looks} x",
        )
        for each in found
    )
    last = found[-1]
    about = (
        "One process lists all claims (`Claims.list`), then sweeps (`Claims.reap`), on tmpfs; up to "
        f"{SESSIONS:,} sessions, half of them dead. From {base.size:,} to {last.size:,} claims, "
        f"{last.size / base.size:.0f} x, the list takes {number(last.listing / base.listing)} x as long and the sweep "
        f"{number(last.sweeping / base.sweeping)} x. Looks: the most at one session's process in a sweep."
    )
    columns = ("", "list", "a claim", "sweep", "a claim", "looks")
    return Result((Table("Listing and reaping", about, columns, rows),))


def main() -> None:
    for table in measure(setting_of(*sys.argv[1:2])).tables:
        print(f"{table.about}\n\n{text(table)}")


if __name__ == "__main__":
    main()
