"""Getting it and letting it go while nobody else wants it: on tmpfs and on disk, the contenders in turns.

python benchmarks/uncontended.py
"""

from __future__ import annotations

from collections.abc import Callable

import cycle
from contenders import MAKERS
from figures import ratio, spread
from setting import Setting, in_turns, place, setting_of
from tables import OURS, Panel, Result, Table, duration, number, text

ROUNDS, QUICK = 40, 5


def measure(setting: Setting) -> Result:
    rounds = setting.few(ROUNDS, QUICK)
    found = []
    for base in (setting.memory, setting.disk):
        with place(base) as directory:
            found.append(in_turns(runs(directory, setting), rounds))
    return result(*found)


def runs(directory: str, setting: Setting) -> dict[str, Callable[[], object]]:
    """`hold` and the peers are made here; ours by the verbs, and the floor of its system calls, are from `cycle`."""
    made = {name: cycle_of(name, directory) for name in setting.kept(MAKERS)}
    found = {name: run for name, run in cycle.cycles(directory).items() if name != "ours: with hold"}
    by_verbs = {name.replace("ours: ", f"{OURS}: "): run for name, run in found.items()}
    first = dict(list(made.items())[:1])
    return first | {name: run for name, run in by_verbs.items() if name not in MAKERS} | made


def cycle_of(name: str, directory: str) -> Callable[[], object]:
    contender = MAKERS[name](directory)

    def run() -> None:
        assert contender.attempt()
        contender.release()

    return run


def result(memory: dict[str, list[float]], disk: dict[str, list[float]]) -> Result:
    first = next(iter(memory))
    rows = tuple(
        (
            name,
            *(duration(told) for times in (memory, disk) for told in (spread(times[name]).median, min(times[name]))),
            *(f"{number(ratio(times[name], times[first]))} x" for times in (memory, disk)),
        )
        for name in memory
    )
    about = (
        "One process gets it and lets it go, again and again; nobody else wants it. The median and the least of rounds in "
        f"which all take turns, and the median of the ratios, round by round, to the first row ({first!r}). The less "
        "the better."
    )
    columns = ("", "on tmpfs", "least", "on disk", "least", "ratio, tmpfs", "ratio, disk")
    panel = Panel(
        "One cycle, nobody else, tmpfs", "us", tuple((name, spread(memory[name]).median * 1e6) for name in memory)
    )
    return Result((Table("Uncontended cycle", about, columns, rows),), (panel,))


if __name__ == "__main__":
    for table in measure(setting_of()).tables:
        print(text(table))
