"""Whether the calls of an engine are linearizable, while its clients and its server are killed and stopped: says porcupine.

    cd tests && python -m lanes.histories --server redis [--seconds 20] [--processes 6] [--keys 3] [--seed N] [--keep FILE]
        [--fault NAME]

Processes call `read` and `advance` of an engine on a few keys, with the number that they know last. They are killed, and so
is the server, as in chaos (lanes/chaos/engines/scenes.py). Each call is written down with its times; `--keep` has a copy. A
program in Go (checker/), whose search is porcupine's, says whether there is an order in which each call was done at one
moment between its beginning and its end. It knows one rule: of records with numbers, an `advance` from the number that
stands wins, and what is told stands.

A call without an answer may have been done at any time after it began, or never. One whose data nobody ever saw was never
done, or last of all: it is left out. One whose data were seen was done before that was told.
Where a store says that it may lose what it has confirmed, it may let its numbers leap; never may one come twice.
Prints a line for each key. Exit 1: one is not linearizable. 2: it took too long to find out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from lanes.chaos.engines.faults import FAULTS
from lanes.chaos.engines.scenes import STAGES, Missing, play

from .client import become

CHECKER = Path(__file__).parent / "checker"
LEAPS = ("redis-without-persistence", "redis-everysec", "redis-failover", "redis-two-masters")
Call = dict[str, Any]


def build(place: Path) -> str:
    """The checker. Raises `Missing` without Go, or where what it needs cannot be had."""
    if not shutil.which("go"):
        raise Missing("no go on PATH")
    made = place / "checker"
    done = subprocess.run(["go", "build", "-o", made, "."], cwd=CHECKER, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"the checker cannot be built: {done.stderr.strip()[-300:]}")
    return str(made)


def calls_in(lines: Iterable[str]) -> list[Call]:
    """What was asked, and what came of it, as the checker wants it."""
    calls: dict[str, Call] = {}
    for line in lines:
        found = json.loads(line)
        calls[found["id"]] = {**calls.get(found["id"], {}), **found}
    return judged(list(calls.values()))


def judged(calls: list[Call]) -> list[Call]:
    seen: dict[str, int] = {}
    for each in calls:
        if each.get("now"):
            seen[each["now"]] = min(seen.get(each["now"], each["return"]), each["return"])
    found = []
    for each in calls:
        if "number" in each:
            found.append(each)
        elif each["op"] == "advance" and each["data"] in seen:
            found.append({**each, "unknown": True, "return": max(seen[each["data"]], each["call"])})
    return found


def record(server: str, given: argparse.Namespace, seed: int, place: Path) -> list[Call]:
    """What the clients have written down."""
    stage = STAGES[server]()
    os.environ.update(stage.environment)
    if stage.module:
        importlib.import_module(stage.module)
    chance = random.Random(seed)
    director, line = play(stage, given.seconds)
    keys = tuple(f"key-{number}" for number in range(given.keys))
    pids: list[int] = []
    lives = 0
    try:
        told = _heard(line, b"ready")
        end = 0.0
        while not end or time.monotonic() < end:
            while len(pids) < given.processes:
                lives += 1
                pid = os.fork()
                if not pid:
                    become(stage.url, place, lives, keys, seed)
                pids.append(pid)
            if not end and _has_won(place):
                end = time.monotonic() + given.seconds
                line.sendall(b"x")
            time.sleep(chance.random() * 2)
            if end:
                _end(pids.pop(chance.randrange(len(pids))))
        told += _heard(line, b"over")
        time.sleep(3)
    finally:
        for pid in pids:
            _end(pid)
        line.close()
        os.waitpid(director, 0)
    assert b"failed" not in told, told
    return calls_in(text for file in sorted(place.glob("history-*")) for text in file.read_text().splitlines(keepends=True))


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _heard(line: socket.socket, what: bytes) -> bytes:
    line.settimeout(120)
    told = b""
    while what not in told:
        more = line.recv(65536)
        assert more, told
        told += more
    return told


def _has_won(place: Path) -> bool:
    return any('"won": true' in file.read_text() for file in place.glob("history-*"))


def run(server: str, given: argparse.Namespace) -> int:
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory(prefix="histories-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as named:
        place = Path(named)
        try:
            checker = build(place)
            calls = record(server, given, seed, place)
        except (Missing, pytest.skip.Exception) as why:
            print(f"{server}: was not run: {why}")
            return 0
        text = "".join(json.dumps(each) + "\n" for each in calls)
        if given.keep:
            Path(given.keep).write_text(text, encoding="utf-8")
        options = ["-leaps"] if server in LEAPS else []
        done = subprocess.run([checker, *options], input=text, stdout=subprocess.PIPE, text=True, check=False)
        won, unknown = sum(bool(each.get("won")) for each in calls), sum("unknown" in each for each in calls)
        print(f"{server}: seed {seed}, {len(calls)} calls, {won} won, {unknown} of them without an answer and done")
        print(done.stdout, end="")
    return done.returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Histories of engines: see the head of this file.")
    parser.add_argument("--server", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--keys", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", help="a file for the histories")
    parser.add_argument("--fault", choices=FAULTS, help="what is put back, for the checker to find")
    given = parser.parse_args(arguments)
    if given.fault:
        FAULTS[given.fault]()
    return max(run(server, given) for server in (STAGES if given.server == "all" else [given.server]))


if __name__ == "__main__":
    sys.exit(main())
