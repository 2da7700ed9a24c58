"""Slips of people who know flock, docker, kubectl, git or gh: each is exit 2, and one line that has the right word."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

SLIPS = {
    # Verbs of others.
    "list": "looop claims",
    "ps": "looop claims",
    "ls -l": "looop claims",
    "top": "looop watch",
    "monitor": "looop watch",
    "get claims": "looop claims",
    "describe x": "looop show",
    "inspect x": "looop show",
    "unlock x": "looop unclaim",
    "rm x": "looop unclaim",
    "delete x": "looop unclaim",
    "kill x": "looop break",
    "create x": "looop claim NAME",
    "trylock x": "looop claim NAME",
    "logs -f": "looop events",
    "start agent-7": "looop session start",
    "stop agent-7": "looop session stop",
    "whoami": "looop session list",
    "init": "looop paths",
    "help claim": "VERB --help",
    "/tmp/lock true": "looop run --claim NAME -- COMMAND",
    "-n /tmp/lock true": "looop run --claim NAME -- COMMAND",
    "session ls": "looop session list",
    "session rm x": "looop session stop",
    "session restart x": "looop session renew",
    # Misspelt.
    "unlcaim x": "looop unclaim",
    "lsit": "looop claims",
    "relase x": "looop unclaim",
    "sessoin list": "looop session",
    "--wiat": "--wait stands behind a verb",
    "--jsno claims": "--json",
    "--vesrion": "--version",
    "claims --datadir /x": "--data-dir",
    "claim x --timout 5": "did you mean --timeout?",
    "claim x --sesion a": "did you mean --session?",
    "run --clam x -- true": "did you mean --claim?",
    "reap --dryrun": "did you mean --dry-run?",
    "events --folow": "did you mean --follow?",
    "check x --gen 7": "did you mean --generation?",
    "session start --tll 5m": "did you mean --ttl?",
    # Options of others.
    "-V": "--version",
    "claim x -m note": "--note",
    "claim x --message note": "--note",
    "claim x -w 5": "--timeout",
    "claim x -n": "does not wait",
    "claim x --nowait": "does not wait",
    "claim x --force": "looop break",
    "run --lock x -- true": "--claim",
    "run --name x -- true": "--claim",
    "run -c true": "behind --",
    "show --name x": "without an option",
    "claims --filter x": "without an option",
    "claims --format json": "--output",
    "claims --watch": "looop watch",
    "claims --all": "all are listed",
    "unclaim --all": "--pattern",
    "break x -m why": "--reason",
    "events -n 5": "--tail",
    "events -f": "--follow",
    "reap -n": "--dry-run",
    "wait x --wait 5": "--timeout",
    "session stop --all": "looop session list",
    "session start --id a": "without an option",
    # What is missing, and what is no value.
    "claim x --session": "looop claim --help",
    "transfer x agent-8": "--to",
    "check x 7": "--generation",
    "claim x --wait 5min": "5m",
    "claim x --wait -1": "no duration",
    "run --wait 10secs -- true": "no duration",
}


@pytest.mark.parametrize("typed", SLIPS)
def test_a_slip_is_one_line_with_the_right_word(run: Run, data_dir: Path, typed: str) -> None:
    done = run(*typed.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert SLIPS[typed] in done.stderr.partition("(see")[0] or "--help" in SLIPS[typed]
    assert SLIPS[typed] in done.stderr
    assert "(see `looop" in done.stderr
    assert not data_dir.exists()


@pytest.mark.parametrize("wait", ["5M", "5 m", "1H30M", "1h 30m", "5 minutes", "5m5m", "1:30", "1,5h"])
def test_what_people_write_for_a_duration_is_no_name_either(run: Run, data_dir: Path, wait: str) -> None:
    for args in (("claim", "x", "--wait", wait, "--session", "w"), ("run", "--claim", "x", "--wait", wait, "--", "true")):
        done = run(*args)
        assert (done.returncode, done.stdout, f"'{wait}' is no duration: write 30" in done.stderr) == (2, "", True)
    assert not data_dir.exists()


@pytest.mark.parametrize("name", ["5min", "10secs", "-1"])
def test_a_name_like_a_duration_can_be_claimed_behind_two_dashes(run: Run, alive: Living, name: str) -> None:
    alive("w")
    assert run("claim", "--session", "w", "--wait", "--", name).returncode == 0
    assert list(Claims.open().backend.claims()) == [name]


def test_a_run_without_a_claim_of_what_is_no_command_says_how_to_claim(looop: Run) -> None:
    done = looop("run", "repo-x", "--", "true")
    assert done.returncode == 127
    assert "`looop run --claim repo-x -- ...`" in done.stderr
