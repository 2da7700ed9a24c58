"""Fifty processes wait: what they cost while somebody holds, and while it is handed over; and how long a hand-over takes.

python benchmarks/crowd.py
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from contenders import MAKERS
from figures import Spread, hand_overs, spread
from handover import HOLDS
from setting import Setting, setting_of
from tables import Panel, Result, Table, duration, number, text
from troupe import Troupe, troupe_of

WAITERS = 50
STILL, STILL_QUICK = 2.0, 1.0  # Seconds for which somebody holds and nothing happens.
HAND_OVERS, QUICK = 60, 10
LONGEST = 5.0  # Seconds, after which a contender has had its hand-overs.


class Found(NamedTuple):
    """CPU of all processes together, in cores: while one holds, and during hand-overs."""

    latency: Spread
    still: float
    moving: float


def measure(setting: Setting) -> Result:
    return result({name: of(name, setting) for name in setting.kept(MAKERS)})


def of(name: str, setting: Setting) -> Found:
    with troupe_of(name, WAITERS + 1, setting.memory) as troupe:
        troupe.hold()
        troupe.gather(range(1, WAITERS + 1))
        still = cores(troupe, lambda: time.sleep(STILL_QUICK if setting.quick else STILL))
        moving = cores(troupe, lambda: hand_it_over(troupe, setting.few(HAND_OVERS, QUICK)))
        return Found(spread(hand_overs(troupe.turns)), still, moving)


def cores(troupe: Troupe, run: Callable[[], object]) -> float:
    begin, before = time.monotonic(), troupe.cpu()
    run()
    used = troupe.cpu() - before
    return used / (time.monotonic() - begin)


def hand_it_over(troupe: Troupe, times: int) -> None:
    chance, until = random.Random(times), time.monotonic() + LONGEST
    for _ in range(times):
        time.sleep(chance.uniform(*HOLDS))
        troupe.hand_over()
        if time.monotonic() > until:
            return


def result(found: dict[str, Found]) -> Result:
    first = next(iter(found.values()))
    rows = tuple(
        (
            name,
            f"{each.latency.size:,}",
            duration(each.latency.median),
            duration(each.latency.worst),
            f"{number(each.latency.median / first.latency.median)} x",
            f"{number(each.still * 100)} %",
            f"{number(each.moving * 100)} %",
        )
        for name, each in found.items()
    )
    about = (
        f"{WAITERS} processes wait for one that holds, on tmpfs. First it holds for {STILL:.0f} s; then it is handed over, "
        "each having it for 20 to 80 ms, and who has had it waits again. CPU is that of all processes, threads and "
        "children together, in percent of one core. One contender after the other. The less the better."
    )
    columns = ("", "hand-overs", "median", "worst", "median, ratio", "CPU, one holds", "CPU, hand-overs")
    latencies = Panel(
        f"Hand-over, {WAITERS} waiters, median",
        "ms",
        tuple((name, each.latency.median * 1e3) for name, each in found.items()),
    )
    burden = Panel(
        f"CPU of {WAITERS} waiters, one holds",
        "% of a core",
        tuple((name, each.still * 100) for name, each in found.items()),
    )
    return Result((Table(f"{WAITERS} waiters", about, columns, rows),), (latencies, burden))


if __name__ == "__main__":
    for table in measure(setting_of()).tables:
        print(text(table))
