"""What a keeper does in a job that would end it, and what is said of it: on a system that is scripted."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_jobs

import looop_portable
from looop_portable.system.processes import python
from looop_portable.system.processes.python import KEPT_BY, TIED, Fate, end, fate_in, launch, leave_job, start

KILLS, ALLOWS_BREAKAWAY, SILENT = 0x2000, 0x800, 0x1000
HERE = f"print('{KEPT_BY}7', flush=True)"
popen = python._popen


@pytest.mark.parametrize(
    ("limits", "fate"),
    [
        (0, Fate.FREE),
        (ALLOWS_BREAKAWAY, Fate.FREE),
        (KILLS, Fate.TIED),
        (KILLS | ALLOWS_BREAKAWAY, Fate.LEAVES),
        (KILLS | SILENT, Fate.FREE),  # A launcher's: what we start is not in it.
        (KILLS | SILENT | ALLOWS_BREAKAWAY, Fate.FREE),
    ],
)
def test_a_job_ends_what_it_kills_when_it_is_closed(limits: int, fate: Fate) -> None:
    assert fate_in(limits) is fate


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bool]]:
    """We are in a job of these limits, which lets go, or not, what asks for it; what was asked for."""

    def enter(limits: int, *, allows_breakaway: bool) -> list[bool]:
        asked: list[bool] = []

        def start(
            command: list[str], stdout: int, more: object = None, *, breaks_away: bool = False
        ) -> subprocess.Popen[str]:
            asked.append(breaks_away)
            if breaks_away and not allows_breakaway:
                raise PermissionError(13, "Access is denied")
            return popen(command, stdout)

        monkeypatch.setattr(python, "_popen", start)
        monkeypatch.setattr(python, "_own_limits", lambda: limits)
        return asked

    return enter


def command(program: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program]


@pytest.mark.parametrize(
    ("limits", "allows_breakaway", "tied"),
    [
        (0, True, False),
        (KILLS | ALLOWS_BREAKAWAY, True, False),
        (KILLS, False, True),
        (0, False, True),
        (KILLS | SILENT, False, False),
    ],
)
def test_a_keeper_is_started_outside_of_the_job_or_it_is_told(
    job: Callable[..., list[bool]], limits: int, allows_breakaway: bool, tied: bool
) -> None:
    asked = job(limits, allows_breakaway=allows_breakaway)
    assert launch(command(HERE)) == (f"{KEPT_BY}7", tied)
    assert asked == [True] if allows_breakaway else [True, False]


def test_what_the_keeper_says_of_its_own_job_counts_too() -> None:
    assert launch(command(f"print('{TIED}'); {HERE}")) == (f"{KEPT_BY}7", True)
    assert launch(command(f"print('{TIED}'); raise SystemExit(3)")).tied is False


@pytest.mark.parametrize(
    ("limits", "allows_breakaway", "anew", "says"),
    [
        (0, True, False, ""),
        (KILLS | ALLOWS_BREAKAWAY, True, True, ""),
        (KILLS | ALLOWS_BREAKAWAY, False, False, f"{TIED}\n"),  # One around it does not.
        (KILLS, True, False, f"{TIED}\n"),
    ],
)
def test_a_keeper_in_a_job_that_would_end_it_starts_anew_outside_or_says_so(
    job: Callable[..., list[bool]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    limits: int,
    allows_breakaway: bool,
    anew: bool,
    says: str,
) -> None:
    asked = job(limits, allows_breakaway=allows_breakaway)
    started: list[list[str]] = []
    begin = python._popen

    def start(command: list[str], stdout: object, *, breaks_away: bool = False) -> subprocess.Popen[str]:
        started.append(command)
        with begin([sys.executable, "-I", "-S", "-c", ""], subprocess.DEVNULL, breaks_away=breaks_away) as child:
            child.wait()
        return child

    monkeypatch.setattr(python, "_popen", start)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "looop_portable", "session", "keep"])
    assert leave_job() is anew
    assert capfd.readouterr().out == says
    assert asked == ([True] if limits & ALLOWS_BREAKAWAY else [])
    assert started == ([[sys.executable, "-m", "looop_portable", "session", "keep"]] if asked else [])


UNPACKED = f"""
import sys
sys.path.insert(0, sys.argv[1])
from looop_portable.system.processes.python import command, end, launch, start
print(launch(command("-c", "import looop_portable; print('{KEPT_BY}' + looop_portable.__file__, flush=True)")).said)
child = start("looop_portable.told", {{"what": "a \u00fc"}})
print(child.stdout.readline().rstrip())
end(child)
"""
TOLD = """
import looop_portable
from looop_portable.system.processes.python import job
def serve():
    print(job()["what"], looop_portable.__file__, flush=True)
"""


def test_the_package_is_found_where_ours_was_also_in_what_somebody_has_unpacked(tmp_path: Path) -> None:
    package = tmp_path / "unpacked" / "site-packages" / "looop_portable"
    shutil.copytree(Path(looop_portable.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "told.py").write_text(TOLD, encoding="utf-8")
    (tmp_path / "json.py").write_text("raise SystemExit('this is no module of Python')", encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-P", "-c", UNPACKED, str(package.parent)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    here = str(package / "__init__.py")
    assert found.stdout.splitlines() == [f"{KEPT_BY}{here}", f"a \u00fc {here}"]


def test_a_child_that_has_failed_leaves_its_last_words() -> None:
    child = start("looop_portable.no_such_module", {})
    child.wait()
    assert end(child) == "ModuleNotFoundError: No module named 'looop_portable.no_such_module'"


@needs_jobs
def test_nothing_happens_to_us_when_somebody_logs_off_and_all_else_is_left_to_others() -> None:
    system = importlib.import_module("looop_portable.system.processes.windows_system")
    control_c, control_break, close, logoff, shutdown = 0, 1, 2, 5, 6
    assert system.on_console_event(logoff) is True
    assert [system.on_console_event(each) for each in (control_c, control_break, close, shutdown)] == [False] * 4
    system.stay_at_logoff()
