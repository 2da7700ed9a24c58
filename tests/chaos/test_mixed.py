"""A few seconds of chaos among several backends, and several systems, on one directory. See mixed.py."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("mixed.py")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chaos_mixed", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos_mixed"] = module  # Its classes look themselves up there.
    spec.loader.exec_module(module)
    return module


MIXED = load()


@functools.cache
def no_windows_python() -> str:
    """Why there is no Windows Python to run beside this one; empty if there is one."""
    python = MIXED.windows_python()
    if sys.platform == "win32" or not python:
        return "a Windows Python beside this one is missing: WINDOWS_PYTHON names none"
    imports = [python, "-c", "import click, portalocker, psutil"]
    done = subprocess.run(imports, capture_output=True, text=True, timeout=60, check=False)
    return f"the Windows Python {python} does not work: {done.stderr.strip()[-200:]}" if done.returncode else ""


def chaos(*options: str) -> str:
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counted(table: str, what: str) -> list[int]:
    """By backend."""
    return [int(word) for line in table.splitlines() if line.startswith(what + " ") for word in line.split()[1:]]


def test_processes_of_this_system_exclude_each_other_under_kills() -> None:
    table = chaos("--native", "4", "--seconds", "5")
    assert all(min(counted(table, what)) > 0 for what in ("acquisitions", "refused", "kills")), table


def test_linux_and_windows_processes_exclude_each_other_on_one_directory() -> None:
    if no_windows_python():
        pytest.skip(no_windows_python())
    table = chaos("--native", "3", "--wine", "3", "--seconds", "12", "--names", "2")
    assert len(counted(table, "acquisitions")) == 2, table
    assert all(min(counted(table, what)) > 0 for what in ("acquisitions", "kills")), table


class TestTheArbiter:
    """It sees what it is there to see."""

    @pytest.fixture
    def judge(self) -> Any:
        slots = [MIXED.Slot("native", "posix", False)] * 2
        arbiter = MIXED.Arbiter(slots, MIXED.Table())
        lives = [MIXED.Life(number, number, None, "") for number in range(2)]

        def says(who: int, *words: object) -> None:
            arbiter._judge(lives[who], list(map(str, words)))

        yield SimpleNamespace(says=says, table=arbiter.table, lives=lives)
        arbiter.close()

    def seen(self, judge: Any) -> list[str]:
        return [kind for kind in MIXED.VIOLATIONS if judge.table.total(kind)]

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
        judge.lives[0].killed_at = 1.0
        judge.says(1, "enter", "x", 2)
        judge.says(0, "enter", "x", 1)
        assert (self.seen(judge), judge.table.total("takeovers")) == ([], 1)

    def test_what_a_member_tells(self, judge: Any) -> None:
        judge.says(0, "tell", "lost", "x")
        judge.says(0, "tell", "failed", "y")
        assert self.seen(judge) == ["lost", "failed"]
