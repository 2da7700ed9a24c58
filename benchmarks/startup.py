"""Commands as whole processes, ours beside `python -c "import click"` and flock(1), run in turns.

python benchmarks/startup.py [RUNS]      (the `looop` of the same environment; default: 40 runs)
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from figures import ratio, spread
from setting import Setting, place, setting_of
from tables import OURS, Panel, Result, Table, duration, number, text

RUNS, QUICK = 40, 5
BASE = "python -c 'import click'"
_LOOOP = str(Path(sys.executable).parent / "looop")
COMMANDS = {
    BASE: [sys.executable, "-c", "import click"],
    f"{OURS}: looop claim": [_LOOOP, "claim", "NAME"],
    f"{OURS}: looop run -- true": [_LOOOP, "run", "--", "true"],
    f"{OURS}: looop run --claim": [_LOOOP, "run", "--claim", "NAME", "--", "true"],
    "flock FILE true": ["flock", "NAME", "true"],
    "python -c ''": [sys.executable, "-c", ""],
}
"""By the name of their rows; the ratios are to the first. NAME is a fresh one each time."""


def timed(command: list[str], directory: str) -> float:
    """Raises CalledProcessError for a command that fails: its time would say nothing."""
    environment = dict(os.environ, LOOOP_DATA_DIR=directory, LOOOP_SESSION_ID="bench")
    begin = time.perf_counter()
    subprocess.run(
        command, cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - begin


def measure(setting: Setting) -> Result:
    return result(times(setting, setting.few(RUNS, QUICK)))


def times(setting: Setting, runs: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in COMMANDS if name == BASE or name not in setting.without}
    with place(setting.disk) as directory:
        for run in range(runs):
            for name, each in found.items():
                words = [f"repo-{run}" if word == "NAME" else word for word in COMMANDS[name]]
                each.append(timed(words, directory))
    return found


def result(found: dict[str, list[float]]) -> Result:
    rows = tuple(
        (name, duration(spread(each).median), duration(min(each)), f"{number(ratio(each, found[BASE]))} x")
        for name, each in found.items()
    )
    about = (
        "Whole processes, from before they are started until they have ended, on disk, in turns. The ratio is the median "
        f"of those to `{BASE}`, run by run: most of what a command line in Python costs. The less the better."
    )
    panel = Panel("A command, from start to end", "ms", tuple((n, spread(each).median * 1e3) for n, each in found.items()))
    return Result((Table("Start-up", about, ("", "median", "least", "ratio"), rows),), (panel,))


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    for table in result(times(setting_of(), runs)).tables:
        print(text(table))


if __name__ == "__main__":
    main()
