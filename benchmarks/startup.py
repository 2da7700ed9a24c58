"""`looop claim` as a whole process, beside `python -c "import click"`, run in turns.

python benchmarks/startup.py [RUNS]      (the `looop` of the same environment; default: 60 runs)
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(command: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    looop = str(Path(sys.executable).parent / "looop")
    with tempfile.TemporaryDirectory() as directory:
        environment = dict(os.environ, LOOOP_DATA_DIR=directory, LOOOP_SESSION_ID="bench")
        commands = {
            "python -c 'import click'": [sys.executable, "-c", "import click"],
            "looop claim": [looop, "claim", "NAME"],
            "python -c ''": [sys.executable, "-c", ""],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(runs):
            for name, command in commands.items():
                words = [f"repo-{run}" if word == "NAME" else word for word in command]
                times[name].append(timed(words, environment))
    base, first = statistics.median(next(iter(times.values()))), min(next(iter(times.values())))
    for name, found in times.items():
        median, least = statistics.median(found), min(found)
        ratios = f"{median / base:.2f} x  least {least / first:.2f} x"
        print(f"{median * 1e3:7.1f} ms  least {least * 1e3:6.1f}  {name:25} {ratios}")


if __name__ == "__main__":
    main()
