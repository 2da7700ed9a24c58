"""Real processes that share an engine, the example's: never two are inside, and what one held that was killed goes on."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_sqlite
from support.engines import EXAMPLES, sqlite_engine

from looop_portable import Claims
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed

pytestmark = needs_sqlite

PATIENCE = 120
CREW, KILLS, ROUNDS = 3, 8, 100

MEMBER = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from sqlite_engine import SqliteEngine
from looop_portable import Claims, Held, Unavailable
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed

store, log = sys.argv[2:]
written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
claims = Claims(OnEngine(SqliteEngine(store, local=True), "sqlite"))

def patiently(verb):
    while True:
        try:
            return verb()
        except Unavailable:
            time.sleep(0.001)

me = patiently(lambda: claims.sessions.register(f"w{os.getpid()}")).holder
while True:
    found = patiently(lambda: claims.claim("n", me))
    if not isinstance(found, Held):
        os.write(written, f"in {found.lease.generation} {elapsed()!r}\\n".encode())
        time.sleep(0.01)
        os.write(written, f"out {found.lease.generation} {elapsed()!r}\\n".encode())
        patiently(lambda: claims.release("n", me))
    time.sleep(0.001)
"""


class Member:
    """A process that claims and lets go, and writes down when it was inside."""

    def __init__(self, store: Path, log: Path) -> None:
        self.log = log
        self.killed = float("inf")
        log.touch()
        self._process = subprocess.Popen([sys.executable, "-c", MEMBER, str(EXAMPLES), str(store), str(log)])

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def is_inside(self) -> bool:
        lines = self.lines()
        return bool(lines) and lines[-1][0] == "in"

    def kill(self) -> None:
        self.killed = min(self.killed, elapsed())
        self._process.kill()
        self._process.wait()

    def stays(self) -> Iterator[tuple[float, float, int]]:
        """From when to when it was inside, and by which generation. One that was killed was there until then."""
        began = {int(number): float(at) for what, number, at in self.lines() if what == "in"}
        ended = {int(number): float(at) for what, number, at in self.lines() if what == "out"}
        for number, at in began.items():
            yield at, ended.get(number, self.killed), number


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[list[Member]]:
    members: list[Member] = []
    try:
        yield members
    finally:
        for member in members:
            member.kill()


def test_never_two_are_inside_and_what_one_held_that_was_killed_goes_on(tmp_path: Path, crew: list[Member]) -> None:
    store, numbers = tmp_path / "claims.sqlite", itertools.count()

    def join() -> Member:
        crew.append(Member(store, tmp_path / f"log-{next(numbers)}"))
        return crew[-1]

    living, end = [join() for _ in range(CREW)], elapsed() + PATIENCE
    for _ in range(KILLS):
        while not (inside := [member for member in living if member.is_inside()]):
            assert elapsed() < end, "nobody comes in any more"
            time.sleep(0.001)
        inside[0].kill()
        living.remove(inside[0])
        living.append(join())
        before = sum(len(member.lines()) for member in living)
        while sum(len(member.lines()) for member in living) < before + 4:
            assert elapsed() < end, "what was held by the one that was killed is held for ever"
            time.sleep(0.001)
    for member in living:
        member.kill()
    stays = sorted(stay for member in crew for stay in member.stays())
    assert len(stays) > KILLS
    for (_, left, _), (entered, _, _) in itertools.pairwise(stays):
        assert left <= entered, "two were inside"
    numbers_held = [number for _, _, number in stays]
    assert numbers_held == sorted(set(numbers_held))
    claims = Claims(OnEngine(sqlite_engine().SqliteEngine(str(store), local=True), "sqlite"))
    assert claims.reap().failed == ()
    assert claims.list() == []


def test_processes_that_advance_at_once_never_win_the_same_number(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNTER, str(EXAMPLES), str(tmp_path / "claims.sqlite")]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(CREW)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline().strip() == b"ready"
        for process in processes:
            assert process.stdin
            process.stdin.write(b"go\n")
            process.stdin.flush()
        won = [int(number) for process in processes for number in process.communicate(timeout=PATIENCE)[0].split()]
    assert [process.returncode for process in processes] == [0] * CREW
    assert len(won) >= ROUNDS
    assert sorted(won) == list(range(1, max(won) + 1))


COUNTER = f"""
import sys
sys.path.insert(0, sys.argv[1])
from sqlite_engine import SqliteEngine
from looop_portable.system.clock import elapsed
engine, number = SqliteEngine(sys.argv[2], seconds=60), 0
print("ready", flush=True)
sys.stdin.readline()
for _ in range({ROUNDS}):
    won, now = engine.advance("claim", "n", number, b"x", not_after=elapsed() + 600)
    number = now.number
    if won:
        print(number)
"""
