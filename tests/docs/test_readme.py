"""The README's table and that of evidence are the code's, its program runs, and its first command does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from looop_portable.protocol.inquiry import WORTH
from looop_portable.protocol.standings import TABLE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_standings_is_the_code_s() -> None:
    rows = re.findall(r"^\| ([A-Z]+): (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", README, flags=re.MULTILINE)
    assert rows == [(standing.name, standing.value, *verbs) for standing, verbs in TABLE.items()]


def test_the_documented_rule_of_evidence_is_the_code_s() -> None:
    evidence = (ROOT / "docs" / "explanation" / "evidence.md").read_text(encoding="utf-8")
    table = evidence.partition("| seen | worth |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| {seen.value} | {worth.value} |" for seen, worth in WORTH.items()]


PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
PRINTED = [
    r"1\none\ntwo\nWon\(.*",
    r"mine\nlicence#1\n1\n1 3\n",
    r"saved /srv\n",
    r"deployed\ndeployed\ndeployed\n",
]


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)))
def test_a_program_runs(tmp_path: Path, program: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LOOOP_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(printed, done.stdout, flags=re.DOTALL), done.stdout


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


VERBS = README[README.index("| `claim NAME") : README.index("Options of all verbs")]


@pytest.mark.parametrize("usage", re.findall(r"`(\w+[^`]*)`", VERBS))
def test_each_verb_of_the_readme_has_help(usage: str) -> None:
    verb = re.split(r" (?=[A-Z\[-])", usage)[0].split()
    done = subprocess.run(
        [sys.executable, "-m", "looop_portable", *verb, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"--\w[\w-]*", usage)) <= set(re.findall(r"--\w[\w-]*", done.stdout))


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
