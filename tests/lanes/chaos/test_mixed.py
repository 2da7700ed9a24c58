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

from .arbiter import VIOLATIONS, Arbiter, Table
from .harness import there, windows_python
from .member import WINES, WINES_BY_CALL, marking

SLOWEST_START = 3.0
"""Seconds for a process to begin, at most, by which a run is paced: it is then 90 s, and may wait for as much again."""


@functools.cache
def no_windows_python() -> str:
    """Why there is no Windows Python to run beside this one; empty if there is one."""
    python = windows_python()
    if sys.platform == "win32" or not python:
        return "a Windows Python beside this one is missing: WINDOWS_PYTHON names none"
    imports = [python, "-c", "import click, portalocker, psutil"]
    done = subprocess.run(imports, capture_output=True, text=True, timeout=60, check=False)
    return f"the Windows Python {python} does not work: {done.stderr.strip()[-200:]}" if done.returncode else ""


def paced(python: str, least: float = 5) -> list[str]:
    """For how long, and with what pauses: where a process takes long to begin, it must not be killed before it has.

    But not for longer than a test has, though everything here may have stood still while we looked.
    """
    began = time.monotonic()
    subprocess.run([python, "-c", "import click, json, socket, subprocess"], check=True)
    start = min(time.monotonic() - began, SLOWEST_START)
    return ["--seconds", f"{max(least, 30 * start):.1f}", "--pause", f"{max(0.4, 3 * start):.1f}"]


def without_wines_chatter(said: str) -> str:
    """Wine says once a process, of whoever asks for a volume, that it may not read the device below it."""
    return "\n".join(line for line in said.splitlines() if not line.startswith("wine: Read access denied for device "))


def chaos(*options: str) -> str:
    command = [sys.executable, "-m", "lanes.chaos.mixed", *options]
    tests = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=tests, env=there(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + without_wines_chatter(done.stderr)
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
    assert counted(table, "trouble") == [0, 0], table


class TestWhatIsWinesOwn:
    """Nothing but what member.py says: see there."""

    def words(self, name: str, number: int, *paths: object) -> str:
        def fails(*_: object) -> None:
            error = OSError(22, "the system's words")
            setattr(error, "winerror", number)  # noqa: B010 (which OSError has on Windows only)
            raise error

        with pytest.raises(OSError, match=r"system's words|Wine's own") as failed:
            marking(name, fails)(*paths)
        return str(failed.value.strerror)

    @pytest.mark.parametrize("number", [1, 2, 5, 6, 8, 32])
    @pytest.mark.parametrize("name", WINES_BY_CALL)
    def test_it_is_told_by_call_and_number(self, tmp_path: Path, name: str, number: int) -> None:
        paths = [tmp_path / "gone"] if name.endswith("stat") else [tmp_path / "gone", tmp_path / "new"]
        wines = number in WINES_BY_CALL[name]
        assert self.words(name, number, *paths) == (f"{WINES} {number} of {name}" if wines else "the system's words")

    @pytest.mark.parametrize("number", [6, 8])
    @pytest.mark.parametrize("name", ["link", "replace", "rename"])
    def test_what_is_there_by_its_old_name_has_met_a_failure(self, tmp_path: Path, name: str, number: int) -> None:
        (tmp_path / "there").touch()
        assert self.words(name, number, tmp_path / "there", tmp_path / "new") == "the system's words"

    def test_the_deed_is_done_and_its_answer_given(self, tmp_path: Path) -> None:
        (tmp_path / "old").write_text("content")
        marking("replace", os.replace)(tmp_path / "old", tmp_path / "new")
        assert marking("stat", os.stat)(tmp_path / "new").st_size == len("content")


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

    def test_what_is_no_violation_is_counted_and_hides_none(self, judge: Any) -> None:
        for _ in range(30):
            judge.says(0, "tell", "trouble", "x was away")
        judge.says(0, "tell", "wine", 2)
        judge.says(0, "tell", "wine", 1)
        assert (self.seen(judge), judge.table.total("wine"), judge.table.total("trouble")) == ([], 3, 30)
        judge.says(0, "tell", "lost", "x")
        assert "lost: x\n" in str(judge.table)
