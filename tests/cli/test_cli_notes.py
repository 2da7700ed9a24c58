"""A note on a claim: kept with it, and told wherever the claim is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.refusals import facts

from looop_portable import Claims, Held
from looop_portable.cli.output import Output
from looop_portable.cli.output.progress import print_once

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

NOTE = "deploying 1.2, ask Ann"


@pytest.fixture(autouse=True)
def sessions(alive: Living) -> None:
    alive("w1")
    alive("w2")


def claimed(run: Run, *more: str, note: str = NOTE) -> None:
    done = run("claim", "x", "--session", "w1", "--note", note, *more)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_verb_that_shows_the_claim_shows_it(run: Run, data_dir: Path) -> None:
    claimed(run)
    assert facts(run("claim", "x", "--session", "w2").stderr)["note"] == NOTE
    assert facts(run("unclaim", "x", "--session", "w2").stderr)["note"] == NOTE
    assert re.search(f"^  note +{NOTE}$", run("show", "x").stdout, re.MULTILINE)
    assert f"note={NOTE}" in run("events").stdout
    header, row = run("claims").stdout.splitlines()
    assert header.split() == ["NAME", "SESSION", "GENERATION", "AGE", "LIVENESS", "NOTE", "EVIDENCE"]
    assert NOTE in row
    assert json.loads((data_dir / "claims" / "x.json").read_text())["note"] == NOTE


@pytest.mark.parametrize(
    "args",
    [("claim", "x", "--session", "w2"), ("claim", "x", "--session", "w1"), ("show", "x"), ("claims",), ("events",)],
    ids=" ".join,
)
def test_json_has_it(run: Run, args: tuple[str, ...]) -> None:
    claimed(run)
    assert json.loads(run("--json", *args).stdout)["note"] == NOTE


def test_a_claim_without_one_looks_as_ever(run: Run, data_dir: Path) -> None:
    run("claim", "x", "--session", "w1")
    assert "note" not in json.loads((data_dir / "claims" / "x.json").read_text())
    assert "NOTE" not in run("claims").stdout
    assert "NOTE" in run("claims", "-o", "wide").stdout
    assert "note" not in run("show", "x").stdout + run("events").stdout + run("claim", "x", "--session", "w2").stderr
    assert json.loads(run("--json", "show", "x").stdout)["note"] is None


def test_one_that_is_ours_already_keeps_its_note_and_that_is_said(run: Run) -> None:
    claimed(run)
    again = run("claim", "x", "--session", "w1", "--note", "another")
    assert (again.returncode, again.stdout) == (0, "")
    assert f"'{NOTE}' stays" in again.stderr
    assert json.loads(run("--json", "claim", "x", "--session", "w1", "--note", "another").stdout)["note"] == NOTE
    assert run("claim", "x", "--session", "w1", "--note", NOTE).stderr == ""
    assert run("claim", "x", "--session", "w1").stderr == ""


def test_it_goes_with_the_claim(run: Run) -> None:
    claimed(run)
    run("unclaim", "x", "--session", "w1")
    run("claim", "x", "--session", "w2")
    assert json.loads(run("--json", "show", "x").stdout)["note"] is None


@pytest.mark.parametrize("more", [(), ("--wait", "60"), ("--slots", "2")], ids=" ".join)
def test_it_is_on_each_of_several_names_with_slots_and_with_waiting(run: Run, more: tuple[str, ...]) -> None:
    claimed(run, "y", *more)
    found = {status.name: status.lease for status in Claims.open().list()}
    assert len(found) == 2
    assert all(lease and lease.note == NOTE for lease in found.values())


def test_one_who_was_waited_for_is_followed_by_the_waiters_own(run: Run, looop: Run) -> None:
    claimed(run, note="first")
    with subprocess.Popen(
        [sys.executable, "-m", "looop_portable", "claim", "x", "--session", "w2", "--wait", "--note", NOTE]
    ) as waiter:
        while not Claims.open().backend.tickets.line("x"):  # type: ignore[union-attr]
            assert waiter.poll() is None
        run("unclaim", "x", "--session", "w1")
        assert waiter.wait(60) == 0
    lease = Claims.open().show("x").lease
    assert lease
    assert (lease.session, lease.note) == ("w2", NOTE)


def test_what_a_terminal_would_obey_is_spelled_out(run: Run) -> None:
    evil = "red \x1b[31m\nx: held\r\x07"
    claimed(run, note=evil)
    shown = [*(run(*args).stdout for args in (("show", "x"), ("claims",), ("events",)))]
    shown.append(run("claim", "x", "--session", "w2").stderr)
    for each in shown:
        assert r"red \x1b[31m\nx: held\r\x07" in each
        assert not set("\x1b\r\x07") & set(each)
    assert json.loads(run("--json", "show", "x").stdout)["note"] == evil


def test_a_long_one_leaves_what_can_be_copied_whole(run: Run, looop: Run) -> None:
    claimed(run, note="n" * 1000)
    assert "n" * 1000 in run("claims").stdout
    assert "n" * 1000 in run("show", "x").stdout


@pytest.mark.parametrize("verb", [("claim", "x", "--session", "w1"), ("run", "--claim", "x")], ids=lambda verb: verb[0])
@pytest.mark.parametrize("note", ["n" * 1001, "\udcff"], ids=["too long", "no text"])
def test_what_can_be_no_note_is_usage_and_claims_nothing(run: Run, verb: tuple[str, ...], note: str) -> None:
    done = run(*verb, "--note", note, *(("--", "true") if verb[0] == "run" else ()))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "invalid note" in done.stderr
    assert Claims.open().list() == []


def test_run_has_one(looop: Run) -> None:
    show = (sys.executable, "-m", "looop_portable", "--json", "claim", "x", "--session", "w2")
    done = looop("run", "--claim", "x", "--note", NOTE, "--", *show)
    assert json.loads(done.stdout)["note"] == NOTE


def test_who_waits_is_told_it_too(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    claimed(run, note="red \x1b[31m")
    refused = Claims.open().claim("x", "w2")
    assert isinstance(refused, Held)
    print_once(Output())(refused, 2.0)
    assert capsys.readouterr().err.endswith("; note: red \\x1b[31m\n")
