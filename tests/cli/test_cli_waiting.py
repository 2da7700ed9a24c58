"""`claim` that waits: words, exit codes, what is told meanwhile; several claims at once; slots."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.crew import until
from support.refusals import facts
from support.waiters import Line

from looop_portable import Claims, Held, Lease
from looop_portable.cli.output import Output
from looop_portable.cli.output.progress import print_once, waiting_for
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import HeldInLine
from looop_portable.protocol.shares import line_for
from looop_portable.waiting import waits as waiting_module
from looop_portable.waiting.pauses import Pauses

try:
    import fcntl
    import pty
    import struct
    import termios
except ImportError:
    TERMINALS = False
else:
    TERMINALS = True

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]
Start = Callable[..., "subprocess.Popen[bytes]"]

ODD = "w 2 [bold]ü"
"""A session id with a space, markup, and a letter that is not ASCII."""

INTERRUPTED = (130, "", "\n")

needs_terminals = pytest.mark.skipif(not TERMINALS, reason="pseudo-terminals are missing")


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out.decode().replace("\r\n", "\n"), err.decode().replace("\r\n", "\n")


@pytest.fixture
def line(data_dir: Path) -> Line:
    return Line(data_dir, "repo-x")


@pytest.fixture
def held(run: Run, alive: Living) -> subprocess.Popen[bytes]:
    """repo-x, by w1. w2 lives as well. The process that w1 lives by."""
    holder = alive("w1")
    alive("w2")
    assert run("claim", "repo-x", "--session", "w1").returncode == 0
    return holder


def holders(data_dir: Path) -> dict[str, str]:
    return {status.lease.name: status.lease.session for status in Claims.open(str(data_dir)).list() if status.lease}


# Waiting, and how it ends.


@pytest.mark.parametrize("how", [("--wait",), ("--timeout", "60"), ("--wait", "--timeout", "60")], ids=" ".join)
def test_what_is_released_is_won_by_who_waits(
    run: Run, start: Start, held: object, line: Line, data_dir: Path, how: tuple[str, ...]
) -> None:
    waiter = start("claim", "repo-x", "--session", "w2", *how)
    line.grows([])
    assert waiter.poll() is None
    assert run("unclaim", "repo-x", "--session", "w1").returncode == 0
    code, out, _ = ended(waiter)
    assert (code, out) == (0, "claimed repo-x\n")
    assert line.tickets() == []
    assert holders(data_dir) == {"repo-x": "w2"}


def test_what_a_killed_session_held_is_won_by_who_waits(
    start: Start, held: subprocess.Popen[bytes], line: Line, data_dir: Path
) -> None:
    waiter = start("--json", "claim", "repo-x", "--session", "w2", "--wait")
    line.grows([])
    held.kill()
    held.wait()
    code, out, err = ended(waiter)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["outcome"], found["previous"], found["generation"]) == ("won", "w1", 2)


@pytest.mark.parametrize("how", [("--wait",), ("--timeout", "5"), ("--timeout", "0")], ids=" ".join)
def test_what_is_free_or_ours_is_not_waited_for(run: Run, alive: Living, line: Line, how: tuple[str, ...]) -> None:
    alive("w2")
    assert said(run("claim", "repo-x", "--session", "w2", *how)) == (0, "claimed repo-x\n", "")
    assert said(run("claim", "repo-x", "--session", "w2", *how)) == (0, "", "")
    assert not line.path.parent.exists()


def test_when_time_is_over_it_is_refused_in_these_words(
    run: Run, held: subprocess.Popen[bytes], line: Line, data_dir: Path
) -> None:
    code, out, err = said(run("claim", "repo-x", "--session", "w2", "--timeout", "0.2"))
    assert (code, out) == (124, "")
    assert err.splitlines()[0] == "claim repo-x: held by live session 'w1'"
    assert facts(err)["evidence"] == f"pid {held.pid} runs (seen now)"
    assert err.endswith("\n  outcome   waited in vain\n")
    assert line.tickets() == []
    assert holders(data_dir) == {"repo-x": "w1"}


def test_when_time_is_over_json_says_so(run: Run, held: subprocess.Popen[bytes]) -> None:
    code, out, err = said(run("--json", "claim", "repo-x", "--session", "w2", "--timeout", "0.2"))
    assert (code, err) == (124, "")
    found = json.loads(out)
    told = {key: found[key] for key in ("verb", "outcome", "name", "session", "generation", "liveness")}
    assert told == {
        "verb": "claim",
        "outcome": "timeout",
        "name": "repo-x",
        "session": "w1",
        "generation": 1,
        "liveness": "alive",
    }


@pytest.mark.parametrize("how", [("--timeout", "0"), ("--wait", "--timeout", "0"), ()], ids=" ".join)
def test_without_time_it_does_not_wait(
    run: Run, held: subprocess.Popen[bytes], line: Line, tree: Tree, how: tuple[str, ...]
) -> None:
    before = tree()
    code, out, err = said(run("claim", "repo-x", "--session", "w2", *how))
    assert (code, out) == (1, "")
    assert facts(err)["evidence"] == f"pid {held.pid} runs (seen now)"
    assert tree() == before
    code, out, _ = said(run("--json", "claim", "repo-x", "--session", "w2", *how))
    assert (code, json.loads(out)["outcome"]) == (1, "held")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf", "soon", ""])
def test_what_is_no_number_of_seconds_is_usage(run: Run, alive: Living, value: str, data_dir: Path) -> None:
    alive("w2")
    code, out, err = said(run("claim", "repo-x", "--session", "w2", f"--timeout={value}"))
    assert (code, out) == (2, "")
    assert "--timeout" in err
    assert err.count("\n") == 1
    assert holders(data_dir) == {}


def test_it_is_interrupted_and_leaves_nothing(
    interruptible: Start, held: object, line: Line, data_dir: Path, run: Run
) -> None:
    waiter = interruptible("claim", "repo-x", "--session", "w2", "--wait")
    line.grows([])
    assert ended(waiter) == INTERRUPTED
    assert line.tickets() == []
    assert holders(data_dir) == {"repo-x": "w1"}
    run("unclaim", "repo-x", "--session", "w1")
    assert holders(data_dir) == {}


def test_it_is_interrupted_while_it_waits_for_the_second_and_the_first_is_released(
    interruptible: Start, held: object, line: Line, data_dir: Path
) -> None:
    waiter = interruptible("claim", "repo-x", "repo-a", "--session", "w2", "--wait")
    line.grows([])
    assert holders(data_dir) == {"repo-a": "w2", "repo-x": "w1"}
    assert ended(waiter) == INTERRUPTED
    assert line.tickets() == []
    assert holders(data_dir) == {"repo-x": "w1"}


def test_one_that_is_killed_is_in_nobodys_way(run: Run, start: Start, alive: Living, held: object, line: Line) -> None:
    waiter = start("claim", "repo-x", "--session", "w2", "--wait")
    ticket = line.grows([])
    waiter.kill()
    waiter.communicate(timeout=60)
    assert line.tickets() == [ticket]
    alive("w3")
    assert run("claim", "repo-x", "--session", "w3", "--timeout", "0.1").returncode == 124
    assert line.tickets() == []


def test_the_reaper_removes_the_ticket_of_one_that_is_gone_and_keeps_the_others(
    run: Run, start: Start, held: object, line: Line
) -> None:
    first = start("claim", "repo-x", "--session", "w2", "--wait")
    line.grows([])
    second = start("claim", "repo-x", "--session", "w2", "--wait")
    ticket = line.grows(line.tickets())
    second.kill()
    second.communicate(timeout=60)
    assert ticket in line.tickets()
    assert run("reap").returncode == 0
    assert ticket not in line.tickets()
    assert len(line.tickets()) == 1
    first.kill()


# What is told meanwhile.


def test_after_two_seconds_it_says_once_whom_it_waits_for(run: Run, held: subprocess.Popen[bytes]) -> None:
    code, out, err = said(run("claim", "repo-x", "--session", "w2", "--timeout", "3"))
    assert (code, out) == (124, "")
    waited, first, *_ = err.splitlines()
    begins, ends = (
        "claim repo-x: held by live session 'w1'; waiting for it, ",
        f"(generation 1: pid {held.pid} runs (seen now))",
    )
    assert re.fullmatch(f"{re.escape(begins)}[23] s so far {re.escape(ends)}", waited), waited
    assert first == "claim repo-x: held by live session 'w1'"
    assert err.count("; waiting for it, ") == 1


def test_it_says_so_once_for_each_holder(capsys: pytest.CaptureFixture[str]) -> None:
    told = print_once(Output())
    alive = Verdict(Liveness.ALIVE, "pid 7 runs")
    for generation, session in ((1, "w1"), (1, "w1"), (3, "w3"), (1, "w1"), (3, "w3")):
        told(Held(Lease("repo-x", session, generation=generation), alive), 2.5)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("'")[1] for line in lines] == ["w1", "w3"]


@pytest.mark.parametrize("quiet", [False, True])
def test_without_a_terminal_it_says_each_minute_that_it_still_waits(
    capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    out, alive = Output(), Verdict(Liveness.ALIVE, "pid 7 runs")
    out.quiet = quiet
    with waiting_for(out) as told:
        for waited, place in ((2.5, 3), (30, 3), (61, 3), (62, 3), (110, 3), (185, 2), (7391, 1)):
            told(HeldInLine.of(Held(Lease("repo-x", "w1", generation=1), alive), place), waited)
    lines = capsys.readouterr().err.splitlines()
    assert (
        lines[1:] == []
        if quiet
        else [
            f"still waiting for repo-x, {so_far} so far, held by live session 'w1' (place {place} in line)"
            for so_far, place in (("1m", 3), ("3m", 2), ("2h03m", 1))
        ]
    )
    assert len(lines) == (0 if quiet else 4)


@pytest.mark.parametrize("verb", [("claim", "--session", "w2", "repo-x"), ("run", "--claim", "repo-x")])
def test_what_a_wait_of_minutes_says(
    run: Run, held: object, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """By a clock that goes on by a quarter of a minute whenever it is asked, and with pauses that take no time."""
    now = [0.0]

    def later() -> float:
        now[0] += 15
        return now[0]

    monkeypatch.setattr(waiting_module, "elapsed", later)
    monkeypatch.setattr(Pauses, "_jittered", lambda *_: 0.001)
    end = ("--", "true") if verb[0] == "run" else ()
    code, _, err = said(run(*verb, "--timeout", "4m", *end))
    assert code == 124
    still = [line for line in err.splitlines() if line.startswith("still waiting for repo-x, ")]
    assert [line.split()[4] for line in still][:3] == ["1m", "2m", "3m"]
    assert {line.partition("so far, ")[2] for line in still} == {"held by live session 'w1' (place 1 in line)"}
    assert run("-q", *verb, "--timeout", "4m", *end).stderr == ""


def test_with_json_nothing_is_said_meanwhile(run: Run, held: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "REPORT_AFTER", 0.0)
    code, out, err = said(run("--json", "claim", "repo-x", "--session", "w2", "--timeout", "0.2"))
    assert (code, err, out.count("\n")) == (124, "", 1)


def test_names_of_any_kind_are_told_without_control_characters(
    run: Run, alive: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "REPORT_AFTER", 0.0)
    alive(ODD)
    alive("w2")
    assert run("claim", "re\x1bpo", "--session", ODD).returncode == 0
    code, _, err = said(run("claim", "re\x1bpo", "--session", "w2", "--timeout", "0.2"))
    assert code == 124
    assert err.startswith("claim re\\x1bpo: held by live session 'w 2 [bold]ü'; waiting for it, 0 s so far (")
    assert "\x1b" not in err


def test_one_of_any_name_waits(run: Run, start: Start, alive: Living, held: object, line: Line, data_dir: Path) -> None:
    alive(ODD)
    waiter = start("claim", "repo-x", "--session", ODD, "--wait")
    line.grows([])
    run("unclaim", "repo-x", "--session", "w1")
    assert ended(waiter)[:2] == (0, "claimed repo-x\n")
    assert holders(data_dir) == {"repo-x": ODD}


class Terminal:
    """A terminal of 80 columns, and what is to be read on it."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.written = ""

    def read_until(self, there: Callable[[str], bool]) -> None:
        while not there(self.written):
            assert self._read(), self.written

    def read_all(self) -> None:
        """Until nobody has it open any more."""
        os.close(self.slave)
        while self._read():
            continue

    def close(self) -> None:
        os.close(self._master)

    def screen(self) -> list[str]:
        """The lines that are left, by the few sequences that are used."""
        rows, row, column = [""], 0, 0
        for token in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|.|\n", self.written, flags=re.DOTALL):
            if token == "\n":
                row += 1
                rows += [""] * (row + 1 - len(rows))
            elif token == "\r":
                column = 0
            elif token == "\x1b[2K":
                rows[row] = ""
            elif re.fullmatch(r"\x1b\[\d*A", token):
                row -= int(token[2:-1] or 1)
            elif not token.startswith("\x1b"):
                rows[row] = rows[row][:column].ljust(column) + token + rows[row][column + 1 :]
                column += 1
        return [text.rstrip() for text in rows if text.strip()]

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 60)[0]:
            return False
        try:
            data = os.read(self._master, 4096)
        except OSError:  # Linux: nobody has the other end open any more.
            return False
        self.written += data.decode()
        return bool(data)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    there = Terminal()
    yield there
    there.close()


SPINNER = r"([-\\|/])(?:\x1b\[0m)? claim repo-x: held by live session '"


@needs_terminals
def test_on_a_terminal_the_line_turns_and_is_gone_afterwards(
    run: Run, start: Start, alive: Living, line: Line, terminal: Terminal
) -> None:
    alive(ODD)
    alive("w2")
    run("claim", "repo-x", "--session", ODD)
    waiter = start("claim", "repo-x", "--session", "w2", "--wait", stderr=terminal.slave)
    terminal.read_until(lambda text: len(set(re.findall(SPINNER, text))) > 1)
    assert "'w 2 [bold]ü'; waiting for it, 2 s so far" in " ".join(terminal.screen())
    run("unclaim", "repo-x", "--session", ODD)
    out, _ = waiter.communicate(timeout=60)
    terminal.read_all()
    assert (waiter.returncode, out) == (0, b"claimed repo-x\n")
    assert terminal.screen() == []


@needs_terminals
def test_on_a_terminal_a_refusal_is_all_that_is_left(start: Start, held: object, terminal: Terminal) -> None:
    waiter = start("claim", "repo-x", "--session", "w2", "--timeout", "2.5", stderr=terminal.slave)
    waiter.communicate(timeout=60)
    terminal.read_all()
    assert waiter.returncode == 124
    assert re.search(SPINNER, terminal.written)
    first, *rest = terminal.screen()
    assert first == "claim repo-x: held by live session 'w1'"
    assert rest[-1] == "  outcome   waited in vain"


@needs_terminals
def test_one_that_is_ended_leaves_the_terminal_its_cursor(start: Start, held: object, terminal: Terminal) -> None:
    waiter = start("claim", "repo-x", "--session", "w2", "--wait", stderr=terminal.slave)
    terminal.read_until(lambda text: re.search(SPINNER, text) is not None)
    waiter.terminate()
    waiter.communicate(timeout=60)
    terminal.read_all()
    assert terminal.written.rfind("\x1b[?25l") <= terminal.written.rfind("\x1b[?25h")


# Several at once.


def test_several_claims_are_won_all_or_none(run: Run, held: object, data_dir: Path) -> None:
    code, out, err = said(run("claim", "repo-z", "repo-x", "repo-a", "--session", "w2"))
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "claim repo-x: held by live session 'w1'"
    assert holders(data_dir) == {"repo-x": "w1"}
    run("unclaim", "repo-x", "--session", "w1")
    code, out, err = said(run("claim", "repo-z", "repo-x", "repo-a", "repo-z", "--session", "w2"))
    assert (code, out, err) == (0, "claimed repo-a\nclaimed repo-x\nclaimed repo-z\n", "")
    assert holders(data_dir) == dict.fromkeys(["repo-a", "repo-x", "repo-z"], "w2")


def test_claims_that_were_ours_stay_ours_among_several(run: Run, held: object, data_dir: Path) -> None:
    run("claim", "repo-a", "--session", "w2")
    before = Claims.open(str(data_dir)).show("repo-a").generation
    assert run("claim", "repo-a", "repo-b", "repo-x", "--session", "w2").returncode == 1
    assert holders(data_dir) == {"repo-a": "w2", "repo-x": "w1"}
    assert Claims.open(str(data_dir)).show("repo-a").generation == before


def test_one_bad_name_of_several_is_usage_and_none_is_claimed(run: Run, alive: Living, data_dir: Path) -> None:
    alive("w2")
    code, out, err = said(run("claim", "repo-a", "../b", "--session", "w2"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert holders(data_dir) == {}


def test_several_are_waited_for_with_one_time_for_all(run: Run, held: object, data_dir: Path) -> None:
    assert run("claim", "repo-a", "repo-x", "--session", "w2", "--timeout", "0.2").returncode == 124
    assert holders(data_dir) == {"repo-x": "w1"}


def test_several_are_released_at_once(run: Run, held: object, data_dir: Path) -> None:
    run("claim", "repo-a", "repo-b", "--session", "w2")
    code, out, err = said(run("unclaim", "repo-a", "repo-x", "repo-b", "--session", "w2"))
    assert (code, out) == (1, "")
    assert err.startswith("unclaim repo-x: held by another live session 'w1'\n")
    assert holders(data_dir) == {"repo-x": "w1"}


# Slots.


@pytest.fixture
def full(run: Run, alive: Living) -> None:
    """repo-x has two slots, of w1 and w2; w3 lives."""
    for session in ("w1", "w2", "w3"):
        alive(session)
    assert said(run("claim", "repo-x", "--session", "w1", "--slots", "2")) == (0, "claimed repo-x#1\n", "")
    assert said(run("claim", "repo-x", "--session", "w2", "--slots", "2")) == (0, "claimed repo-x#2\n", "")


def test_as_many_sessions_as_there_are_slots_hold_it(run: Run, full: None) -> None:
    code, out, err = said(run("claim", "repo-x", "--session", "w3", "--slots", "2"))
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "claim repo-x#1: held by live session 'w1'"
    assert said(run("claim", "repo-x", "--session", "w2", "--slots", "2")) == (0, "", "")


def test_a_slot_is_released_without_knowing_which(run: Run, full: None, data_dir: Path) -> None:
    assert said(run("unclaim", "repo-x", "--session", "w2", "--slots", "2")) == (0, "", "")
    assert holders(data_dir) == {"repo-x#1": "w1"}
    assert said(run("unclaim", "repo-x", "--session", "w3", "--slots", "2")) == (0, "", "")
    assert holders(data_dir) == {"repo-x#1": "w1"}
    assert said(run("claim", "repo-x", "--session", "w3", "--slots", "2")) == (0, "claimed repo-x#2\n", "")


def test_a_slot_is_waited_for(run: Run, start: Start, full: None, data_dir: Path) -> None:
    line = Line(data_dir, line_for("repo-x", 2))
    waiter = start("claim", "repo-x", "--session", "w3", "--slots", "2", "--wait")
    line.grows([])
    run("unclaim", "repo-x", "--session", "w1", "--slots", "2")
    assert ended(waiter)[:2] == (0, "claimed repo-x#1\n")


def test_a_holder_of_a_slot_has_it_though_another_is_free_and_somebody_waits(run: Run, full: None, data_dir: Path) -> None:
    run("unclaim", "repo-x", "--session", "w1", "--slots", "2")
    tickets = Claims.open(str(data_dir)).backend.tickets
    assert tickets
    tickets.take(line_for("repo-x", 2), Claims.open(str(data_dir)).sessions.evidence.this_process())
    assert said(run("claim", "repo-x", "--session", "w2", "--slots", "2", "--timeout", "60")) == (0, "", "")
    assert len(tickets.line(line_for("repo-x", 2))) == 1


@pytest.mark.parametrize("verb", ["claim", "unclaim"])
@pytest.mark.parametrize("slots", ["0", "-1", "10001", "many"])
def test_what_is_no_number_of_slots_is_usage(run: Run, alive: Living, verb: str, slots: str, data_dir: Path) -> None:
    alive("w1")
    code, out, err = said(run(verb, "repo-x", "--session", "w1", f"--slots={slots}"))
    assert (code, out) == (2, "")
    assert "--slots" in err
    assert err.count("\n") == 1
    assert holders(data_dir) == {}


def test_until_sees_what_never_comes() -> None:
    assert not until(lambda: False, seconds=0)
