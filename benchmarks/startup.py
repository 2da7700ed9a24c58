"""Commands as whole processes, ours beside flock(1), `python -c pass` and `python -c "import click"`, run in turns.

python benchmarks/startup.py [RUNS]      (the `looop` of the same environment; default: 40 runs)
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from figures import ratio, spread
from setting import Setting, place, setting_of
from tables import OURS, Panel, Result, Table, duration, number, text

RUNS, QUICK = 40, 5
BASE = "python -c pass"
_LOOOP = str(Path(sys.executable).parent / "looop")
_TAKEN, _ANOTHER = "taken", "another"
COMMANDS = {
    BASE: [sys.executable, "-c", "pass"],
    f"{OURS}: looop claim": [_LOOOP, "claim", "NAME"],
    f"{OURS}: looop claim, refused": [_LOOOP, "claim", _TAKEN],
    f"{OURS}: looop check": [_LOOOP, "check", _TAKEN, "--generation", "1", "--session", _ANOTHER],
    f"{OURS}: looop show -q": [_LOOOP, "show", "-q", _TAKEN],
    f"{OURS}: looop unclaim": [_LOOOP, "unclaim", "NAME"],
    f"{OURS}: looop run -- true": [_LOOOP, "run", "--", "true"],
    f"{OURS}: looop run --claim": [_LOOOP, "run", "--claim", "NAME", "--", "true"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "flock FILE true": ["flock", "NAME", "true"],
}
"""By the name of their rows; the ratios are to the first. NAME is a fresh one in each turn."""
_REFUSED = f"{OURS}: looop claim, refused"


class Time(NamedTuple):
    """Seconds. `cpu`: of all processes, in them and in the kernel; what no system tells is as long as it took."""

    wall: float
    cpu: float


def timed(command: list[str], directory: str, code: int = 0) -> Time:
    """Raises CalledProcessError for a command that ends otherwise: its time would say nothing."""
    before, begin = _cpu(), time.perf_counter()
    found = subprocess.run(
        command,
        cwd=directory,
        env=_environment(directory),
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ).returncode
    wall = time.perf_counter() - begin
    if found != code:
        raise subprocess.CalledProcessError(found, command)
    return Time(wall, _cpu() - before if before else wall)


def _cpu() -> float:
    """Of all processes that were waited for; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0.0
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment(directory: str) -> dict[str, str]:
    return dict(os.environ, LOOOP_DATA_DIR=directory, LOOOP_SESSION_ID="bench")


def measure(setting: Setting) -> Result:
    return result(times(setting, setting.few(RUNS, QUICK)))


def times(setting: Setting, runs: int) -> dict[str, list[Time]]:
    found: dict[str, list[Time]] = {name: [] for name in COMMANDS if name == BASE or name not in setting.without}
    with place(setting.disk) as directory:
        session = ["session", "start", _ANOTHER, "--pid", str(os.getpid()), "--lease", "0"]
        for words in (session, ["claim", _TAKEN, "--session", _ANOTHER]):
            timed([_LOOOP, *words], directory)
        for run in range(runs):
            for name, each in found.items():
                words = [f"repo-{run}" if word == "NAME" else word for word in COMMANDS[name]]
                each.append(timed(words, directory, code=1 if name == _REFUSED else 0))
    return found


def result(found: dict[str, list[Time]]) -> Result:
    cpu = {name: [each.cpu for each in times] for name, times in found.items()}
    rows = tuple(
        (
            name,
            duration(spread(cpu[name]).median),
            duration(min(cpu[name])),
            f"{number(ratio(cpu[name], cpu[BASE]))} x",
            duration(spread([each.wall for each in times]).median),
        )
        for name, times in found.items()
    )
    about = (
        "Whole processes, and all that they start, on disk, in turns: the processor's time (user and system), and the time "
        f"from before they are started until they have ended. The ratio is the median of the processor's time to that of "
        f"`{BASE}`, run by run. The less the better."
    )
    columns = ("", "median", "least", "ratio", "from start to end")
    values = tuple((name, spread(each).median * 1e3) for name, each in cpu.items())
    return Result((Table("Start-up", about, columns, rows),), (Panel("A command, processor's time", "ms", values),))


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    for table in result(times(setting_of(), runs)).tables:
        print(text(table))


if __name__ == "__main__":
    main()
