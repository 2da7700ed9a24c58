"""`claim --shared` and `run -s`: what is said of those who share a claim, and to whoever is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]

LOOOP = (sys.executable, "-m", "looop_portable")


@pytest.fixture
def shared(run: Run, alive: Living) -> subprocess.Popen[bytes]:
    """x, by w1 and w2; w3 lives as well. The process of w2."""
    alive("w1")
    other = alive("w2")
    alive("w3")
    for session in ("w1", "w2"):
        assert run("claim", "x", "--shared", "--session", session).stdout == "claimed x\n"
    return other


def test_who_wants_it_alone_is_refused_and_told_of_all(run: Run, shared: object) -> None:
    done = run("claim", "x", "--session", "w3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("claim x: held by live session 'w1'\n")
    assert "\n  shared by w1 (generation 1), w2 (generation 2)\n" in done.stderr


def test_who_shares_it_has_to_release_that_first(run: Run, shared: object) -> None:
    done = run("claim", "x", "--session", "w1")
    assert done.returncode == 1
    assert "this session shares it itself, and has to release that before it can have it alone" in done.stderr
    again = run("claim", "x", "--shared", "--session", "w1")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_with_v_it_says_beside_how_many(run: Run, shared: object) -> None:
    assert "\nx: generation 3, shared with 2 others\n" in run("-v", "claim", "x", "--shared", "--session", "w3").stderr


def test_each_number_is_current_until_its_session_has_left(run: Run, shared: object) -> None:
    for number, session in ((1, "w1"), (2, "w2")):
        assert run("check", "x", "--generation", str(number)).stdout == (
            f"x: generation {number} is current, held by '{session}'\n"
        )
    assert run("check", "x", "--generation", "1", "--session", "w2").returncode == 1
    assert run("unclaim", "x", "--session", "w1").returncode == 0
    assert [run("check", "x", "--generation", str(number)).returncode for number in (1, 2, 3)] == [1, 0, 1]
    assert run("unclaim", "x", "--session", "w3").returncode == 1
    assert run("unclaim", "x", "--session", "w2").returncode == 0
    assert run("show", "x").stdout == "x: free, at generation 4\n"


def test_show_lists_all_of_them_and_whether_each_lives(run: Run, shared: subprocess.Popen[bytes]) -> None:
    shared.kill()
    shared.wait()
    lines = run("show", "x").stdout.splitlines()
    assert lines[0] == "x: shared, generation 2"
    assert lines[1].startswith("  shared by   w1, generation 1: alive: ")
    assert lines[2].startswith("  shared by   w2, generation 2: dead: ")
    told = json.loads(run("--json", "show", "x").stdout)
    assert [(each["session"], each["generation"]) for each in told["readers"]] == [("w1", 1), ("w2", 2)]
    rows = run("claims").stdout.splitlines()
    assert [row.split()[:4] for row in rows[1:]] == [["x", "w1", "+1", "2"]]
    assert run("claims", "--session", "w2", "-o", "name").stdout == "x\n"
    assert run("reap").stdout.startswith("reaped x: session 'w2', generation 2: ")
    assert run("show", "x").stdout.startswith("x: shared, generation 3\n")


def test_a_break_ends_one_of_them(run: Run, shared: object) -> None:
    reason = ("--reason", "stuck")
    done = run("break", "x", "--generation", "7", *reason)
    assert (done.returncode, done.stderr) == (
        1,
        "break x: generation 7 is not current: it is shared by w1 (generation 1), w2 (generation 2)\n",
    )
    assert run("break", "x", "--generation", "2", *reason, "--dry-run").stdout.startswith("would break x: generation 2 ")
    assert run("break", "x", "--generation", "1", *reason).stdout == "broke x: generation 1 of session 'w1'\n"
    assert run("check", "x", "--generation", "2").returncode == 0
    assert run("break", "--pattern", "x", *reason).returncode == 0
    assert run("show", "x").stdout.startswith("x: free")


def test_a_break_of_all_that_fit_ends_all_of_them(run: Run, shared: object) -> None:
    done = run("break", "--pattern", "*", "--reason", "stuck")
    assert done.stdout == "broke x: generation 1 of session 'w1'\nbroke x: generation 2 of session 'w2'\n"
    assert run("show", "x").stdout == "x: free, at generation 4\n"


def test_a_transfer_of_it_is_usage(run: Run, shared: object) -> None:
    done = run("transfer", "x", "--to", "w3", "--session", "w1")
    assert done.returncode == 2
    assert "it is shared, and what several share is not handed on" in done.stderr


@pytest.mark.parametrize("verb", [("claim", "x", "--session", "w3"), ("run", "--claim", "x")])
def test_slots_are_not_shared(run: Run, shared: object, verb: tuple[str, ...]) -> None:
    command = ("--", *LOOOP, "--version") if verb[0] == "run" else ()
    done = run(*verb, "--shared", "--slots", "2", *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not both" in done.stderr


def test_commands_that_share_it_run_at_once_and_one_that_has_it_alone_does_not(looop: Run, shared: object) -> None:
    show = ("--", *LOOOP, "--json", "show", "x")
    done = looop("run", "-s", "--claim", "x", *show)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["readers"]) == 3
    assert looop("run", "--claim", "x", *show).returncode == 1
    assert looop("run", "-s", "-x", "--claim", "x", "-E", "7", *show).returncode == 7
    assert looop("run", "-x", "-s", "--claim", "x", *show).returncode == 0


@pytest.mark.parametrize(("outer", "inner", "code"), [("-s", "-s", 0), ("-x", "-s", 0), ("-s", "-x", 1), ("-x", "-x", 0)])
def test_within_one_that_shares_it_a_share_is_joined_and_no_more(looop: Run, outer: str, inner: str, code: int) -> None:
    within = ("--", *LOOOP, "-v", "run", inner, "--claim", "y", "--", *LOOOP, "--json", "show", "y")
    done = looop("run", outer, "--claim", "y", *within)
    assert done.returncode == code
    if code == 0:
        assert "joined y: generation 1" in done.stderr
        assert json.loads(done.stdout)["generation"] == 1


def test_who_waits_to_have_it_alone_is_not_passed_by(run: Run, start: Start, shared: object) -> None:
    start("claim", "x", "--session", "w3", "--wait")
    while "w3" not in (told := run("--json", "queue", "x").stdout):
        pass
    assert json.loads(told)["shared"] is False
    late = run("claim", "x", "--shared", "--session", "w4")
    assert late.returncode == 1
    assert "waits to have it alone, and goes first" in late.stderr
