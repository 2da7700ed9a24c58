"""Hand-over: from the beginning of a release until the one process that waits has it. The contenders in turns.

python benchmarks/handover.py
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

from contenders import MAKERS
from figures import hand_overs, spread
from setting import Setting, setting_of
from tables import Panel, Result, Table, duration, number, text
from troupe import Troupe, troupe_of

ROUNDS, QUICK = 8, 2
EACH = 5  # Hand-overs of one contender in a round, if they do not take longer than
LONGEST = 1.5  # seconds.
HOLDS = 0.02, 0.08  # Seconds, evenly spread. Were they all alike, they would hit or miss the beat of who polls.


def measure(setting: Setting) -> Result:
    with ExitStack() as stack:
        names = setting.kept(MAKERS)
        troupes = [stack.enter_context(troupe_of(name, 2, setting.memory)) for name in names]
        for troupe in troupes:
            troupe.hold()
            troupe.gather(range(1, 2))
        for number_of_round in range(setting.few(ROUNDS, QUICK)):
            for troupe in troupes:
                one_round(troupe, random.Random(number_of_round))
        return result({troupe.name: hand_overs(troupe.turns) for troupe in troupes})


def one_round(troupe: Troupe, chance: random.Random) -> None:
    until = time.monotonic() + LONGEST
    for _ in range(EACH):
        time.sleep(chance.uniform(*HOLDS))
        troupe.hand_over()
        if time.monotonic() > until:
            return


def result(latencies: dict[str, list[float]]) -> Result:
    spreads = {name: spread(found) for name, found in latencies.items()}
    first = next(iter(spreads.values()))
    rows = tuple(
        (
            name,
            f"{found.size:,}",
            duration(found.median),
            duration(found.worst),
            f"{number(found.median / first.median)} x",
            f"{number(found.worst / first.worst)} x",
        )
        for name, found in spreads.items()
    )
    about = (
        "Two processes hand it over to each other, on tmpfs; each has it for 20 to 80 ms. Measured from the moment before "
        "the call that releases to the moment after the call that gets. Ratios to the first row. The less the better."
    )
    table = Table(
        "Hand-over, 1 waiter", about, ("", "hand-overs", "median", "worst", "median, ratio", "worst, ratio"), rows
    )
    return Result((table,), (Panel("Hand-over, 1 waiter, median", "ms", panel(latencies)),))


def panel(latencies: dict[str, list[float]]) -> tuple[tuple[str, float], ...]:
    return tuple((name, spread(found).median * 1e3) for name, found in latencies.items())


if __name__ == "__main__":
    for table in measure(setting_of()).tables:
        print(text(table))
