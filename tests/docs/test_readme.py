"""The README's first command and its crontab do what it says, and the documented rule of evidence is the code's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import needs_bash
from support.pages import blocks_of

from looop_portable.protocol.inquiry import WORTH

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_documented_rule_of_evidence_is_the_code_s() -> None:
    evidence = (ROOT / "docs" / "explanation" / "evidence.md").read_text(encoding="utf-8")
    table = evidence.partition("| seen | worth |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| {seen.value} | {worth.value} |" for seen, worth in WORTH.items()]


def test_the_first_command_s_example_refuses_the_second_and_lets_the_third_take_over(tmp_path: Path) -> None:
    assert "pip install . && sh examples/takeover.sh" in README
    scripts = Path(sys.executable).parent
    if not shutil.which("looop", path=str(scripts)):
        pytest.skip("the package is not installed with its script `looop`")
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "takeover.sh")],
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("claimed")] == ["claimed repo-x"] * 2
    assert "claim repo-x: held by live session 'first'" in done.stderr.splitlines()
    # Whichever comes first: the third, or the keeper of the first.
    taken_over, died = "previous=first" in done.stdout, "died  repo-x  session=first" in done.stdout
    assert taken_over != died
    assert not list(tmp_path.rglob("*.lock")), "a keeper is left"


CRONTAB = [block.text for block in blocks_of(ROOT / "README.md") if block.says.get("file") == "crontab"]


@needs_bash
def test_the_crontab_s_line_runs_the_job_and_is_silent_while_another_holds_the_claim(tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    if not shutil.which("looop", path=str(scripts)):
        pytest.skip("the package is not installed with its script `looop`")
    (line,) = CRONTAB
    *times, command = line.split(None, 5)
    assert all(re.fullmatch(r"[*\d,/-]+", each) for each in times)
    assert "%" not in command, "cron takes it for the end of the line"
    job = tmp_path / "job"
    job.write_text("#!/bin/sh\necho ran\n", encoding="utf-8")
    job.chmod(0o755)
    command = command.replace("/usr/local/bin/looop", str(scripts / "looop")).replace("/usr/local/bin/backup", str(job))
    assert str(scripts) in command
    assert str(job) in command
    # As cron has it: a home, a short PATH, no terminal.
    environment = {"HOME": str(tmp_path), "LOGNAME": "nobody", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}

    def by_cron(text: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/sh", "-c", text],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    assert by_cron(command) == (0, "ran\n")
    assert by_cron(f"{scripts / 'looop'} claim nightly --session other --ttl 5m")[0] == 0
    assert by_cron(command) == (0, "")
    assert by_cron(f"{scripts / 'looop'} session stop other")[0] == 0
    assert by_cron(command) == (0, "ran\n")


def test_the_example_for_any_system_refuses_the_second_and_lets_the_third_take_over(tmp_path: Path) -> None:
    assert "pip install . ; python examples/takeover.py" in README
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "takeover.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("claimed")] == ["claimed repo-x"] * 2
    assert "claim repo-x: held by live session 'first'" in done.stderr.splitlines()
    assert "two holders" not in done.stderr
