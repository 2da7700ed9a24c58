"""What a refusal tells, a line for each fact: who, since when, why, on what evidence, who waits, and the way out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from support.capabilities import needs_stopping
from support.refusals import facts

from looop_portable import Claims
from looop_portable.running.request import Request
from looop_portable.system.processes import host

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

LOOOP = (sys.executable, "-m", "looop_portable")
ORDER = ["host", "user", "command", "since", "note", "evidence", "waiting", "end"]
END = "looop break x --generation 1 --reason TEXT"
SAYS = "import sys; print('runs', flush=True); sys.stdin.read()"
SECRET = "--password=hunter2"


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")


@pytest.fixture
def running() -> Iterator[subprocess.Popen[bytes]]:
    """A command that holds x, and has a secret among its arguments."""
    args = [*LOOOP, "run", "--claim", "x", "--note", "nightly", "--", sys.executable, "-c", SAYS, SECRET]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline().split() == [b"runs"]
        yield process
        process.stdin.close()


def test_of_a_command_it_tells_all_of_it_and_no_argument(run: Run, alive: Living, running: subprocess.Popen[bytes]) -> None:
    alive("w2")
    done = run("claim", "x", "--session", "w2")
    told = facts(done.stderr)
    assert done.returncode == 1
    assert done.stderr.startswith("claim x: held by live session 'auto-")
    assert list(told) == ORDER
    assert (told["host"], told["user"], told["note"]) == (host(), "ann", "nightly")
    assert told["command"] == os.path.basename(sys.executable)
    assert told["since"].endswith(", generation 1")
    assert told["evidence"].endswith(" runs (seen now)")
    assert (told["waiting"], told["end"].partition(": ")[2]) == ("nobody", END)
    assert SECRET not in done.stderr
    for name, head in Claims.open().backend.sessions.scan():
        assert SECRET not in f"{name} {head}"


def test_json_has_all_of_it(run: Run, alive: Living, running: subprocess.Popen[bytes]) -> None:
    alive("w2")
    done = run("--json", "claim", "x", "--session", "w2")
    found = json.loads(done.stdout)
    assert {"session", "host", "claimed_at", "evidence", "liveness"} <= found.keys()
    told = {key: found[key] for key in ("user", "command", "note", "waiting", "next", "end")}
    command = os.path.basename(sys.executable)
    assert told == {
        "user": "ann",
        "command": command,
        "note": "nightly",
        "waiting": 0,
        "next": None,
        "end": END,
    }
    assert SECRET not in done.stdout


@pytest.mark.parametrize("slots", [(), ("--slots", "1")], ids=["one", "slots"])
def test_it_says_how_many_wait_and_who_is_next(run: Run, alive: Living, slots: tuple[str, ...]) -> None:
    for session in ("w1", "w2", "w3", "w4"):
        alive(session)
    run("claim", "x", "--session", "w1", *slots)
    tickets = Claims.open().backend.tickets
    assert tickets
    with contextlib.ExitStack() as ends:
        waiters = []
        for number, session in enumerate(("w2", "w3"), start=1):
            waiters.append(
                ends.enter_context(subprocess.Popen([*LOOOP, "claim", "x", "--session", session, "--wait", *slots]))
            )
            ends.callback(waiters[-1].kill)
            while len(tickets.line("x#" if slots else "x")) < number:
                assert waiters[-1].poll() is None
        told = facts(run("claim", "x", "--session", "w4", *slots).stderr)
        found = json.loads(run("--json", "claim", "x", "--session", "w4", *slots).stdout)
        first = f"pid {waiters[0].pid} of ann on {host()}"
        assert told["waiting"] == f"2, next: {first}"
        assert (found["waiting"], found["next"]) == (2, first)
    # Both were killed, and wait no more, whatever is left of them.
    assert facts(run("claim", "x", "--session", "w4", *slots).stderr)["waiting"] == "nobody"


def test_a_whole_line_in_quotes_gives_no_argument_away() -> None:
    assert Request([f"curl -u {SECRET} https://host/path?{SECRET}"]).program == "curl"
    assert Request([os.path.abspath("/opt/my programs/run me"), SECRET]).program == "run me"
    assert Request(["./red\x1b[31m", SECRET]).program == r"red\x1b[31m"
    assert [Request(none).program for none in ([], [""], [" "], ["dir/"])] == [""] * 4


@needs_stopping
def test_of_one_that_is_alive_but_stuck_it_tells_the_same(run: Run, alive: Living) -> None:
    holder = alive("w1")
    alive("w2")
    run("claim", "x", "--session", "w1", "--note", "busy")
    os.kill(holder.pid, signal.SIGSTOP)
    os.waitpid(holder.pid, os.WUNTRACED)
    told = facts(run("claim", "x", "--session", "w2").stderr)
    assert list(told) == [each for each in ORDER if each != "command"]
    assert told["evidence"] == f"pid {holder.pid} is stopped (seen now)"
    assert told["end"] == f"if it is stuck, and does nothing more: {END}"
    holder.kill()
    holder.wait()


def test_the_way_out_can_be_pasted_whatever_the_name(run: Run, alive: Living) -> None:
    alive("w1")
    alive("w2")
    run("claim", "a b", "--session", "w1")
    assert facts(run("claim", "a b", "--session", "w2").stderr)["end"].endswith(
        ": looop break 'a b' --generation 1 --reason TEXT"
    )


def test_what_nobody_knows_has_no_line(run: Run, alive: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("looop_portable.sessions.registrar.user", str)
    alive("w1")
    alive("w2")
    run("claim", "x", "--session", "w1")
    assert list(facts(run("claim", "x", "--session", "w2").stderr)) == ["host", "since", "evidence", "waiting", "end"]


def test_quiet_asks_nothing_and_says_nothing(run: Run, alive: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    alive("w1")
    alive("w2")
    run("claim", "x", "--session", "w1")
    monkeypatch.setattr("looop_portable.cli.output.refusals._waiting", None)
    done = run("-q", "claim", "x", "--session", "w2")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
