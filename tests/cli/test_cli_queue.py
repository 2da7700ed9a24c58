"""`wait`, `queue` and `show -q`: when a claim can be had, and who waits to have it. None of them takes anything."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiters import Line

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]
Start = Callable[..., "subprocess.Popen[bytes]"]


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def held(run: Run, alive: Living) -> subprocess.Popen[bytes]:
    """repo-x, by w1. The process that w1 lives by."""
    holder = alive("w1")
    assert run("claim", "repo-x", "--session", "w1").returncode == 0
    return holder


def is_waiting(process: subprocess.Popen[bytes]) -> bool:
    """It says so, once it has waited for a while."""
    assert process.stderr
    return b"claim repo-x: held by live session 'w1'; waiting for it" in process.stderr.readline()


def test_what_is_released_can_be_had_and_nobody_has_it(run: Run, start: Start, held: object, tree: Tree) -> None:
    before = tree()
    waiter = start("wait", "repo-x")
    assert is_waiting(waiter)
    assert tree() == before
    run("unclaim", "repo-x", "--session", "w1")
    out, _ = waiter.communicate(timeout=60)
    assert (waiter.returncode, out.split()) == (0, [b"free", b"repo-x"])
    assert run("show", "repo-x").stdout == "repo-x: free, at generation 2\n"


def test_what_a_killed_session_holds_can_be_had(start: Start, held: subprocess.Popen[bytes]) -> None:
    waiter = start("--json", "wait", "repo-x", "--timeout", "5m")
    held.kill()
    held.wait()
    out, err = waiter.communicate(timeout=60)
    assert (waiter.returncode, err) == (0, b"")
    assert json.loads(out) == {"verb": "wait", "outcome": "free", "name": "repo-x", "generation": 1}


@pytest.mark.parametrize("name", ["repo-x", "never"])
def test_what_can_be_had_is_not_waited_for(run: Run, dead: Living, name: str, data_dir: Path) -> None:
    dead("w1")
    run("claim", "repo-x", "--session", "w1")
    assert said(run("wait", name)) == (0, f"free {name}\n", "")


@pytest.mark.parametrize("seconds", ["0", "0.2"])
def test_when_time_is_over_the_code_is_124(run: Run, held: object, seconds: str, tree: Tree) -> None:
    before = tree()
    code, out, err = said(run("wait", "repo-x", "--timeout", seconds))
    assert (code, out) == (124, "")
    assert err.splitlines()[0] == "wait repo-x: held by live session 'w1'"
    code, out, err = said(run("--json", "wait", "repo-x", "--timeout", seconds))
    found = json.loads(out)
    assert (code, err) == (124, "")
    assert (found["verb"], found["outcome"], found["session"]) == ("wait", "timeout", "w1")
    assert tree() == before


def test_it_waits_for_any_of_several_slots(run: Run, start: Start, held: object) -> None:
    for slot in ("repo-y#1", "repo-y#2"):
        run("claim", slot, "--session", "w1")
    assert run("wait", "repo-y", "--slots", "2", "--timeout", "0").returncode == 124
    waiter = start("wait", "repo-y", "--slots", "2")
    run("unclaim", "repo-y#2", "--session", "w1")
    assert waiter.communicate(timeout=60)[0].split() == [b"free", b"repo-y#2"]


def test_it_is_interrupted_and_says_nothing(interruptible: Start, held: object, tree: Tree) -> None:
    before = tree()
    waiter = interruptible("wait", "repo-x")
    assert is_waiting(waiter)
    out, _ = waiter.communicate(timeout=60)
    assert (waiter.returncode, out) == (130, b"")
    assert tree() == before


def test_a_bad_name_and_a_bad_duration_are_usage(run: Run) -> None:
    for args in (("wait", "a/b"), ("wait", "x", "--timeout", "soon"), ("queue", "a/b"), ("wait",), ("queue",)):
        code, out, err = said(run(*args))
        assert (code, out) == (2, "")
        assert err.count("\n") == 1


# Who waits.


def test_who_waits_is_listed_in_order(run: Run, start: Start, alive: Living, held: object, data_dir: Path) -> None:
    line = Line(data_dir, "repo-x")
    alive("w2")
    alive("w3")
    seen: list[str] = []
    waiters = []
    for session in ("w2", "w3"):
        waiters.append(start("claim", "repo-x", "--session", session, "--wait"))
        seen.append(line.grows(seen))
    code, out, err = said(run("queue", "repo-x"))
    assert (code, err) == (0, "")
    head, *rows = [row.split() for row in out.splitlines()]
    assert head == ["SESSION", "PLACE", "PID", "WAITS", "SINCE", "HOST"]
    assert [row[:3] for row in rows] == [["w2", "1", str(waiters[0].pid)], ["w3", "2", str(waiters[1].pid)]]
    assert all(row[4].endswith("Z") for row in rows)
    assert run("queue", "repo-x", "-o", "name").stdout.split() == ["w2", "w3"]
    found = [json.loads(each) for each in run("queue", "repo-x", "--json").stdout.splitlines()]
    assert [(each["verb"], each["outcome"], each["name"], each["place"], each["session"]) for each in found] == [
        ("queue", "waits", "repo-x", 1, "w2"),
        ("queue", "waits", "repo-x", 2, "w3"),
    ]
    assert {"pid", "host", "since"} <= set(found[0])
    assert run("queue", "repo-x", "-o", "json").stdout.count("\n") == 2
    waiters[0].kill()
    waiters[0].wait()
    assert run("queue", "repo-x", "-o", "name").stdout.split() == ["w3"]


def test_where_nobody_waits_nothing_is_listed(run: Run, held: object) -> None:
    assert said(run("queue", "repo-x")) == (0, "", "nobody waits for repo-x\n")
    assert said(run("--json", "queue", "repo-x")) == (0, "", "")


# Whether it is held, by the exit code.


def test_show_says_by_its_code_whether_it_is_held(run: Run, held: subprocess.Popen[bytes], data_dir: Path) -> None:
    assert said(run("show", "-q", "repo-x")) == (0, "", "")
    assert said(run("-q", "--json", "show", "repo-x")) == (0, "", "")
    assert said(run("show", "-q", "never")) == (1, "", "")
    assert run("show", "never").returncode == 0
    held.kill()
    held.wait()
    assert said(run("show", "-q", "repo-x")) == (1, "", "")
    assert run("show", "-q", "a/b").returncode == 2
    ledger = data_dir / "claims" / ".ledger" / "repo-y"
    ledger.write_text("no directory")
    assert run("show", "-q", "repo-y").returncode == 3
