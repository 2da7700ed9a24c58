"""A session by time is renewed by each verb of those who act for it, and for as long as one of them goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.crew import until

from looop_portable import Claims, hold

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[bytes]"]
Living = Callable[[str], "subprocess.Popen[bytes]"]

LONG_AGO = 1700.0
"""Seconds: most of the half hour that it lives for."""
FOR_IT = [
    ("wait", "free", "--timeout", "0"),
    ("show", "repo-x"),
    ("queue", "repo-x"),
]
"""Verbs that take a session, and take nothing for it."""
OF_ALL = [
    *FOR_IT,
    ("show", "-q", "repo-x"),
    ("claims",),
    ("claims", "--session", "other"),
    ("session", "list"),
    ("reap", "--dry-run"),
    ("break", "--pattern", "none", "--reason", "test"),
    ("run", "--", sys.executable, "-c", "pass"),
    ("check", "repo-x", "--generation", "1"),
    ("unclaim", "repo-y"),
    ("transfer", "repo-x", "--to", "w2"),
]


@pytest.fixture(autouse=True)
def agent(run: Run, alive: Living, data_dir: Path) -> None:
    """It has been silent for long, and holds repo-x."""
    alive("w2")
    run("session", "start", "agent", "--ttl", "30m")
    run("claim", "repo-x", "--session", "agent")
    (beat,) = beats(data_dir)
    made = beat.stat().st_mtime_ns - int(LONG_AGO * 1e9)
    os.utime(beat, ns=(made, made))


def beats(data_dir: Path) -> list[Path]:
    return list((data_dir / "sessions" / "agent").rglob("heartbeat-*"))


def silence(data_dir: Path) -> float:
    return time.time() - max(path.stat().st_mtime for path in beats(data_dir))


@pytest.mark.parametrize("verb", FOR_IT, ids=" ".join)
def test_a_verb_that_names_it_renews_it(run: Run, data_dir: Path, verb: tuple[str, ...]) -> None:
    assert silence(data_dir) > LONG_AGO - 60
    assert run(*verb, "--session", "agent").returncode == 0
    assert silence(data_dir) < LONG_AGO / 2


@pytest.mark.parametrize("verb", OF_ALL, ids=lambda verb: " ".join(verb[:3]))
def test_so_does_one_that_finds_it_in_its_environment(
    looop: Run, data_dir: Path, verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOOP_SESSION_ID", "agent")
    assert looop(*verb).returncode == 0
    assert silence(data_dir) < LONG_AGO / 2


@pytest.mark.parametrize("session", ["nobody", "w2", "a/b"])
def test_whoever_has_another_session_in_his_environment_is_answered_all_the_same(
    run: Run, data_dir: Path, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOOP_SESSION_ID", session)
    for verb in (("show", "repo-x"), ("queue", "repo-x"), ("wait", "free"), ("claims",)):
        done = run(*verb)
        assert (done.returncode, "looop:" in done.stderr) == (0, False)
    assert silence(data_dir) > LONG_AGO - 60


def test_a_session_that_is_named_and_cannot_be_one_is_usage(run: Run) -> None:
    for verb in FOR_IT:
        done = run(*verb, "--session", "a/b")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_one_that_has_been_stopped_stays_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_SESSION_ID", "agent")
    assert run("session", "stop").returncode == 0
    assert run("show", "repo-x").stdout.startswith("repo-x: free")
    (status,) = [each for each in Claims.open().sessions.statuses() if each.registration.session == "agent"]
    assert status.verdict.dead


def begin_a_short_one(run: Run) -> None:
    run("session", "start", "short", "--ttl", "4s")
    assert run("claim", "repo-y", "--session", "short").returncode == 0


def is_renewed_again_and_again(data_dir: Path, process: subprocess.Popen[bytes]) -> bool:
    seen: set[int] = set()

    def look() -> bool:
        seen.update(path.stat().st_mtime_ns for path in (data_dir / "sessions" / "short").rglob("heartbeat-*"))
        return len(seen) > 3

    return until(lambda: look() or process.poll() is not None) and process.poll() is None


def test_it_is_renewed_while_it_waits_for_what_it_does_not_take(run: Run, start: Start, data_dir: Path) -> None:
    begin_a_short_one(run)
    waiter = start("wait", "repo-x", "--session", "short")
    assert is_renewed_again_and_again(data_dir, waiter)
    run("unclaim", "repo-x", "--session", "agent")
    assert waiter.communicate(timeout=60)[0].split() == [b"free", b"repo-x"]


@pytest.mark.parametrize("lease", ["0", "30"])
def test_it_is_renewed_while_a_command_runs_inside_of_it(
    run: Run, data_dir: Path, lease: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_a_short_one(run)
    monkeypatch.setenv("LOOOP_SESSION_ID", "short")
    says = (sys.executable, "-c", "import sys; sys.stdin.read()")
    command = [sys.executable, "-m", "looop_portable", "--json", "run", "--lease", lease, "--claim", "repo-y", "--", *says]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert json.loads(process.stderr.readline())["outcome"] == "joined"
        assert is_renewed_again_and_again(data_dir, process)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_to_renew_it_may_give_it_another_time(run: Run) -> None:
    assert run("session", "renew", "agent", "--ttl", "2h").returncode == 0
    (found,) = [json.loads(line) for line in run("--json", "session", "list").stdout.splitlines() if "agent" in line]
    assert found["ttl"] == 7200
    for words in (("w2", "--ttl", "2h"), ("nobody", "--ttl", "2h"), ("agent", "--ttl", "soon")):
        done = run("session", "renew", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nobody" not in run("session", "list").stdout


def test_whoever_starts_it_once_more_is_told_how_to_renew_it(run: Run) -> None:
    done = run("session", "start", "agent", "--ttl", "30m")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "`looop session renew agent` renews it" in done.stderr
    other = run("session", "start", "w2", "--ttl", "30m")
    assert (other.returncode, "renew" in other.stderr) == (1, False)


def test_a_block_that_has_joined_renews_it(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_SESSION_ID", "agent")
    with hold("repo-x", lease_seconds=3) as block:
        assert block.joined
        assert until(lambda: silence(data_dir) < LONG_AGO / 2)
