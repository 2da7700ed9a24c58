"""`run --max-hold`: a command that holds for too long is ended, and its claims are free; it has an exit code of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_fork, needs_proc, needs_sh

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]

EXPIRED = 123
PYTHON = (sys.executable, "-I", "-S", "-c")
SLEEP = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
POLITE = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); {SLEEP}"


@pytest.fixture
def claims(data_dir: Path) -> Claims:
    return Claims.open(str(data_dir))


def events(claims: Claims) -> list[str]:
    assert claims.events
    lines = Path(claims.events.path).read_text(encoding="utf-8").splitlines()
    return [f"{each['event']} {each['claim']}" for each in map(json.loads, lines) if each["claim"]]


@needs_fork
@pytest.mark.parametrize("program", [SLEEP, STUBBORN, POLITE], ids=["sleeps", "is stubborn", "is polite"])
def test_it_is_ended_and_the_claim_is_free(looop: Run, claims: Claims, program: str) -> None:
    done = looop("run", "--claim", "repo-x", "--max-hold", "1s", "--", *PYTHON, program)
    assert (done.returncode, done.stdout) == (EXPIRED, "")
    assert done.stderr == "looop: claim repo-x: held for 1 s, the longest that --max-hold allows; the command is ended\n"
    assert not claims.list()
    assert not claims.sessions.ids()
    assert events(claims) == ["claimed repo-x", "expired repo-x", "released repo-x"]


@needs_proc
@needs_sh
def test_so_is_what_it_leaves_behind_where_that_holds(looop: Run, claims: Claims) -> None:
    options = ("--until-all-end", "--max-hold", "500ms")
    done = looop("run", "--claim", "repo-x", *options, "--", "sh", "-c", "sleep 600 > /dev/null 2>&1 &")
    assert done.returncode == EXPIRED
    assert not claims.list()


def test_one_that_ends_in_time_has_its_own_code(looop: Run, claims: Claims) -> None:
    done = looop("run", "--claim", "repo-x", "--max-hold", "10m", "--", *PYTHON, "raise SystemExit(9)")
    assert (done.returncode, done.stdout, done.stderr) == (9, "", "")
    assert events(claims) == ["claimed repo-x", "released repo-x"]


def test_with_json_it_is_an_object(looop: Run) -> None:
    done = looop("--json", "run", "--claim", "a", "--claim", "b", "--max-hold", "0.5", "--", *PYTHON, SLEEP)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert found[-1] == {"verb": "run", "outcome": "expired", "names": ["a", "b"], "max_hold": 0.5}
    assert done.returncode == EXPIRED


def test_what_is_joined_stays_the_outer_s(looop: Run, claims: Claims) -> None:
    inner = (
        sys.executable,
        "-m",
        "looop_portable",
        "run",
        "--claim",
        "repo-x",
        "--max-hold",
        "500ms",
        "--",
        *PYTHON,
        SLEEP,
    )
    done = looop("run", "--claim", "repo-x", "--", *inner)
    assert done.returncode == EXPIRED
    assert events(claims) == ["claimed repo-x", "released repo-x"]


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf"])
def test_what_is_no_time_is_usage(looop: Run, claims: Claims, given: str) -> None:
    done = looop("run", "--claim", "repo-x", "--max-hold", given, "--", *PYTHON, "pass")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not claims.sessions.ids()
