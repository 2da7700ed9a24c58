"""`show` and `claims` tell of a holder what a refusal tells: who runs it, since when, who waits, and the way out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.refusals import facts
from support.waiters import Line

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[bytes]"]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Fields = dict[str, object]

LOOOP = (sys.executable, "-m", "looop_portable")
SAYS = "import sys; print('runs', flush=True); sys.stdin.read()"
SECRET = "--password=hunter2"
OF_THE_ANSWER = {"verb", "outcome", "previous"}
AGES = {"evidence_age", "evidence", "until"}
"""What may be another a moment later."""


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")


@pytest.fixture
def running(alive: Living) -> Iterator[subprocess.Popen[bytes]]:
    """A command that holds x, and has a secret among its arguments. w2 is alive, too."""
    alive("w2")
    args = [*LOOOP, "run", "--claim", "x", "--note", "nightly", "--", sys.executable, "-c", SAYS, SECRET]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline().split() == [b"runs"]
        yield process
        process.stdin.close()


def answer(run: Run, *args: str) -> Fields:
    found: Fields = json.loads(run("--json", *args).stdout)
    return found


@pytest.mark.parametrize("verb", [("show", "x"), ("claims", "-o", "wide")], ids=" ".join)
def test_json_has_all_that_a_refusal_has(
    run: Run, start: Start, running: object, data_dir: Path, verb: tuple[str, ...]
) -> None:
    waiter = start("claim", "x", "--session", "w2", "--wait")
    line = Line(data_dir, "x")
    while not line.tickets():
        assert waiter.poll() is None
    refused, told = answer(run, "claim", "x", "--session", "w2"), answer(run, *verb)
    assert refused.keys() - OF_THE_ANSWER == told.keys() - OF_THE_ANSWER
    assert {key: told[key] for key in told.keys() - OF_THE_ANSWER - AGES} == {
        key: refused[key] for key in told.keys() - OF_THE_ANSWER - AGES
    }
    assert (told["user"], told["command"], told["waiting"]) == ("ann", os.path.basename(sys.executable), 1)
    assert str(told["next"]).startswith(f"pid {waiter.pid} of ann")
    assert SECRET not in json.dumps(told)


def test_people_are_told_the_same(run: Run, running: object) -> None:
    refused, told = facts(run("claim", "x", "--session", "w2").stderr), facts(run("show", "x").stdout)
    assert list(told) == ["session", "claimed", "user", "command", "note", "waiting", "end"]
    assert {key: told[key] for key in ("user", "command", "note", "waiting", "end")} == {
        key: refused[key] for key in ("user", "command", "note", "waiting", "end")
    }
    assert refused["evidence"] in told["session"]
    assert told["claimed"].endswith(f", on {refused['host']}")


def test_a_wide_list_has_columns_for_it(run: Run, running: object) -> None:
    run("claim", "by-time", "--session", "agent", "--ttl", "30m")
    head, timed, row = run("claims", "-o", "wide").stdout.splitlines()
    of = ["HOST", "USER", "COMMAND", "UNTIL", "WAITING"]
    assert [word for word in head.split() if word in of] == of
    for word in ("ann", os.path.basename(sys.executable), "nightly"):
        assert word in row.split()
    assert answer(run, "show", "by-time")["until"] is not None
    assert timed[head.index("UNTIL") :].startswith("20")
    narrow = run("claims").stdout.splitlines()[0].split()
    assert narrow == ["NAME", "SESSION", "GENERATION", "AGE", "LIVENESS", "NOTE", "EVIDENCE"]


def test_who_waits_for_any_slot_waits_for_each(run: Run, start: Start, alive: Living, data_dir: Path) -> None:
    alive("w1")
    alive("w2")
    run("claim", "x", "--slots", "1", "--session", "w1")
    waiter = start("claim", "x", "--slots", "1", "--session", "w2", "--wait")
    line = Line(data_dir, "x#")
    while not line.tickets():
        assert waiter.poll() is None
    assert answer(run, "show", "x#1")["waiting"] == 1


def test_of_what_is_free_there_is_nothing_to_tell(run: Run) -> None:
    told = answer(run, "show", "x")
    assert [told[key] for key in ("user", "command", "waiting", "next", "end")] == [None] * 5


def test_what_cannot_be_read_for_people_is_left_out(
    run: Run, alive: Living, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    alive("w1")
    run("claim", "x", "--session", "w1")
    queue = data_dir / "claims" / ".queue"
    queue.mkdir()
    (queue / "x").write_text("no directory")
    assert answer(run, "show", "x")["waiting"] is None
    assert "waiting" not in facts(run("show", "x").stdout)
