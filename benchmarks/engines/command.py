"""What a command costs that claims something in Redis, beside a bare interpreter that imports click and redis: CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BASE = "python -c 'import click, redis'"
COMMAND = "looop --backend redis://... claim NAME"
RUNS, QUICK = 20, 8


def times(url: str, runs: int) -> dict[str, list[float]]:
    """Seconds of CPU of each, in turns. Each claim is another one, by a session that is there."""
    looop = [str(Path(sys.executable).parent / "looop"), "--backend", url]
    _cpu([*looop, "session", "start", "bench", "--ttl", "1h"])
    found: dict[str, list[float]] = {BASE: [], COMMAND: []}
    for run in range(runs):
        found[BASE].append(_cpu([sys.executable, "-c", "import click, redis"]))
        found[COMMAND].append(_cpu([*looop, "claim", f"command-{run}"]))
    return found


def _cpu(words: list[str]) -> float:
    """Raises CalledProcessError for a command that fails: its time would say nothing."""
    environment = dict(os.environ, LOOOP_SESSION_ID="bench")
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return used.ru_utime + used.ru_stime
