"""Whether who comes first is served first: how often a waiter is overtaken by those that came later.

python benchmarks/fairness.py

Twice: with members that ask again when another has it, so that all that can overtake are those that wait already; and with
members that ask again as soon as they have let go, as a loop in a program does, which may take it from those that wait.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from contenders import MAKERS
from figures import Spread, overtakings, shares, spread
from setting import Setting, setting_of
from tables import OURS, Panel, Result, Table, number, text
from troupe import troupe_of

WAITERS = 20
HAND_OVERS, QUICK = 2_000, 100
OURS_LONGEST, LONGEST, LONGEST_QUICK = 20.0, 3.0, 1.0  # Seconds for ours; and after which a peer has had its hand-overs.


class Found(NamedTuple):
    """`never`: the part of the waits that nobody overtook. `turns`: the fewest and the most of one member."""

    passed: Spread
    mean: float
    never: float
    turns: tuple[int, int]
    seconds: float


def measure(setting: Setting) -> Result:
    found = {at_once: {name: of(name, setting, at_once) for name in setting.kept(MAKERS)} for at_once in (False, True)}
    return Result(
        (table(found[False], "when another has it"), table(found[True], "as soon as it has let go")),
        (
            Panel(
                "Overtaken in one wait, worst",
                f"times, {WAITERS} waiters",
                tuple((n, f.passed.worst) for n, f in found[True].items()),
            ),
        ),
    )


def of(name: str, setting: Setting, at_once: bool) -> Found:
    longest = LONGEST_QUICK if setting.quick else OURS_LONGEST if name.startswith(OURS) else LONGEST
    with troupe_of(name, WAITERS + 1, setting.memory) as troupe:
        troupe.hold()
        troupe.gather(range(1, WAITERS + 1))
        begin = time.monotonic()
        for _ in range(setting.few(HAND_OVERS, QUICK)):
            troupe.hand_over(at_once)
            if time.monotonic() - begin > longest:
                break
        seconds = time.monotonic() - begin
        passed = overtakings(troupe.turns[1:], troupe.asking.values())
        turns = shares(troupe.turns[1:], WAITERS + 1)
    return Found(spread(passed), sum(passed) / len(passed), passed.count(0) / len(passed), turns, seconds)


def table(found: dict[str, Found], when: str) -> Table:
    rows = tuple(
        (
            name,
            f"{each.passed.size:,}",
            f"{number(each.never * 100)} %",
            number(each.mean),
            number(each.passed.median),
            number(each.passed.most),
            number(each.passed.worst),
            f"{each.turns[0]:,} to {each.turns[1]:,}",
        )
        for name, each in found.items()
    )
    about = (
        f"{WAITERS} processes wait; who has it lets go at once, and asks again {when}. For each wait: how many that had "
        f"announced themselves later had it earlier; waits that have not ended count too. {HAND_OVERS:,} turns, or as many "
        f"as a peer has in {LONGEST:.0f} s. The less the better, and the more even the turns: who takes it again and again "
        "is never overtaken, so it is the worst and the turns that show whether others starve."
    )
    columns = ("", "waits", "never overtaken", "mean", "median", "99 of 100", "worst", "turns of one process")
    return Table(f"Fairness: who has had it asks again {when}", about, columns, rows)


if __name__ == "__main__":
    for each in measure(setting_of()).tables:
        print(text(each))
