"""`session start`, `session stop`, `session list`: who is registered, by which process, and what a shell makes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import BASH, needs_bash, needs_zombies

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]

NEVER_A_PID = "4194305"  # One more than the most that Linux can be set to; other systems end earlier.


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def in_bash(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in which `looop` is the command."""
    command = f'looop() {{ "{sys.executable}" -m looop_portable "$@"; }}\n'
    done = subprocess.run(
        [BASH, "-c", command + script],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    return done


def test_start_prints_the_id(run: Run, alive: Living) -> None:
    pid = str(os.getpid())
    assert said(run("session", "start", "w1", "--pid", pid)) == (0, "w1\n", "")
    assert said(run("claim", "repo-x", "--session", "w1")) == (0, "claimed repo-x\n", "")
    alive("w2")
    assert f"pid {pid} runs" in run("claim", "repo-x", "--session", "w2").stderr


def test_without_an_id_one_is_made_up(run: Run) -> None:
    made = [run("session", "start", "--pid", str(os.getpid())).stdout for _ in range(2)]
    assert made[0] != made[1]
    assert all(re.fullmatch(r"[A-Za-z0-9-]+\n", each) for each in made)
    listed = run("--json", "session", "list").stdout.splitlines()
    assert {json.loads(line)["session"] for line in listed} == {each.strip() for each in made}


def test_the_default_process_is_the_callers_parent(looop: Run) -> None:
    started = json.loads(looop("--json", "session", "start", "w1").stdout)
    assert started["pid"] == os.getpid()


def test_the_process_can_be_named(run: Run, alive: Living) -> None:
    process = alive("other")
    started = json.loads(run("--json", "session", "start", "w1", "--pid", str(process.pid)).stdout)
    assert started["pid"] == process.pid
    run("claim", "repo-x", "--session", "w1")
    process.kill()
    process.wait()
    assert run("claim", "repo-x", "--session", "w2").stdout == "claimed repo-x\n"


def test_shell_prints_one_line_for_eval(run: Run) -> None:
    done = run("session", "start", "w1", "--pid", str(os.getpid()), "--shell")
    assert said(done) == (0, "export LOOOP_SESSION_ID=w1\n", "")


@needs_bash
@pytest.mark.parametrize("process", ["", "--pid $$"], ids=["default", "named"])
def test_a_shell_that_evals_it_is_the_session_until_it_ends(run: Run, process: str) -> None:
    done = in_bash(
        f"""
        eval "$("{sys.executable}" -m looop_portable session start w1 {process} --shell)"
        printf '%s %s\\n' "$LOOOP_SESSION_ID" $$
        looop claim repo-x; looop claim repo-x; looop --json session list
        LOOOP_SESSION_ID=other looop claim repo-x; echo "code $?"
        """
    )
    first, claimed, listed, code = done.stdout.splitlines()
    session, pid = first.split()
    assert (session, claimed, code) == ("w1", "claimed repo-x", "code 1")
    assert (json.loads(listed)["pid"], json.loads(listed)["liveness"]) == (int(pid), "alive")
    assert "claim repo-x: held by live session 'w1'" in done.stderr.splitlines()
    assert run("claim", "repo-x", "--session", "w2").stdout == "claimed repo-x\n"


@needs_bash
@pytest.mark.parametrize("session", ["it's w1; echo $(pwd) `pwd`", 'a "b" *', "é ☃"], ids=ascii)
def test_what_a_shell_makes_of_an_odd_id_is_that_id(run: Run, monkeypatch: pytest.MonkeyPatch, session: str) -> None:
    monkeypatch.setenv("ODD", session)
    done = in_bash(
        """
        eval "$(looop session start "$ODD" --pid $$ --shell)"
        [ "$LOOOP_SESSION_ID" = "$ODD" ] && looop claim repo-x
        """
    )
    assert said(done) == (0, "claimed repo-x\n", "")


def test_an_id_that_cannot_be_printed_is_refused(run: Run) -> None:
    expected = "looop: invalid session id 'a\\tb': it has characters that cannot be printed\n"
    assert said(run("session", "start", "a\tb", "--pid", str(os.getpid()))) == (2, "", expected)


def test_an_id_that_is_alive_is_refused(run: Run, alive: Living, tree: Tree) -> None:
    process = alive("w1")
    before = tree()
    expected = f"looop: session 'w1' is alive: pid {process.pid} runs (seen now)\n"
    assert said(run("session", "start", "w1", "--pid", str(os.getpid()))) == (1, "", expected)
    done = said(run("session", "start", "w1", "--pid", str(process.pid), "--shell"))
    assert done == (1, "unset LOOOP_SESSION_ID; false\n", expected)  # Or eval would succeed, with an inherited id.
    assert tree() == before


def test_a_dead_ones_id_starts_a_new_incarnation(run: Run, dead: Dying) -> None:
    dead("w1", "repo-x")
    before = json.loads(run("--json", "show", "repo-x").stdout)
    started = json.loads(run("--json", "session", "start", "w1", "--pid", str(os.getpid())).stdout)
    assert started["incarnation"] != before["incarnation"]
    after = json.loads(run("--json", "show", "repo-x").stdout)
    assert (before["liveness"], after["liveness"]) == ("dead", "dead")
    assert after["incarnation"] == before["incarnation"]
    assert json.loads(run("--json", "claim", "repo-x", "--session", "w1").stdout)["incarnation"] == started["incarnation"]


def test_a_process_that_does_not_run_is_usage(run: Run, data_dir: Path) -> None:
    code, out, err = said(run("session", "start", "w1", "--pid", NEVER_A_PID))
    assert (code, out) == (2, "")
    assert err == f"looop: no such process: {NEVER_A_PID}\n"
    assert not data_dir.exists()


@needs_zombies
def test_a_zombie_cannot_be_registered(run: Run, alive: Living) -> None:
    process = alive("other")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert run("session", "start", "w1", "--pid", str(process.pid)).returncode == 2


@pytest.mark.parametrize(
    "args",
    [
        ("start", "--pid", "0"),
        ("start", "--pid", "-1"),
        ("start", "--pid", "me"),
        ("start", "a/b"),
        ("start", ".w"),
        ("stop",),
    ],
    ids=" ".join,
)
def test_bad_ids_and_processes_are_usage_in_one_line(run: Run, data_dir: Path, args: tuple[str, ...]) -> None:
    code, out, err = said(run("session", *args))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not data_dir.exists()


def test_one_of_several_that_register_one_id_at_once_wins() -> None:
    command = [sys.executable, "-m", "looop_portable", "session", "start", "w1", "--pid", str(os.getpid())]
    starting = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    found = [(*process.communicate(timeout=60), process.returncode) for process in starting]
    assert sorted(code for _, _, code in found) == [0, 1, 1, 1], found
    refusal = f"looop: session 'w1' is alive: pid {os.getpid()} runs (seen now)".encode()
    said = [(out.splitlines(), err.splitlines()) for out, err, _ in sorted(found, key=lambda each: each[2])]
    assert said == [([b"w1"], []), *[([], [refusal])] * 3]


def test_stop_ends_the_session_and_leaves_its_process_alone(run: Run, alive: Living) -> None:
    process = alive("w1")
    run("claim", "repo-x", "--session", "w1")
    assert said(run("session", "stop", "w1")) == (0, "", "")
    assert process.poll() is None
    assert run("show", "repo-x").stdout == "repo-x: free, at generation 2\n"
    assert run("claim", "repo-x", "--session", "w2").stdout == "claimed repo-x\n"
    assert said(run("session", "stop", "w1")) == (0, "", "")
    assert said(run("session", "start", "w1", "--pid", str(process.pid))) == (0, "w1\n", "")


def test_stop_releases_what_the_session_holds_and_nothing_else(run: Run, alive: Living) -> None:
    alive("w1")
    alive("w2")
    for name, session in (("repo-a", "w1"), ("repo-b", "w2"), ("repo-c", "w1")):
        run("claim", name, "--session", session)
    stopped = json.loads(run("--json", "session", "stop", "w1").stdout)
    assert (stopped["outcome"], stopped["released"]) == ("stopped", ["repo-a", "repo-c"])
    assert [json.loads(line)["name"] for line in run("--json", "claims").stdout.splitlines()] == ["repo-b"]
    events = [json.loads(line) for line in run("--json", "events").stdout.splitlines()]
    told = [(each["event"], each["claim"], each["session"]) for each in events]
    assert told[-2:] == [("released", "repo-a", "w1"), ("released", "repo-c", "w1")]


def test_stop_says_what_it_could_not_release_and_releases_the_rest(run: Run, alive: Living, data_dir: Path) -> None:
    alive("w1")
    run("claim", "repo-a", "--session", "w1")
    run("claim", "repo-c", "--session", "w1")
    (data_dir / "claims" / ".ledger" / "repo-b").write_text("not a directory")
    code, out, err = said(run("session", "stop", "w1"))
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert err.startswith("looop: warning: repo-b: not released, but free to be taken over: ")
    assert run("show", "repo-a").stdout == "repo-a: free, at generation 2\n"
    assert run("show", "repo-c").stdout == "repo-c: free, at generation 2\n"


def test_stop_of_an_unknown_session_is_usage(run: Run) -> None:
    assert said(run("session", "stop", "w1")) == (2, "", "looop: no such session: 'w1'\n")


def test_stop_of_a_session_that_looop_started_is_refused(run: Run, data_dir: Path) -> None:
    foreign = data_dir / "sessions" / "w1"
    foreign.mkdir(parents=True)
    (foreign / "meta.json").write_text(json.dumps({"babysit_pid": os.getpid(), "started_at": "2026-01-01T00:00:00Z"}))
    code, out, err = said(run("session", "stop", "w1"))
    assert (code, out) == (2, "")
    assert err.startswith("looop: session 'w1' was started by looop itself: ")
    assert "`looop _ kill w1`" in err


def test_no_sessions_are_said_on_stderr(run: Run, data_dir: Path) -> None:
    assert said(run("session", "list")) == (0, "", "no sessions are registered\n")
    assert not data_dir.exists()


def test_sessions_are_listed_with_evidence(run: Run, alive: Living, dead: Dying) -> None:
    living, gone = alive("w1"), dead("w2")
    alive("w3")
    run("session", "stop", "w3")
    code, out, err = said(run("session", "list"))
    rows = [re.split(r" {2,}", line.rstrip()) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert rows[0] == ["SESSION", "STARTED", "HOST", "LEASE", "LIVENESS", "EVIDENCE"]
    assert [[row[0], *row[3:]] for row in rows[1:]] == [
        ["w1", "-", "alive", f"pid {living.pid} runs (seen now)"],
        ["w2", "-", "dead", f"pid {gone.pid} is gone (seen now)"],
        ["w3", "-", "dead", "the session has ended (read now)"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[1]) for row in rows[1:])


def test_a_session_that_looop_started_is_listed(run: Run, data_dir: Path) -> None:
    foreign = data_dir / "sessions" / "w1"
    foreign.mkdir(parents=True)
    (foreign / "meta.json").write_text(json.dumps({"babysit_pid": os.getpid(), "started_at": "2026-01-01T00:00:00Z"}))
    (foreign / "status.json").write_text('{"state": "running"}')
    listed = json.loads(run("--json", "session", "list").stdout)
    assert (listed["session"], listed["pid"], listed["liveness"]) == ("w1", os.getpid(), "alive")
    (foreign / "status.json").write_text('{"state": "killed"}')
    assert json.loads(run("--json", "session", "list").stdout)["liveness"] == "dead"


def test_a_shell_that_evals_what_is_refused_is_told(run: Run) -> None:
    """Without a word on stdout `eval` would succeed, and go on as the session that was inherited."""
    for refused in (("--pid", NEVER_A_PID), ("",)):
        done = run("session", "start", *refused, "--shell")
        assert (done.returncode, done.stdout) == (2, "unset LOOOP_SESSION_ID; false\n")
