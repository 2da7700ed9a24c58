"""Signals that end a verb which has something to undo: TERM, HUP, QUIT and INT alike, one or two of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_stopping
from support.children import Child, Start, says, starting
from support.waiters import Line

from looop_portable import Claims

pytestmark = needs_stopping  # Where that is missing, nobody is asked to end by a signal.

ENDS = ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"]
SLEEP = "import time; print('runs', flush=True); time.sleep(600)"
SLOWLY = """
import os, sys
from looop_portable.claims.gate import Claims
from looop_portable.running import keepers
from looop_portable.system.signals import asking
from looop_portable.cli.verbs import claim

def stops(place, name, said):
    whole = getattr(place, name)
    def stopping(*args, **options):
        print(said, flush=True)
        sys.stdin.readline()
        return whole(*args, **options)
    setattr(place, name, stopping)

asking.REPEAT = float(os.environ["REPEAT"])  # Not the second that it is: this machine may be slow.
what, sys.argv[1:] = sys.argv[1], sys.argv[2:]
if what == "releasing":
    stops(Claims, "release_lease", what)
elif what == "leaving":
    stops(Claims, "retire", what)
elif what == "keeping":
    stops(keepers, "launch", what)
elif what == "claiming":
    stops(Claims, "claim", what)
elif what == "telling":
    stops(claim, "_print", what)
from looop_portable.__main__ import main
main()
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """The command as a process, in which `slow` says when it begins and then waits for a line."""
    with starting() as start:

        def begin(slow: str, *args: str, repeat: float = 600, **options: object) -> Child:
            environment = {**os.environ, "REPEAT": str(repeat)}
            return start(sys.executable, "-c", SLOWLY, slow, *args, env=environment, **options)

        yield begin


@pytest.fixture
def claims(data_dir: Path) -> Claims:
    found = Claims.open(str(data_dir))
    found.sessions.register("w1")
    found.sessions.register("w2")
    return found


def goes_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def held(claims: Claims) -> dict[str, str]:
    return {status.name: status.lease.session for status in claims.list() if status.lease}


@pytest.mark.parametrize("name", ENDS)
def test_a_waiter_for_the_second_releases_the_first_and_leaves_the_line(
    start: Start, claims: Claims, data_dir: Path, name: str
) -> None:
    claims.claim("repo-x", "w1")
    waiter, line = start("", "claim", "repo-a", "repo-x", "--session", "w2", "--wait"), Line(data_dir, "repo-x")
    line.grows([])
    assert held(claims) == {"repo-a": "w2", "repo-x": "w1"}
    waiter.send_signal(signal.Signals[name])
    assert waiter.wait(60) == 128 + signal.Signals[name]
    assert line.tickets() == []
    assert held(claims) == {"repo-x": "w1"}


@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("first", ENDS)
def test_another_one_just_after_it_does_not_keep_the_first_from_being_released(
    start: Start, claims: Claims, data_dir: Path, first: str, second: str
) -> None:
    claims.claim("repo-x", "w1")
    waiter, line = start("releasing", "claim", "repo-a", "repo-x", "--session", "w2", "--wait"), Line(data_dir, "repo-x")
    line.grows([])
    waiter.send_signal(signal.Signals[first])
    assert says(waiter) == "releasing"
    waiter.send_signal(signal.Signals[second])
    goes_on(waiter)
    assert waiter.wait(60) == 128 + signal.Signals[first]
    assert line.tickets() == []
    assert held(claims) == {"repo-x": "w1"}


def test_what_is_ignored_ends_nobody(start: Start, claims: Claims, data_dir: Path) -> None:
    """As under nohup(1)."""
    claims.claim("repo-x", "w1")
    waiter = start(
        "",
        *("claim", "repo-x", "--session", "w2", "--wait"),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    Line(data_dir, "repo-x").grows([])
    waiter.send_signal(signal.SIGHUP)
    claims.release("repo-x", "w1")
    assert says(waiter) == "claimed repo-x"
    assert waiter.wait(60) == 0


@pytest.mark.parametrize("name", ENDS)
def test_what_has_been_won_is_told(start: Start, claims: Claims, name: str) -> None:
    """One that comes when all are ours undoes nothing: the answer says so."""
    claimer = start("telling", "claim", "repo-x", "--session", "w2")
    assert says(claimer) == "telling"
    claimer.send_signal(signal.Signals[name])
    goes_on(claimer)
    assert says(claimer) == "claimed repo-x"
    assert claimer.wait(60) == 0
    assert held(claims) == {"repo-x": "w2"}


@pytest.mark.parametrize("name", ENDS)
def test_what_was_won_meanwhile_is_taken_back(start: Start, claims: Claims, name: str) -> None:
    """Of whoever does not wait, too, and of several claims all."""
    claimer = start("claiming", "claim", "repo-x", "repo-y", "--session", "w2")
    for _ in range(2):
        assert says(claimer) == "claiming"
        claimer.send_signal(signal.Signals[name])
        goes_on(claimer)
    assert claimer.wait(60) == 128 + signal.Signals[name]
    assert held(claims) == {}
    assert claims.show("repo-x").generation == claims.show("repo-y").generation == 2


@pytest.mark.parametrize("name", ENDS)
def test_who_is_refused_meanwhile_ends_by_the_signal(start: Start, claims: Claims, name: str) -> None:
    claims.claim("repo-y", "w1")
    claimer = start("claiming", "claim", "repo-x", "repo-y", "--session", "w2")
    for _ in range(2):
        assert says(claimer) == "claiming"
        claimer.send_signal(signal.Signals[name])
        goes_on(claimer)
    assert claimer.wait(60) == 128 + signal.Signals[name]
    assert held(claims) == {"repo-y": "w1"}


def test_an_impatient_user_need_not_wait_for_the_store(start: Start, claims: Claims) -> None:
    claimer = start("claiming", "claim", "repo-x", "--session", "w2", repeat=0)
    assert says(claimer) == "claiming"
    while claimer.poll() is None:  # Of these the first is only noted.
        claimer.send_signal(signal.SIGTERM)
        threading.Event().wait(0.01)
    assert claimer.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert held(claims) == {}


@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("first", ENDS)
def test_run_releases_though_it_is_asked_twice(start: Start, claims: Claims, first: str, second: str) -> None:
    running = start("leaving", "run", "--claim", "repo-x", "--", sys.executable, "-S", "-c", SLEEP)
    assert says(running) == "runs"
    running.send_signal(signal.Signals[first])
    assert says(running) == "leaving"
    running.send_signal(signal.Signals[second])
    goes_on(running)
    assert running.wait(60) == 128 + signal.Signals[first]
    assert held(claims) == {}
    assert running.stderr
    assert "not released" not in running.stderr.read()


@pytest.mark.parametrize("name", ENDS)
def test_run_releases_though_it_is_asked_to_end_when_it_ends_anyway(start: Start, claims: Claims, name: str) -> None:
    running = start("leaving", "run", "--claim", "repo-x", "--", sys.executable, "-S", "-c", "raise SystemExit(7)")
    assert says(running) == "leaving"
    running.send_signal(signal.Signals[name])
    goes_on(running)
    assert running.wait(60) == 7
    assert held(claims) == {}


@pytest.mark.parametrize("name", ENDS)
def test_run_that_waits_leaves_nothing_though_it_is_asked_twice(
    start: Start, claims: Claims, data_dir: Path, name: str
) -> None:
    claims.claim("repo-x", "w1")
    running = start("leaving", "run", "--claim", "repo-a", "--claim", "repo-x", "--wait", "--", "true")
    line = Line(data_dir, "repo-x")
    line.grows([])
    running.send_signal(signal.Signals[name])
    assert says(running) == "leaving"
    running.send_signal(signal.Signals[name])
    goes_on(running)
    assert running.wait(60) == 128 + signal.Signals[name]
    assert line.tickets() == []
    assert held(claims) == {"repo-x": "w1"}
    assert sorted(claims.sessions.ids()) == ["w1", "w2"]


@pytest.mark.parametrize("name", ENDS)
def test_a_session_that_nobody_was_told_of_is_ended(start: Start, claims: Claims, name: str) -> None:
    starting = start("keeping", "session", "start", "--lease", "30", "--pid", "1", "--shell")
    assert says(starting) == "keeping"
    assert len(claims.sessions.ids()) == 3
    starting.send_signal(signal.Signals[name])
    goes_on(starting)
    assert says(starting) == "unset LOOOP_SESSION_ID; false"
    assert starting.wait(60) == 128 + signal.Signals[name]
    assert sorted(claims.sessions.ids()) == ["w1", "w2"]


def test_an_impatient_user_need_not_wait_for_a_release(start: Start, claims: Claims) -> None:
    running = start("leaving", "run", "--claim", "repo-x", "--", sys.executable, "-S", "-c", SLEEP, repeat=0)
    assert says(running) == "runs"
    running.send_signal(signal.SIGTERM)
    assert says(running) == "leaving"
    while running.poll() is None:  # Of these the first is only noted, and those that come at once are one.
        running.send_signal(signal.SIGTERM)
        threading.Event().wait(0.01)
    assert running.stderr
    said = running.stderr.read()
    assert said == "looop: warning: what was held: not released, but free to be taken over: interrupted\n"
    # One that comes when all is said and Python is about to exit ends it by itself.
    assert running.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
