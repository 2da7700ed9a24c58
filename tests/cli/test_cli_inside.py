"""Inside of a claim that $LOOOP_SESSION_ID holds: `hold` and a nested `looop run` join it, and wait for nobody."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import needs_fork

from looop_portable import ClaimHeld, ClaimLost, Claims, Held, WaitedTooLong, Won, aio, hold, hold_all

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

LOOOP = (sys.executable, "-m", "looop_portable")
SOON = 60.0
HOLDS = """
import sys
from looop_portable import Claims, hold
with hold("repo-x", **eval(sys.argv[1])) as held:
    print(held.joined, held.generation, held.name)
    held.check()
lease = Claims.open().show("repo-x").lease
print(lease and lease.generation)
"""
TASK = """
import asyncio
from looop_portable import aio

async def main():
    async with aio.hold("repo-x", timeout=None) as held:
        print(held.joined, held.generation)

asyncio.run(main())
"""


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def claims(data_dir: Path) -> Claims:
    return Claims.open(str(data_dir))


@pytest.fixture
def inside(alive: Living, claims: Claims, monkeypatch: pytest.MonkeyPatch) -> Won:
    """This process is inside of the session w1, which holds repo-x."""
    alive("w1")
    found = claims.claim("repo-x", "w1")
    assert isinstance(found, Won)
    monkeypatch.setenv("LOOOP_SESSION_ID", "w1")
    return found


# Within `looop run`.


@pytest.mark.parametrize("options", ["{}", "{'timeout': 20}", "{'timeout': None}"])
def test_hold_within_run_joins(looop: Run, claims: Claims, options: str) -> None:
    done = said(looop("run", "--claim", "repo-x", "--", sys.executable, "-c", HOLDS, options))
    assert done == (0, "True 1 repo-x\n1\n", "")
    assert claims.check("repo-x", 1).head == 2


def test_so_does_a_task(looop: Run) -> None:
    assert said(looop("run", "--claim", "repo-x", "--", sys.executable, "-c", TASK)) == (0, "True 1\n", "")


def test_so_does_whoever_is_within_more_of_them(looop: Run, claims: Claims) -> None:
    program = (sys.executable, "-c", HOLDS, "{'timeout': None}")
    done = said(looop("run", "--claim", "repo-x", "--", *LOOOP, "run", "--claim", "repo-y", "--", *program))
    assert done == (0, "True 1 repo-x\n1\n", "")
    assert not claims.list()
    assert not claims.sessions.ids()


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_a_nested_run_joins_what_is_held_and_claims_the_others(looop: Run, claims: Claims, wait: tuple[str, ...]) -> None:
    program = (
        "import json, os; from looop_portable import Claims, hold, hold_all\n"
        "with hold_all('repo-x', 'repo-y') as held:\n"
        "    shown = [Claims.open().show(name) for name in ('repo-x', 'repo-y')]\n"
        "    print(json.dumps([[each.joined for each in held], [each.lease.session for each in shown],"
        " {k: v for k, v in os.environ.items() if k.startswith('LOOOP_')}]))"
    )
    inner = (*LOOOP, "-v", "run", "--claim", "repo-x", "--claim", "repo-y", *wait, "--", sys.executable, "-c", program)
    code, out, err = said(looop("run", "--claim", "repo-x", "--", *inner))
    assert code == 0, err
    joined, (outer, own), environment = json.loads(out)
    assert joined == [True, True]
    assert outer != own
    assert environment["LOOOP_SESSION_ID"] == outer
    assert environment["LOOOP_OUTER_SESSIONS"] == own
    assert [environment[f"LOOOP_{name}"] for name in ("CLAIM_GENERATION", "GENERATION_REPO_X", "GENERATION_REPO_Y")] == [
        *"111"
    ]
    lines = [line for line in err.splitlines() if line.startswith(("joined", "claimed"))]
    assert [line.split(":")[0] for line in lines] == ["joined repo-x", "claimed repo-y"]
    assert outer in lines[0]
    assert not claims.list()
    assert (claims.show("repo-x").generation, claims.show("repo-y").generation) == (2, 2)


def test_a_joined_command_that_ends_leaves_the_claim_with_the_outer(looop: Run, inside: Won, claims: Claims) -> None:
    code, out, _ = said(looop("--json", "run", "--claim", "repo-x", "--", sys.executable, "-c", "pass"))
    assert (code, out) == (0, "")
    assert claims.check("repo-x", inside.generation).current


def test_one_whose_session_is_named_acts_for_that(looop: Run, inside: Won) -> None:
    program = "import os; print(os.environ['LOOOP_SESSION_ID'], os.environ['LOOOP_OUTER_SESSIONS'])"
    done = said(looop("run", "--session", "mine", "--claim", "repo-x", "--", sys.executable, "-c", program))
    assert done == (0, "mine w1\n", "")


@needs_fork
def test_a_nested_run_that_is_killed_ends_what_it_has_started_and_nothing_else(
    looop: Run, claims: Claims, tmp_path: Path
) -> None:
    inner = [
        "run",
        "--claim",
        "repo-x",
        "--",
        sys.executable,
        "-c",
        "import time; print('up', flush=True); time.sleep(600)",
    ]
    program = (
        "import subprocess, sys\n"
        f"inner = subprocess.Popen([*{LOOOP!r}, *{inner!r}], stdout=subprocess.PIPE, text=True)\n"
        "print(inner.stdout.readline().strip()); inner.kill(); inner.wait()\n"
        "print(repr(inner.stdout.read()))"  # Until the innermost has ended.
    )
    assert said(looop("run", "--claim", "repo-x", "--", sys.executable, "-c", program))[:2] == (0, "up\n''\n")
    assert not claims.list()


# In this process.


def test_it_says_that_it_has_joined_and_leaving_releases_nothing(inside: Won, claims: Claims) -> None:
    block = hold("repo-x")
    for _ in range(2):
        with block:
            assert block.joined
            assert (block.session, block.generation) == ("w1", inside.generation)
            assert repr(block) == "<Hold 'repo-x' generation 1, joined: held by session 'w1'>"
        assert not block.joined
        assert repr(block) == "<Hold 'repo-x' not held>"
    assert claims.check("repo-x", inside.generation).current
    with hold("repo-y") as other:
        assert not other.joined


def test_several_are_joined_or_claimed(inside: Won, claims: Claims) -> None:
    with hold_all("repo-y", "repo-x") as held:
        assert [each.joined for each in held] == [False, True]
    assert [status.name for status in claims.list()] == ["repo-x"]


def test_whoever_waits_is_not_in_the_way(inside: Won, looop: Run, claims: Claims, alive: Living) -> None:
    alive("w2")
    waits = subprocess.Popen([*LOOOP, "claim", "repo-x", "--session", "w2", "--wait"], stdout=subprocess.DEVNULL)
    tickets = claims.backend.tickets
    assert tickets
    while not tickets.line("repo-x"):
        assert waits.poll() is None
    try:
        with hold("repo-x", timeout=SOON) as block:
            assert block.joined

        async def enter() -> bool:
            async with aio.hold("repo-x", timeout=SOON) as task:
                return task.joined

        assert asyncio.run(enter())
    finally:
        waits.kill()
        waits.wait()


@pytest.mark.parametrize("leases", [(30, 30), (30, 60), (60, 30)], ids=str)
def test_threads_that_join_exclude_each_other(inside: Won, leases: tuple[int, int]) -> None:
    first, second = leases
    entered, most = [], []

    def work(lease: int) -> None:
        for _ in range(5):
            with hold("repo-x", lease_seconds=lease, timeout=SOON):
                entered.append(lease)
                most.append(len(entered))
                entered.pop()

    with hold("repo-x", lease_seconds=first):
        thread = threading.Thread(target=work, args=(second,))
        thread.start()
        with pytest.raises(ClaimHeld, match="not reentrant"):
            hold("repo-x", lease_seconds=first).__enter__()
        other: list[BaseException] = []

        def refused() -> None:
            try:
                hold("repo-x", lease_seconds=second).__enter__()
            except ClaimHeld as error:
                other.append(error)

        asking = threading.Thread(target=refused)
        asking.start()
        asking.join(SOON)
        assert other
        assert not entered
    work(first)
    thread.join(SOON)
    assert not thread.is_alive()
    assert set(most) == {1}
    assert len(most) == 10


def test_slots_join_the_one_that_is_held(inside: Won, claims: Claims) -> None:
    claims.claim("licence#2", "w1")
    with hold("licence", slots=3) as block:
        assert (block.joined, block.lease.name) == (True, "licence#2")
    assert claims.show("licence#2").lease


def test_a_joined_block_is_told_that_the_claim_is_lost(inside: Won, claims: Claims) -> None:
    told: list[Any] = []

    def enter() -> None:
        with hold("repo-x", on_lost=told.append) as block:
            claims.break_claim("repo-x", inside.generation, "test")
            with pytest.raises(ClaimLost, match="broken"):
                block.check()
            assert block.lost.is_set()

    with pytest.raises(ClaimLost):
        enter()
    assert not claims.show("repo-x").lease


# What is not inside.


def refusal(timeout: float = 0) -> str:
    with pytest.raises(ClaimHeld) as caught:
        hold("repo-x", timeout=timeout).__enter__()
    return caught.value.holder


def test_the_session_of_another_changes_nothing(inside: Won, alive: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    alive("w2")
    for session in ("w2", "nobody", "a/b", ""):
        monkeypatch.setenv("LOOOP_SESSION_ID", session)
        assert refusal() == "w1"
    with pytest.raises(WaitedTooLong):
        hold("repo-x", timeout=0.1).__enter__()


def test_one_that_is_dead_is_taken_over(inside: Won, claims: Claims) -> None:
    claims.sessions.stop("w1")
    with hold("repo-x") as block:
        assert (block.joined, block.generation) == (False, inside.generation + 1)


def test_what_an_earlier_run_has_left_behind_is_not_inside_of_a_later_one(
    inside: Won, looop: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOOP_GENERATION_REPO_X", str(inside.generation + 1))
    assert refusal() == "w1"
    assert looop("run", "--claim", "repo-x", "--", sys.executable, "-c", "pass").returncode == 1


def test_a_block_of_this_process_is_not_around_it(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    with hold("repo-x") as block:
        monkeypatch.setenv("LOOOP_SESSION_ID", block.session)
        with pytest.raises(ClaimHeld):
            hold("repo-x", lease_seconds=60).__enter__()
        program = (sys.executable, "-c", HOLDS, "{}")
        child = subprocess.run(program, capture_output=True, text=True, check=True, env={**os.environ})
        assert child.stdout == "True 1 repo-x\n1\n"
    assert not isinstance(Claims.open().claim("repo-x", "w9"), Held)
