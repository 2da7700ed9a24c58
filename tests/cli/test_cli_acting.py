"""For whom `claim` acts: sessions that live, that have ended, that nobody has registered, and those that live by time."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_flock, needs_sh
from support.crew import until
from support.waiters import Line

from looop_portable import Claims, Holder, UsageError

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

LOOOP = f"{shlex.quote(sys.executable)} -m looop_portable"


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def holders() -> dict[str, str]:
    return {status.lease.name: status.lease.session for status in Claims.open().list() if status.lease}


# What has ended.


@needs_sh
@pytest.mark.parametrize(
    "line",
    [
        f"{LOOOP} session start agent; true",
        f"X=$({LOOOP} session start agent); echo started $X",
        f'eval "$({LOOOP} session start agent --shell)"; {LOOOP} claim repo-y; true',
    ],
)
def test_an_agent_whose_shell_has_ended_wins_nothing_and_is_told_how_to_begin_again(
    run: Run, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(["sh", "-c", line], check=True, capture_output=True, text=True)
    assert "is a shell that runs one command line" in done.stderr
    code, out, err = said(run("claim", "repo-x", "--session", "agent"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "looop session start agent" in err
    assert "--ttl" in err
    assert "repo-x" not in holders()
    code, out, _ = said(run("claim", "repo-x", "--session", "agent", "--json"))
    assert (code, json.loads(out)["code"]) == (2, "session_ended")


def test_a_session_that_was_stopped_claims_nothing_until_it_is_started_again(run: Run, alive: Living) -> None:
    alive("w1")
    run("session", "stop", "w1")
    for words in ((), ("--wait", "1")):
        code, out, err = said(run("claim", "repo-x", "--session", "w1", *words))
        assert (code, out) == (2, "")
        assert err.startswith("looop: session 'w1' has ended: nothing would protect what it holds; start it again")
    assert holders() == {}
    assert run("unclaim", "repo-x", "--session", "w1").returncode == 0
    alive("w1")
    assert run("claim", "repo-x", "--session", "w1").returncode == 0


def test_a_session_by_time_that_has_ended_begins_again_as_it_is_told(run: Run) -> None:
    assert run("claim", "repo-x", "--session", "agent", "--ttl", "30m").returncode == 0
    assert run("session", "stop", "agent").returncode == 0
    for words in ((), ("--wait", "1")):
        code, out, err = said(run("claim", "repo-x", "--session", "agent", *words))
        assert (code, out) == (2, "")
        assert err.endswith(": nothing would protect what it holds; claim with `--ttl 30m`, and it begins again\n")
    assert run("claim", "repo-x", "--session", "agent", "--ttl", "30m").returncode == 0


def test_a_session_that_ends_while_it_waits_wins_nothing(looop: Run, run: Run, alive: Living) -> None:
    alive("w1")
    waits = alive("w2")
    run("claim", "repo-x", "--session", "w1")
    command = [sys.executable, "-m", "looop_portable", "claim", "repo-x", "--session", "w2", "--wait", "1m"]
    waiter = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = Line(Path(os.environ["LOOOP_DATA_DIR"]), "repo-x")
    assert until(lambda: line.tickets() or waiter.poll() is not None)
    waits.kill()
    waits.wait()
    run("unclaim", "repo-x", "--session", "w1")
    out, err = waiter.communicate(timeout=60)
    assert (waiter.returncode, out) == (2, "")
    assert "session 'w2' is over" in err
    assert holders() == {}


# Who is not registered.


def test_a_stranger_claims_as_with_looop_and_is_told_that_nothing_protects_it(run: Run) -> None:
    code, out, err = said(run("claim", "repo-x", "--session", "stranger"))
    assert (code, out) == (0, "claimed repo-x\n")
    assert "not registered" in err
    assert json.loads(run("claim", "repo-y", "--session", "stranger", "--json").stdout)["protected"] is False


def test_what_a_registered_session_claims_is_protected(run: Run, alive: Living) -> None:
    alive("w1")
    assert json.loads(run("claim", "repo-x", "--session", "w1", "--json").stdout)["protected"] is True


@pytest.mark.parametrize("how", ["--strict", "LOOOP_STRICT"])
def test_where_it_is_strict_a_stranger_claims_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if not how.startswith("--"):
        monkeypatch.setenv(how, "1")
    code, out, err = said(run("claim", "repo-x", "--session", "stranger", *[how][: how.startswith("--")]))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "looop session start stranger" in err
    assert holders() == {}
    monkeypatch.setenv("LOOOP_STRICT", "0")
    assert run("claim", "repo-x", "--session", "stranger").returncode == 0


# Who lives by time.


def age(data_dir: Path, seconds: float) -> None:
    """All heartbeats, and what others saw of them, are older by so much."""
    for path in (data_dir / "sessions").rglob("*"):
        if path.name.startswith("heartbeat-"):
            made = path.stat().st_mtime_ns - int(seconds * 1e9)
            for sighting in path.parent.glob("sighting-*"):
                sighting.unlink()
            os.utime(path, ns=(made, made))


def age_sightings(data_dir: Path, seconds: float) -> None:
    for path in (data_dir / "sessions").rglob("sighting-*"):
        made = path.stat().st_mtime_ns - int(seconds * 1e9)
        os.utime(path, ns=(made, made))


def beat(data_dir: Path) -> int:
    (found,) = (data_dir / "sessions").rglob("heartbeat-*")
    return found.stat().st_mtime_ns


START = [("session", "start", "agent", "--ttl", "30m"), ("claim", "repo-x", "--session", "agent", "--ttl", "30m")]


@pytest.mark.parametrize("start", START, ids=["started", "claimed"])
def test_a_session_by_time_holds_without_a_process_until_its_time_is_over(
    run: Run, alive: Living, data_dir: Path, start: tuple[str, ...]
) -> None:
    alive("w2")
    assert run(*start).returncode == 0
    assert run("claim", "repo-x", "--session", "agent").returncode == 0
    code, _, err = said(run("claim", "repo-x", "--session", "w2"))
    assert code == 1
    assert re.search(r"it lives for 1800 s after that, until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ unless it is renewed", err)
    age(data_dir, 1700)
    assert run("claim", "repo-x", "--session", "w2").returncode == 1
    age_sightings(data_dir, 500)
    assert said(run("claim", "repo-x", "--session", "w2"))[:2] == (0, "claimed repo-x\n")
    code, _, err = said(run("claim", "repo-y", "--session", "agent"))
    assert (code, "claim with `--ttl 30m`" in err) == (2, True)
    assert holders() == {"repo-x": "w2"}


@pytest.mark.parametrize(
    "verb",
    [
        ("claim", "repo-x", "--session", "agent"),
        ("claim", "repo-x", "--session", "agent", "--ttl", "1h"),
        ("unclaim", "repo-x", "--session", "agent"),
        ("check", "repo-x", "--generation", "1", "--session", "agent"),
        ("session", "renew", "agent"),
    ],
    ids=" ".join,
)
def test_each_verb_that_acts_for_it_renews_it(run: Run, alive: Living, data_dir: Path, verb: tuple[str, ...]) -> None:
    run("session", "start", "agent", "--ttl", "30m")
    run("claim", "repo-x", "--session", "agent")
    age(data_dir, 1700)
    assert run(*verb).returncode == 0
    assert time.time_ns() - beat(data_dir) < 600e9
    (status,) = Claims.open().sessions.statuses()
    assert status.verdict.liveness.value == "alive"


def test_it_is_renewed_although_its_time_is_over_if_nobody_has_ended_it(run: Run, data_dir: Path) -> None:
    run("claim", "repo-x", "--session", "agent", "--ttl", "30m")
    age(data_dir, 5000)
    assert said(run("claim", "repo-x", "--session", "agent")) == (0, "", "")


def test_it_is_renewed_while_it_waits(run: Run, alive: Living, data_dir: Path) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    command = ["claim", "repo-x", "--session", "agent", "--ttl", "4s", "--wait", "1m"]
    waiter = subprocess.Popen([sys.executable, "-m", "looop_portable", *command], stdout=subprocess.PIPE)
    seen: set[int] = set()

    def beats_again() -> bool:
        seen.update(path.stat().st_mtime_ns for path in (data_dir / "sessions").rglob("heartbeat-*"))
        return len(seen) > 2

    assert until(lambda: beats_again() or waiter.poll() is not None)
    assert waiter.poll() is None
    run("unclaim", "repo-x", "--session", "w1")
    assert waiter.communicate(timeout=60)[0].split() == [b"claimed", b"repo-x"]


def test_its_end_is_told_to_whoever_asks(run: Run) -> None:
    run("claim", "repo-x", "--session", "agent", "--ttl", "30m")
    shown = run("show", "repo-x").stdout
    assert re.search(r"until       \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ by this host's clock", shown)
    found = json.loads(run("show", "repo-x", "--json").stdout)
    assert found["until"] > found["claimed_at"]
    assert json.loads(run("session", "list", "--json").stdout)["pid"] is None
    assert re.search(r"lives until \d{4}-", run("session", "renew", "agent").stdout)


def test_another_time_replaces_the_one_before(run: Run) -> None:
    run("claim", "repo-x", "--session", "agent", "--ttl", "30m")
    run("claim", "repo-x", "--session", "agent", "--ttl", "2h")
    (status,) = Claims.open().sessions.statuses()
    assert status.registration.lease_seconds == 5400


def test_it_ends_at_once_when_it_is_stopped(run: Run, alive: Living) -> None:
    alive("w2")
    run("claim", "repo-x", "--session", "agent", "--ttl", "30m")
    assert run("session", "stop", "agent").returncode == 0
    assert holders() == {}
    assert run("session", "renew", "agent").returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        ("session", "start", "--ttl", "30m", "--pid", "1"),
        ("session", "start", "--ttl", "2s"),
        ("session", "start", "--ttl", "soon"),
        ("session", "renew", "w1"),
        ("session", "renew", "nobody"),
        ("claim", "repo-x", "--session", "w1", "--ttl", "30m"),
    ],
    ids=" ".join,
)
def test_where_time_is_nothing_to_live_by_that_is_one_line_of_usage(
    run: Run, alive: Living, words: tuple[str, ...]
) -> None:
    alive("w1")
    code, out, err = said(run(*words))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert holders() == {}


@needs_flock
@pytest.mark.parametrize("verb", [("claim", "repo-x", "--session", "agent"), ("session", "start")], ids=" ".join)
@pytest.mark.parametrize("made", [False, True], ids=["to be made", "made before, and opened by auto"])
def test_where_looop_itself_may_be_nobody_lives_by_time(run: Run, verb: tuple[str, ...], made: bool) -> None:
    if made:
        assert run("--backend", "advisory", "claim", "other", "--session", "w1").returncode == 0
    options = () if made else ("--backend", "advisory")
    code, out, err = said(run(*options, *verb, "--ttl", "30m"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot live by time: looop itself may have claims" in err
    claims = Claims.open(backend="auto" if made else "advisory")
    with pytest.raises(UsageError, match="cannot live by time"):
        claims.sessions.register("program", lease_seconds=30, timed=True)
    assert claims.sessions.ids() == []


def test_two_who_begin_one_session_by_time_are_one_holder(run: Run) -> None:
    """An id is whom a claim belongs to: whoever has the id is inside."""
    assert run("claim", "repo-x", "--session", "agent", "--ttl", "30m").stdout == "claimed repo-x\n"
    assert said(run("claim", "repo-x", "--session", "agent", "--ttl", "30m")) == (0, "", "")
    assert Claims.open().sessions.holder("agent") != Holder("agent", "")


# By which process.


@needs_sh
def test_start_says_by_which_process_the_session_lives(looop: Run, run: Run) -> None:
    done = looop("session", "start", "w1")
    assert re.fullmatch(rf"looop: session 'w1' lives by process {os.getpid()}( \(\S+\))?\n", done.stderr)
    script = f"{LOOOP} session start w2\n"
    done = subprocess.run(["sh"], input=script, check=True, capture_output=True, text=True)
    assert "lives by process" in done.stderr
    assert "warning" not in done.stderr
    assert looop("-q", "session", "start", "w3").stderr == ""
    assert run("session", "start", "w4", "--pid", str(os.getpid())).stderr == ""  # Whoever names it knows it.
