"""Chaos on one directory among processes of different backends and of different systems, killed in the middle.

    cd tests && python -m lanes.chaos.mixed [--native 4] [--wine 4] [--backends posix] [--seconds 60] [--names 3]
        [--directory DIR]

`--native` processes run on this Python and take turns at `--backends`; `--wine` ones run on the Windows Python that
$WINDOWS_PYTHON names (default: ../shared/windows/python beside the checkout), with the backend `windows`. Of each kind one
is a reaper. Prints a table; exit 1: an overlap, a generation that did not grow, a lost claim, a stuck name, a failure. What
is seen, and what not: see arbiter.py.

A killed one is told dead by its own kind only: of another system's sessions nothing is known on the same machine until
they give heartbeats. So each kind takes over from its own. In the end, when all are dead, one of each kind is started, and
every name must be won once more.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile

from .arbiter import Arbiter, Table
from .harness import PATIENCE, Harness, Setting, Slot, library_in, stuck, windows_python


def slots_of(native: int, wine: int, backends: list[str]) -> list[Slot]:
    named = [backends[number % len(backends)] for number in range(native)]
    slots = [Slot("native", backend, backend, number == native - 1) for number, backend in enumerate(named)]
    return slots + [Slot("wine", "windows", "windows", number == wine - 1) for number in range(wine)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Chaos of several systems: see the head of this file.")
    parser.add_argument("--native", type=int, default=4)
    parser.add_argument("--wine", type=int, default=0)
    parser.add_argument("--backends", default="windows" if sys.platform == "win32" else "posix")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--names", type=int, default=3)
    parser.add_argument("--least", type=int, default=1, help="acquisitions of each backend, and refusals, to see")
    parser.add_argument("--pause", type=float, default=0.4, help="the longest time between two kills, in seconds")
    parser.add_argument("--wait", type=float, default=0, help="seconds, at most, for which a member waits for a claim")
    parser.add_argument("--directory", help="what is under test (default: a new one)")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args(arguments)
    if given.wine and not windows_python():
        parser.error("there is no Windows Python: set WINDOWS_PYTHON")
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    table = Table()
    arbiter = Arbiter(table)
    with tempfile.TemporaryDirectory(prefix="mixed-", dir=given.directory, ignore_cleanup_errors=True) as base:
        setting = Setting(("127.0.0.1", arbiter.port), f"{base}/data", library_in(f"{base}/library"), given.names, seed)
        setting = setting._replace(pause=given.pause, wait=given.wait)
        harness = Harness(slots_of(given.native, given.wine, given.backends.split(",")), setting, arbiter)
        labels, least = {slot.label for slot in harness.slots}, int(given.least)

        def enough() -> bool:
            seen = [table.counts.get(("acquisitions", label), 0) for label in labels]
            return min(table.total("refused"), *seen) >= least

        harness.run(given.seconds, enough)
        try:
            harness.start_heirs()
            for fact in stuck(arbiter, given.names, PATIENCE):
                table.accuse("stuck", "", fact)
        finally:
            harness.kill_all()
        for fact in harness.ended:
            table.accuse("failed", "", fact)
        arbiter.close()
    print(f"seed {seed}", table, sep="\n")
    return int(table.violated)


if __name__ == "__main__":
    sys.exit(main())
