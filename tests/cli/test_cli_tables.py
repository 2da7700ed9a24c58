"""Tables: what is to be copied is whole at every width, and colours are for terminals that want them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from looop_portable import Claims
from looop_portable.cli.output.tables import cells, drawn

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

LONG = "deploy/of-a-service-with-a-long-name".replace("/", "-")
COLUMNS = ("NAME", "SESSION", "EVIDENCE")
ROWS = [(LONG, "ci-4711", "pid 4711 runs (seen now)"), ("b", "w2", "its process is gone")]
ESCAPES = re.compile(r"\x1b\[\d*m")
FOLD = "\n    "


def unfolded(shown: str) -> list[str]:
    """The rows of a table, each in one line."""
    return ESCAPES.sub("", shown).replace(FOLD, "  ").splitlines()


@pytest.mark.parametrize("width", [None, 20, 40, 60, 62, 80, 120, 1000])
def test_only_the_last_column_gives_way(width: int | None) -> None:
    lines = drawn(COLUMNS, ROWS, width, {})
    for line, row in zip(lines, [COLUMNS, *ROWS], strict=True):
        assert line.split()[:2] == list(row[:2])
        assert width is None or all(cells(part) <= max(width, len(LONG)) for part in line.split("\n"))
        assert (FOLD in line) == (width is not None and width < len(LONG) + 2 + len("SESSION"))
    assert (lines[1].endswith(ROWS[0][2])) == (width is None or width >= 80 or width == 40)


def test_rows_that_are_too_wide_go_on_between_two_columns_and_show_what_there_is_room_for() -> None:
    assert drawn(("NAME", "LIVENESS", "EVIDENCE"), [("n" * 20, "alive", "pid 4711 runs (seen now)")], 30, {}) == [
        "NAME                  LIVENESS",
        f"{'n' * 20}  alive",
    ]
    assert drawn(("NAME", "LIVENESS", "EVIDENCE"), [("n" * 20, "alive", "pid 4711 runs (seen now)")], 29, {}) == [
        "NAME\n    LIVENESS  EVIDENCE",
        f"{'n' * 20}\n    alive     pid 4711 runs\u2026",
    ]


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    assert drawn(COLUMNS, ROWS, 60, {})[1].endswith("pid 4711 run\u2026")
    assert drawn(COLUMNS, ROWS, 60, {}, "...")[1].endswith("pid 4711 r...")


TEXT = st.text(st.characters(exclude_categories=["C", "Z", "M"]), min_size=1, max_size=30)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1), st.integers(1, 200))
def test_at_any_width_all_but_the_last_are_whole_and_aligned(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = drawn(COLUMNS, rows, width, {})
    folded = FOLD in lines[0]
    starts = {
        cells(line[line.index(FOLD) if folded else 0 : line.index(row[1], len(row[0]))])
        for line, row in zip(lines[1:], rows, strict=True)
    }
    assert all(line.startswith(row[0]) for line, row in zip(lines[1:], rows, strict=True))
    assert len(starts) == 1


NOTED = ("NAME", "LIVENESS", "NOTE", "EVIDENCE")


@pytest.mark.parametrize("note", ["short", "n" * 30, "n" * 1000])
@pytest.mark.parametrize("evidence", ["it runs", "pid 4711 runs (seen now)", "e" * 300])
@pytest.mark.parametrize("width", [*range(1, 130), 400, None])
def test_where_two_give_way_the_rest_is_whole_and_nothing_is_wider(width: int | None, note: str, evidence: str) -> None:
    lines = drawn(NOTED, [("repo-x", "alive", note, evidence), ("y", "dead", "", evidence)], width, {}, giving=2)
    assert [line.split()[:2] for line in lines] == [["NAME", "LIVENESS"], ["repo-x", "alive"], ["y", "dead"]]
    assert width is None or all(
        cells(part) <= max(width, len("    LIVENESS")) for line in lines for part in line.split("\n")
    )
    if width is None or width >= 18 + len(note) + 2 + max(len(evidence), len("EVIDENCE")):
        assert lines[1].split()[2:] == [note, *evidence.split()]
    elif width >= 18 + 12 + 2 + 12:  # Then each has its part.
        assert lines[0].split()[2:] == ["NOTE", "EVIDENCE"]


def test_what_the_one_does_not_need_the_other_has() -> None:
    assert drawn(NOTED, [("x", "alive", "n" * 40, "it runs")], 70, {}, giving=2)[1].split()[2] == "n" * 40
    assert drawn(NOTED, [("x", "alive", "busy", "e" * 44)], 70, {}, giving=2)[1].split()[3] == "e" * 44


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the command shows on a terminal of so many columns."""
    for name in ("NO_COLOR", "TERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    termios = pytest.importorskip("termios", reason="there are no pseudo-terminals")

    def show(*args: str, width: int, **environment: str) -> str:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, width))
        command = [sys.executable, "-m", "looop_portable", *args]
        try:
            done = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **environment})
            os.close(theirs)
            shown = b""
            while True:
                try:
                    found = os.read(ours, 4096)
                except OSError:  # How Linux says that nobody has it open any more.
                    found = b""
                if not found:
                    break
                shown += found
            assert done.wait(60) == 0
        finally:
            os.close(ours)
        return shown.decode().replace("\r\n", "\n")

    return show


@pytest.fixture
def some(alive: Living) -> None:
    """Two claims: a living session's and that of a stranger, who is taken for dead."""
    alive("w1")
    Claims.open().claim(LONG, "w1")
    Claims.open().claim("b", "a-stranger-with-a-long-name-of-its-own")


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_names_sessions_generations_and_liveness_are_whole(
    on_a_terminal: Callable[..., str], some: None, width: int
) -> None:
    lines = unfolded(on_a_terminal("claims", width=width))
    found = {tuple(line.split()[:3]) for line in lines[1:]}
    assert found == {(LONG, "w1", "1"), ("b", "a-stranger-with-a-long-name-of-its-own", "1")}
    assert all(re.search(r"\b(alive|dead)\b", line) for line in lines[1:])


def test_the_dead_are_red_unless_colours_are_not_wanted(on_a_terminal: Callable[..., str], some: None) -> None:
    assert "\x1b[31mdead\x1b[0m" in on_a_terminal("claims", width=200)
    for without in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_a_terminal("claims", width=200, **without)
        assert "\x1b" not in on_a_terminal("session", "list", width=200, **without)


def test_wide_cuts_nothing(on_a_terminal: Callable[..., str], some: None) -> None:
    shown = ESCAPES.sub("", on_a_terminal("claims", "-o", "wide", width=60))
    assert "\u2026" not in shown
    assert "(seen now)" in shown


def test_what_is_no_terminal_gets_it_whole_and_plain(run: Run, some: None) -> None:
    shown = run("claims").stdout
    assert LONG in shown
    assert "(seen now)" in shown
    assert "\x1b" not in shown


def test_output_is_names_or_json_where_it_is_asked_for(run: Run, some: None) -> None:
    assert run("claims", "-o", "name").stdout.splitlines() == ["b", LONG]
    assert run("claims", "-o", "json").stdout == run("--json", "claims").stdout
    assert run("session", "list", "--output", "name").stdout == "w1\n"
    assert run("session", "list", "-o", "json").stdout == run("--json", "session", "list").stdout
    assert run("claims", "-o", "yaml").returncode == 2


# Sessions, and who waits.

LONG_ID = "agent-of-a-pipeline-with-a-long-name-of-its-own"


@pytest.fixture
def by_time(alive: Living) -> None:
    """A session that lives by its process, and one by time."""
    alive("w1")
    Claims.open().sessions.register(LONG_ID, lease_seconds=1350, timed=True)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_of_sessions_evidence_alone_gives_way(on_a_terminal: Callable[..., str], by_time: None, width: int) -> None:
    lines = unfolded(on_a_terminal("session", "list", width=width))
    assert lines[0].split()[:6] == ["SESSION", "STARTED", "HOST", "LEASE", "UNTIL", "LIVENESS"]
    (timed,) = [line.split() for line in lines if line.startswith(LONG_ID)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", timed[4])
    assert (timed[3], timed[5]) == ("-", "alive")


def test_until_when_has_a_column_where_somebody_lives_by_time(run: Run, alive: Living) -> None:
    alive("w1")
    assert "UNTIL" not in run("session", "list").stdout
    assert "UNTIL" in run("session", "list", "-o", "wide").stdout
    Claims.open().sessions.register(LONG_ID, lease_seconds=1350, timed=True)
    shown = run("session", "list").stdout
    timed, by_process = (json.loads(line) for line in run("--json", "session", "list").stdout.splitlines())
    assert timed["until"] in shown
    assert (timed["ttl"], by_process["ttl"], by_process["until"]) == (1800, None, None)


def test_a_wide_list_of_sessions_says_who_they_are(run: Run, by_time: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    claims = Claims.open()
    claims.sessions.register("w2", command="make")
    head, *_, row = run("session", "list", "-o", "wide").stdout.splitlines()
    assert {"PID", "USER", "COMMAND", "UNTIL"} <= {*head.split()}
    assert {"w2", str(os.getpid()), "ann", "make"} <= {*row.split()}
    found = json.loads(run("--json", "session", "list").stdout.splitlines()[-1])
    assert (found["user"], found["command"]) == ("ann", "make")


@pytest.mark.parametrize("width", [20, 60])
def test_nothing_gives_way_of_those_who_wait(on_a_terminal: Callable[..., str], width: int) -> None:
    claims = Claims.open()
    claims.claim("x", "w1")
    tickets, me = claims.backend.tickets, claims.sessions.evidence.this_process()
    assert tickets
    tickets.take("x", me._replace(session=LONG_ID, host="a-host-with-a-long-name.example.org"))
    assert (
        ESCAPES.sub("", on_a_terminal("queue", "x", width=width)).rstrip().endswith("a-host-with-a-long-name.example.org")
    )


def test_the_age_of_a_claim_that_looop_itself_holds_is_told_as_ours_is(run: Run, data_dir: Path) -> None:
    assert run("claim", "repo-x", "--session", "gone").returncode == 0
    (data_dir / "claims" / "repo-y.json").write_text(
        f'{{"name":"repo-y","session":"w1","nonce":"1-5","ts":{int(time.time()) - 7200}}}'
    )
    rows = dict(line.split(maxsplit=1) for line in run("claims").stdout.splitlines())
    assert rows["repo-y"].split()[:3] == ["w1", "0", "2h"]
    shown = json.loads(run("--json", "show", "repo-y").stdout)
    assert shown["claimed_at"].endswith("Z")
    assert "(2h ago" in run("show", "repo-y").stdout
