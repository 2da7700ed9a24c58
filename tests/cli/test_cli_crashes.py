"""What the event log says of those who were killed, of sessions, and of who broke a claim; and how it is read."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from looop_portable import Claims
from looop_portable.protocol.outcomes import End
from looop_portable.system.processes import host

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]
Event = dict[str, Any]


@pytest.fixture
def log(run: Run) -> Callable[..., list[Event]]:
    """What `looop events` prints."""

    def events(*args: str) -> list[Event]:
        done = run("--json", "events", *args)
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(each) for each in done.stdout.splitlines()]

    return events


Log = Callable[..., list[Event]]


def words(events: list[Event]) -> list[str]:
    return [event["event"] for event in events]


def test_a_command_that_was_killed_has_died_and_one_that_ends_has_released(run: Run, looop: Run, log: Log) -> None:
    kill = "import os, signal; os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))"
    assert looop("run", "--claim", "repo-x", "--", sys.executable, "-c", "raise SystemExit(137)").returncode == 137
    assert words(log()) == ["session_started", "claimed", "session_ended", "released"]
    if sys.platform != "win32":
        assert looop("run", "--claim", "repo-x", "--", sys.executable, "-c", kill).returncode == 137
        found = log("--tail", "2")
        assert words(found) == ["session_died", "died"]
        assert [each["evidence"] for each in found] == ["its command was ended by signal 9"] * 2
        assert (found[1]["claim"], found[1]["generation"]) == ("repo-x", 4)


def test_what_the_dead_held_and_another_lets_go_has_died(run: Run, alive: Living, log: Log) -> None:
    gone = alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    gone.kill()
    gone.wait()
    assert run("unclaim", "repo-x", "--session", "w2").returncode == 0
    (found,) = log("--claim", "repo-x", "--tail", "1")
    assert (found["event"], found["session"], found["generation"]) == ("died", "w1", 2)
    assert found["evidence"] == f"pid {gone.pid} is gone"


@pytest.mark.parametrize("who", ["ended", "never registered"])
def test_what_those_held_who_ended_or_were_never_there_is_released(run: Run, alive: Living, log: Log, who: str) -> None:
    alive("w2")
    if who == "ended":
        alive("w1")
        run("claim", "repo-x", "--session", "w1")
        claims = Claims.open()
        claims.sessions.stop("w1")
    else:
        run("claim", "repo-x", "--session", "w1")
    assert run("unclaim", "repo-x", "--session", "w2").returncode == 0
    assert words(log("--claim", "repo-x")) == ["claimed", "released"]


def test_sessions_begin_and_end_in_the_log(run: Run, alive: Living, log: Log) -> None:
    process = alive("w1")
    run("claim", "repo-x", "--session", "w1")
    run("session", "stop", "w1")
    run("session", "stop", "w1")
    found = log()
    assert words(found) == ["session_started", "claimed", "session_ended", "released"]
    for each in (found[0], found[2]):
        assert (each["claim"], each["session"], each["pid"]) == (None, "w1", process.pid)
        assert each["host"] == host()
        assert each["incarnation"]
    people = run("events").stdout.splitlines()
    assert people[0].split("  ")[1:4] == ["session_started", "-", "session=w1"]


def test_a_session_that_died_has_its_evidence(alive: Living, log: Log) -> None:
    alive("w1")
    claims = Claims.open()
    holder = claims.sessions.holder("w1")
    claims.claim("repo-x", holder)
    assert claims.events
    claims.events.ends[holder] = End("died", "it was seen")
    claims.retire(holder)
    found = log("--tail", "2")
    assert words(found) == ["session_died", "died"]
    assert [each["evidence"] for each in found] == ["it was seen"] * 2


def test_a_silent_session_that_is_ended_has_died(run: Run, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims.open()
    registration = claims.sessions.register("w1", lease_seconds=30)
    verdict = claims.sessions.evidence.examine(registration)
    silent = verdict._replace(liveness=type(verdict.liveness).DEAD, inferred=True, evidence="silent for long")
    monkeypatch.setattr(claims.sessions.evidence, "examine", lambda *_: silent)
    assert claims.sessions.conclude(registration.holder)
    found = log("--tail", "1")
    assert [(each["event"], each["session"], each["evidence"]) for each in found] == [
        ("session_died", "w1", "silent for long")
    ]


def test_it_says_who_broke_a_claim(run: Run, alive: Living, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    alive("w1")
    run("claim", "repo-x", "repo-y", "--session", "w1")
    run("break", "repo-x", "--generation", "1", "--reason", "why not")
    monkeypatch.setenv("LOOOP_SESSION_ID", "w9")
    run("break", "repo-y", "--generation", "1", "--reason", "why not")
    nobody, named = log("--tail", "2")
    for each in (nobody, named):
        assert (each["event"], each["session"], each["reason"]) == ("broken", "w1", "why not")
        assert each["by_user"]
        assert each["by_host"] == host()
    assert "by_session" not in nobody
    assert named["by_session"] == "w9"


# How it is read.


@pytest.fixture
def written(data_dir: Path) -> Path:
    """Of three claims, in two years and now; and of a session."""
    data_dir.mkdir()
    events = [("2020-01-01T00:00:00Z", "ci-1"), ("2021-06-01T12:00:00Z", "ci-2"), ("2021-06-01T12:00:01Z", "x[1]")]
    lines: list[Event] = [{"ts": ts, "event": "claimed", "claim": claim} for ts, claim in events]
    lines += [
        {"ts": "2999-01-01T00:00:00Z", "event": "session_started", "claim": None},
        {"event": "undated", "claim": "ci-3"},
    ]
    (data_dir / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return data_dir / "events.jsonl"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), ["ci-1", "ci-2", "x[1]", None, "ci-3"]),
        (("--claim", "ci-*"), ["ci-1", "ci-2", "ci-3"]),
        (("--claim", "x[1]"), ["x[1]"]),
        (("--claim", "ci-[13]"), ["ci-1", "ci-3"]),
        (("--claim", "CI-1"), []),
        (("--tail", "2"), [None, "ci-3"]),
        (("--tail", "0"), []),
        (("--tail", "1", "--claim", "ci-*"), ["ci-3"]),
        (("--since", "2021-06-01T12:00:00Z"), ["ci-2", "x[1]", None]),
        (("--since", "2021-06-01T14:00:01+02:00"), ["x[1]", None]),
        (("--since", "2021-01-01"), ["ci-2", "x[1]", None]),
        (("--since", "1h"), [None]),
        (("--since", "3600"), [None]),
    ],
)
def test_a_part_of_it_is_printed(log: Log, written: Path, args: tuple[str, ...], expected: list[str | None]) -> None:
    assert [each["claim"] for each in log(*args)] == expected


@pytest.mark.parametrize("args", [("--since", "soon"), ("--since", ""), ("--tail", "-1"), ("--tail", "x")])
def test_what_is_no_time_and_no_number_is_usage(run: Run, args: tuple[str, ...]) -> None:
    done = run("events", *args)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.fixture
def following(interruptible: Start) -> Iterator[Start]:
    started = []

    def start(*args: str) -> subprocess.Popen[bytes]:
        started.append(interruptible("--json", "events", "--follow", *args))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_following_begins_with_the_last_ones(following: Start, written: Path) -> None:
    follower = following("--tail", "1", "--claim", "ci-*")
    assert follower.stdout
    assert json.loads(follower.stdout.readline())["claim"] == "ci-3"
    with written.open("a") as file:
        for claim in ("other", "ci-4", "ci-5"):
            file.write(json.dumps({"ts": "2999-01-01T00:00:00Z", "event": "claimed", "claim": claim}) + "\n")
    assert [json.loads(follower.stdout.readline())["claim"] for _ in range(2)] == ["ci-4", "ci-5"]


def test_following_from_now_leaves_out_what_was(following: Start, written: Path) -> None:
    """Nothing says when it has begun to follow, so something is written until it does."""
    follower = following("--tail", "0")
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.05):
            with written.open("a") as file:
                file.write(json.dumps({"ts": "2999-01-01T00:00:00Z", "event": "claimed", "claim": "new"}) + "\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert follower.stdout
        assert json.loads(follower.stdout.readline())["claim"] == "new"
    finally:
        over.set()
        writer.join()
