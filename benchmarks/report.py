"""All measurements in one run, printed, and written as docs/benchmarks.md and docs/benchmarks.svg.

    python benchmarks/report.py [--quick] [--only MEASUREMENT]... [--without [MEASUREMENT/]ROW]... [--output DIR] ...

Does not guarantee: figures for another machine, nor on one that is busy with something else; the load is told beside them.
A run that is whole is written to docs/, unless --output says where; any other one only where --output says.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import crowd
import fairness
import handover
import reap
import refusal
import startup
import together
import uncontended
from contenders import MAKERS
from machine import description
from plot import svg
from setting import Setting, setting_of
from tables import OURS, Result, markdown, text

MEASUREMENTS: dict[str, Callable[[Setting], Result]] = {
    "cycle": uncontended.measure,
    "refusal": refusal.measure,
    "handover": handover.measure,
    "together": together.measure,
    "crowd": crowd.measure,
    "fairness": fairness.measure,
    "startup": startup.measure,
    "reap": reap.measure,
}
BUSY = 1.0  # The load before a run from which on its figures are told to be rough.
DOCS = Path(__file__).parents[1] / "docs"
TITLE = f"{OURS} beside its peers: further left is better"
PROMISES = """\
Each contender is used as its documentation shows first, and waits as it does unless told otherwise: filelock tries every
50 ms, fasteners every 10 to 100, portalocker every 250, flufl.lock after up to 2 s by chance; flock waits in the kernel.

They do not promise the same. What rests on the kernel's locks (FileLock, portalocker, fasteners, flock) frees a dead
holder's at once, among processes that share those locks. SoftFileLock looks whether the holder's process is there;
StrictSoftFileLock waits for an operator; SoftFileLease and flufl.lock wait until a lifetime is over, and then let a second
one in if the first still works. Only ours numbers its holders. `flock(2), bare` is no peer: it is how fast the kernel
is."""

ROUGH = (
    "medians, worst cases and ratios have that in them, the slower a contender the more. "
    "Where the least is told, it is nearer to what an idle machine shows."
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure us and the peers in one run.")
    parser.add_argument("--quick", action="store_true", help="for trying, two minutes or so: figures of few rounds")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="this measurement; may be repeated")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="[MEASUREMENT/]ROW",
        help="leave a row out, of all measurements or of one; may be repeated",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write (a whole run: docs/; any other: nowhere)"
    )
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d"), help="the date to write (today)")
    parser.add_argument("--memory", metavar="DIR", help="a directory on tmpfs (/dev/shm)")
    parser.add_argument("--disk", metavar="DIR", help="a directory on a disk (the temporary directory)")
    given = parser.parse_args()
    rows = [*MAKERS, *(row for row in startup.COMMANDS if row != startup.BASE)]
    for word in given.without:
        measurement, row = parted(word)
        if row not in rows or measurement not in ("", *MEASUREMENTS):
            parser.error(
                f"--without {word!r}: there is no such row; the rows are {', '.join(map(repr, rows))}, "
                f"the measurements {', '.join(MEASUREMENTS)}"
            )
    for directory in filter(None, (given.memory, given.disk)):
        if not Path(directory).is_dir():
            parser.error(f"{directory}: no such directory")
    if given.output is None and not (given.quick or given.only or given.without):
        given.output = DOCS
    if given.output is not None:  # Now, and not after minutes.
        try:
            given.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--output {given.output}: {error.strerror}")
    return given


def parted(word: str) -> tuple[str, str]:
    """A word of --without: the measurement, or nothing for all, and the row."""
    measurement, slash, row = word.partition("/")
    return (measurement, row) if slash else ("", word)


def document(
    date: str, took: float, load: float, left_out: list[str], machine: dict[str, str], results: list[Result]
) -> str:
    lines = ["# Benchmarks", "", f"![{TITLE}](benchmarks.svg)", ""]
    lines += [
        f"Of one run of {took:.0f} s on {date}, as `tox -e bench` makes it. Other machines' times differ; ratios less."
    ]
    if load > BUSY:
        lines += ["", f"The machine was busy with other work (load {load:.1f} before): {ROUGH}"]
    if left_out:
        lines += ["", f"Left out of this run: {', '.join(left_out)}."]
    lines += ["", "| | |", "|---|---|", *(f"| {what} | {told} |" for what, told in machine.items()), ""]
    lines += [PROMISES, ""]
    tables = [markdown(table) for result in results for table in result.tables]
    return "\n".join(lines) + "\n" + "\n".join(tables)


def main() -> None:
    given = arguments()
    setting = setting_of(given.memory, given.disk)._replace(quick=given.quick)
    machine, load, begin, results = description(setting), os.getloadavg()[0], time.monotonic(), []
    for name in given.only or MEASUREMENTS:
        since = time.monotonic()
        without = frozenset(row for where, row in map(parted, given.without) if where in ("", name))
        results.append(MEASUREMENTS[name](setting._replace(without=without)))
        print(*map(text, results[-1].tables), sep="\n")
        print(f"{name}: {time.monotonic() - since:.0f} s", file=sys.stderr)
    if given.output is None:
        return
    took = time.monotonic() - begin
    panels = tuple(panel for result in results for panel in result.panels)
    subtitle = f"{given.date}; {machine['Processor']}; {machine['System']}; {machine['Python']}. Scales are logarithmic."
    left_out = sorted({*given.without, *(set(MEASUREMENTS) - set(given.only or MEASUREMENTS))})
    text_of_it = document(given.date, took, load, left_out, machine, results)
    (given.output / "benchmarks.md").write_text(text_of_it, encoding="utf-8")
    (given.output / "benchmarks.svg").write_text(svg(TITLE, subtitle, panels), encoding="utf-8")
    print(f"written: {given.output}/benchmarks.md, {given.output}/benchmarks.svg", file=sys.stderr)


if __name__ == "__main__":
    main()
