"""A few seconds of chaos among several backends, and several systems, on one directory. See mixed.py."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import looop_portable

from .arbiter import VIOLATIONS, Arbiter, Table
from .harness import windows_python


@functools.cache
def no_windows_python() -> str:
    """Why there is no Windows Python to run beside this one; empty if there is one."""
    python = windows_python()
    if sys.platform == "win32" or not python:
        return "a Windows Python beside this one is missing: WINDOWS_PYTHON names none"
    imports = [python, "-c", "import click, portalocker, psutil"]
    done = subprocess.run(imports, capture_output=True, text=True, timeout=60, check=False)
    return f"the Windows Python {python} does not work: {done.stderr.strip()[-200:]}" if done.returncode else ""


def there() -> dict[str, str]:
    """The environment of another Python, which finds the package where we do: that may be the current directory."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(looop_portable.__file__).parents[1]), *sys.path])}


def paced(python: str, least: float = 5) -> list[str]:
    """For how long, and with what pauses: where a process takes long to begin, it must not be killed before it has."""
    began = time.monotonic()
    subprocess.run([python, "-c", "import click, json, socket, subprocess"], check=True)
    start = time.monotonic() - began
    return ["--seconds", f"{max(least, 30 * start):.1f}", "--pause", f"{max(0.4, 3 * start):.1f}"]


def chaos(*options: str) -> str:
    command = [sys.executable, "-m", "chaos.mixed", *options]
    tests = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=tests, env=there(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counted(table: str, what: str) -> list[int]:
    """By backend."""
    return [int(word) for line in table.splitlines() if line.startswith(what + " ") for word in line.split()[1:]]


def test_processes_of_this_system_exclude_each_other_under_kills() -> None:
    table = chaos("--native", "4", "--names", "1", "--least", "20", *paced(sys.executable))
    assert all(min(counted(table, what)) > 0 for what in ("acquisitions", "refused", "kills")), table


def test_linux_and_windows_processes_exclude_each_other_on_one_directory() -> None:
    if no_windows_python():
        pytest.skip(no_windows_python())
    table = chaos("--native", "3", "--wine", "3", "--names", "2", "--least", "20", *paced(str(windows_python()), least=12))
    assert len(counted(table, "acquisitions")) == 2, table
    assert all(min(counted(table, what)) > 0 for what in ("acquisitions", "kills")), table


class TestTheArbiter:
    """It sees what it is there to see."""

    @pytest.fixture
    def judge(self) -> Any:
        arbiter = Arbiter(Table())

        def says(who: int, *words: object) -> None:
            arbiter.judge(who + 1, "label", list(map(str, words)))

        yield SimpleNamespace(says=says, table=arbiter.table, killed=lambda who: arbiter.killed(who + 1, "label"))
        arbiter.close()

    def seen(self, judge: Any) -> list[str]:
        return [kind for kind in VIOLATIONS if judge.table.total(kind)]

    def test_one_after_the_other_is_nothing(self, judge: Any) -> None:
        for generation in (1, 3, 4):
            judge.says(generation % 2, "enter", "x", generation)
            judge.says(generation % 2, "leave", "x", generation)
        judge.says(0, "enter", "x", 5)
        judge.says(1, "enter", "y", 1)
        assert (self.seen(judge), judge.table.total("acquisitions")) == ([], 5)

    def test_two_inside_at_once(self, judge: Any) -> None:
        judge.says(0, "enter", "x", 1)
        judge.says(1, "enter", "x", 2)
        assert self.seen(judge) == ["overlap"]

    def test_a_generation_that_does_not_grow(self, judge: Any) -> None:
        judge.says(0, "enter", "x", 2)
        judge.says(0, "leave", "x", 2)
        judge.says(1, "enter", "x", 2)
        assert self.seen(judge) == ["generation"]

    def test_a_killed_one_is_taken_over_from(self, judge: Any) -> None:
        judge.says(0, "enter", "x", 1)
        judge.killed(0)
        judge.says(1, "enter", "x", 2)
        judge.says(0, "enter", "x", 1)
        assert (self.seen(judge), judge.table.total("takeovers")) == ([], 1)

    def test_what_a_member_tells(self, judge: Any) -> None:
        judge.says(0, "tell", "lost", "x")
        judge.says(0, "tell", "failed", "y")
        assert self.seen(judge) == ["lost", "failed"]
