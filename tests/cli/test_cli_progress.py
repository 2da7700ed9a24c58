"""What long work says on a terminal while it lasts: a line that turns, which is gone afterwards."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from looop_portable import Claims, Sweep
from looop_portable.cli.output import Output, progress
from looop_portable.cli.output.progress import working
from looop_portable.doctor import Report, examine
from looop_portable.doctor.advice import Outcome
from looop_portable.doctor.store import StoreReport

Run = Callable[..., subprocess.CompletedProcess[str]]
PATIENCE = 60  # Seconds, after which something is taken for hanging.


class Terminal(io.StringIO):
    """What is written to a terminal, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self.changed:
            self.changed.notify_all()
            return super().write(text)

    def shows(self, text: str) -> bool:
        """Whether it comes, in the end."""
        with self.changed:
            return self.changed.wait_for(lambda: text in self.getvalue(), PATIENCE)


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In place of stderr. No fixture: pytest puts its own there after those."""
    found = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(progress, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(sys, "stderr", found)
    return found


def test_a_line_says_what_is_done_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, now = a_terminal(monkeypatch), [100.0]
    monkeypatch.setattr(progress, "elapsed", lambda: now[0])
    with working(Output(), "doctor") as say:
        assert terminal.shows("looop doctor: working, 0 s so far")
        say("racing [4] processes\x1b")
        assert terminal.shows("looop doctor: racing [4] processes\\x1b, 0 s so far")
        now[0] += 78
        assert terminal.shows("processes\\x1b, 78 s so far")
    assert terminal.getvalue().rstrip("\r").endswith("\x1b[2K"), "the line is still there"


@pytest.mark.parametrize("word", ["quiet", "as_json", "no terminal"])
def test_nobody_is_told_who_has_not_asked(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    terminal, out = a_terminal(monkeypatch), Output()
    if word == "no terminal":
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    else:
        setattr(out, word, True)
    before = threading.active_count()
    with working(out, "doctor") as say:
        say("racing")
        assert threading.active_count() == before
    assert terminal.getvalue() == ""


def test_what_is_short_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "SHOWN_AFTER", float(PATIENCE))
    with working(Output(), "reap") as say:
        say("looking at the sessions")
    assert terminal.getvalue() == ""


def test_an_error_ends_the_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)

    def fails() -> None:
        with working(Output(), "reap"):
            assert terminal.shows("looop reap")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert terminal.getvalue().rstrip("\r").endswith("\x1b[2K")


def test_the_reaper_says_what_it_does(data_dir: Path) -> None:
    claims, said = Claims.open(), list[str]()
    for name in ("a", "b"):
        claims.claim(name, "gone")
    assert len(claims.reap(dry_run=True, say=said.append).reaped) == 2
    assert said == [
        "looking at the sessions",
        "listing the claims",
        *(f"looking at claim {n} of 2: {'ab'[n - 1]}" for n in (1, 2)),
    ]
    claims.reap(say=said.append)
    assert said[-1] == "removing what crashes have left behind"


def test_reap_shows_what_it_does(run: Run, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    terminal = a_terminal(monkeypatch)

    def slow(_: Claims, dry_run: bool = False, say: Callable[[str], object] | None = None) -> Sweep:
        assert say
        say("looking at claim 3 of 7: repo-x")
        assert terminal.shows("looop reap: looking at claim 3 of 7: repo-x")
        return Sweep()

    monkeypatch.setattr(Claims, "reap", slow)
    assert run("reap").returncode == 0


def test_doctor_shows_what_it_does(run: Run, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    terminal = a_terminal(monkeypatch)

    def slow(directory: str, *, say: Callable[[str], object], **options: Any) -> Report:
        def say_and_wait(what: str) -> None:
            say(what)
            assert terminal.shows(f"looop doctor: {what}")

        return examine(directory, say=say_and_wait, **options)

    monkeypatch.setattr("looop_portable.cli.verbs.doctor.examine", slow)
    assert run("doctor", "--seconds", "0.1", "--processes", "2").returncode == 0
    assert "racing 2 processes on " in terminal.getvalue()


def test_what_doctor_found_of_a_store_is_on_stdout_and_not_on_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    terminal = a_terminal(monkeypatch)
    verdict = "verdict: use --backend tape://deck"

    def slow(_: object, *options: Any) -> StoreReport:
        assert terminal.shows("looop doctor: working")
        return StoreReport("tape://deck", (), None, Outcome.USE, verdict)

    monkeypatch.setattr("looop_portable.cli.verbs.doctor.examine_store", slow)
    done = run("doctor", "tape://deck")
    assert done.returncode == 0
    assert done.stdout == f"{verdict}\n"
    assert verdict not in terminal.getvalue()
