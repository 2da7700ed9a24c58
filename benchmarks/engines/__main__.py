"""All that is measured on the servers that are here, printed as Markdown. `tox -e engines-benchmark`, or:

    cd benchmarks && PYTHONPATH=../tests python -m engines [--quick] [--only SERVER]... [--part PART]...

Each ratio is of one run: what is compared took turns. Data are on tmpfs, so that the disk is out of it.
Does not guarantee: figures for another machine, nor on one that is busy with something else; the load is told beside them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from crowd import WAITERS
from figures import ratio, spread
from machine import processor
from setting import Setting, setting_of
from tables import Table, duration, markdown, number

from engines import command, measuring
from engines.contenders import HOLD, PACKAGES
from engines.measuring import ALIEN, BARE, CYCLE, LOGGED, REFUSED
from engines.stages import STAGES, Missing, Stage, staged
from engines.trips import VERBS
from looop_portable import LooopError

Row = tuple[str, ...]
ROWS = ("claim, release", "logged", "`with hold`", "refused", "alien")
"""Of a cycle, the ratio is to two bare transitions."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that all servers are ended, and their data removed.
    given = arguments()
    setting = setting_of()._replace(quick=given.quick)
    began, load = time.monotonic(), os.getloadavg()[0]
    rows: dict[str, list[Row]] = {part: [] for part in PARTS if part in (given.part or PARTS)}
    with tempfile.TemporaryDirectory(dir=setting.memory) as own:
        missing = []
        for name in given.only or STAGES:
            os.environ["LOOOP_DATA_DIR"] = f"{own}/{name}"  # It remembers which server its claims are on.
            try:
                with staged(name) as stage:
                    measuring.opened(stage.url)
                    for part in rows:
                        print(f"{name}: {part}", file=sys.stderr, flush=True)
                        found = PARTS[part][1](name, stage, setting)
                        print(*found, sep="\n", file=sys.stderr, flush=True)
                        rows[part] += found
            except (Missing, OSError, LooopError) as reason:
                missing.append(f"{name}: not all is measured: {reason}")
    print(f"{time.strftime('%Y-%m-%d')}, {processor()}, load before: {load:.2f}, {(time.monotonic() - began) / 60:.0f} min")
    print(f"Python {sys.version.split()[0]}, {', '.join(versions())}\n")
    for part, found in rows.items():
        print(markdown(PARTS[part][0]._replace(rows=tuple(found))))
    print("\n".join(missing))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engines", description="Measure claims on real servers.")
    parser.add_argument("--quick", action="store_true", help="for trying: figures of few rounds")
    parser.add_argument("--only", action="append", choices=STAGES, help="this server; may be repeated")
    parser.add_argument("--part", action="append", choices=PARTS, help="this part; may be repeated")
    return parser.parse_args()


def versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return found


def transitions(name: str, stage: Stage, setting: Setting) -> list[Row]:
    times = measuring.transitions(stage, setting)
    bare = times[BARE]
    twice = [2 * each for each in bare]
    asked = ((CYCLE, twice), (LOGGED, twice), (HOLD, twice), (REFUSED, bare), (ALIEN, bare))
    ours = [cell for row, base in asked for cell in (duration(spread(times[row]).median), times_of(times[row], base))]
    theirs = [
        (f"  {lock}", "", duration(spread(times[lock]).median), times_of(times[lock], twice), *[""] * (len(ours) - 2))
        for lock in stage.others()
    ]
    return [(name, duration(spread(bare).median), *ours), *theirs]


def times_of(times: Sequence[float], base: Sequence[float]) -> str:
    return f"{number(ratio(times, base))} x"


def hand_overs(name: str, stage: Stage, setting: Setting) -> list[Row]:
    """A bucket has no line: who waits there looks again and again, and is not measured."""
    if not stage.has_lines:
        return []
    rows = {HOLD: stage.url} | stage.others()
    found = {row: spread(each) for row, each in measuring.handed_over(rows, setting).items()}
    ours = found[HOLD]
    crowd = measuring.crowd(HOLD, stage.url, stage, setting)
    shares = [f"{number(each * 100)} %" for each in (crowd.still, crowd.server)]
    many = (duration(crowd.latency.median), f"{number(crowd.latency.median / ours.median)} x", *shares)
    return [
        (name, duration(ours.median), duration(ours.worst), "", *many),
        *(
            (f"  {lock}", duration(each.median), duration(each.worst), f"{number(ours.median / each.median)} x", *[""] * 4)
            for lock, each in found.items()
            if lock != HOLD
        ),
    ]


def trips(name: str, stage: Stage, _: Setting) -> list[Row]:
    return [(name, *map(str, measuring.trips(stage).values()))]


def commands(name: str, stage: Stage, setting: Setting) -> list[Row]:
    if not stage.url.startswith("redis:"):
        return []
    found = command.times(stage.url, setting.few(command.RUNS, command.QUICK))
    base = found[command.BASE]
    return [(f"{name}: {row}", duration(spread(each).median), times_of(each, base)) for row, each in found.items()]


PARTS: dict[str, tuple[Table, Callable[[str, Stage, Setting], list[Row]]]] = {
    "transitions": (
        Table(
            "Claim and release, and a refusal",
            "The median of rounds in which all take turns. The ratio is the median of those round by round: of a cycle to "
            "two bare transitions by the same client, of a refusal to one. `logged`: events are appended to a file, as by "
            "`Claims.open`. `alien`: the holder is of another host, judged by its heartbeat; else its process is looked "
            "at. Below each: the engine's own locks.",
            ("", "bare", *(cell for row in ROWS for cell in (row, "/ bare"))),
            (),
        ),
        transitions,
    ),
    "hand-overs": (
        Table(
            "Hand-over",
            "From before the call that releases until after the call that gets, by two processes; each has it for 20 to 80 "
            f"ms. Ours / theirs. Then {WAITERS} processes wait: a hand-over, its ratio to that with one, and CPU in "
            "percent of a core while one holds, of all of them and of the server.",
            ("", "1 waiter", "worst", "ours / it", "50 waiters", "/ 1 waiter", "50 idle", "the server"),
            (),
        ),
        hand_overs,
    ),
    "trips": (
        Table(
            "Round trips",
            "Counted on the wire.",
            ("", *VERBS),
            (),
        ),
        trips,
    ),
    "command": (Table("A command", "CPU of the whole process, in turns.", ("", "CPU", "ratio"), ()), commands),
}

if __name__ == "__main__":
    main()
