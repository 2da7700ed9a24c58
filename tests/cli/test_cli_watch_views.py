"""A live table without a terminal: what keys make of it, what it looks like, and what has happened between two looks."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from looop_portable.cli.output.tables import TONES, cells
from looop_portable.cli.verbs.show.selecting import Selection
from looop_portable.cli.verbs.show.watching.changes import changes
from looop_portable.cli.verbs.show.watching.drawing import Chosen, Paper, page
from looop_portable.cli.verbs.show.watching.keys import Keys
from looop_portable.cli.verbs.show.watching.looking import Seen
from looop_portable.cli.verbs.show.watching.state import KEYS, ORDERS, View
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.standings import Standing

COLOURS = re.compile(r"\x1b\[\d*m")
LONG = "n" * 150


def held(name: str, life: str = "alive", session: str = "s", generation: int = 1, *, note: str = "") -> Status:
    lease = Lease(name, session, "i", generation, "2026-01-31T12:00:00Z", "host", note=note)
    verdict = Verdict(Liveness(life), f"evidence of {name}, which is a long one")
    return Status(name, generation, lease, verdict, Standing.HELD)


def damaged(name: str) -> Status:
    return Status(name, 0, Lease(name, ""), Verdict(Liveness.UNKNOWN, "it cannot be read"), Standing.HELD)


def after(keys: Iterable[str], view: View | None = None, rows: int = 100, height: int = 10) -> View:
    view = view or View()
    for key in keys:
        view = view.pressed(key, rows, height)
    return view


def drawn(
    found: list[Status], view: View, width: int = 80, height: int = 12, trouble: str = "", tones: bool = False
) -> list[str]:
    seen, paper = Seen(found, {}), Paper(width, height, TONES if tones else {})
    return page(Chosen.of_all(seen, Selection(), view), seen, view, paper, trouble, has_keys=True).lines


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[2:-1] if line]


def test_the_orders_are_those_of_claims() -> None:
    for order in ORDERS:
        assert Selection(sort=order).of([held("b"), held("a")])[0].name == "a"
    assert after("s" * len(ORDERS)) == View()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("q", View(is_over=True)),
        ("?", View(help=True)),
        ("??", View()),
        ("?q", View(is_over=True)),
        ("s", View(sort="age")),
        ("ss", View(sort="session")),
        ("r", View(reverse=True)),
        ("rr", View()),
        ("d", View(life="dead")),
        ("dd", View()),
        ("dh", View(life="held")),
        ("/ci-q", View(typing=True, filter="ci-q")),
        (["/", "c", "i", "enter"], View(filter="ci")),
        (["/", "c", "i", "enter", "q"], View(filter="ci", is_over=True)),
        (["/", "c", "i", "backspace"], View(typing=True, filter="c")),
        (["/", "c", "escape"], View()),
        (["/", "c", "enter", "escape"], View()),
        (["/", "c", "down", "resized", "\x01"], View(typing=True, filter="c")),
        (["resized", "x", "interrupt", "unknown"], View()),
    ],
)
def test_keys_choose_and_order(keys: Iterable[str], expected: View) -> None:
    assert after(keys) == expected


@pytest.mark.parametrize(
    ("keys", "top"),
    [
        (["down", "down", "up"], 1),
        (["up"], 0),
        (["pagedown", "pagedown", "pageup"], 10),
        (["end"], 90),
        (["end", "pagedown", "down"], 90),
        (["end", "home"], 0),
        (["pagedown", "s"], 0),
    ],
)
def test_keys_scroll_no_further_than_there_are_rows(keys: Iterable[str], top: int) -> None:
    assert after(keys).top == top
    assert after(keys, rows=3).top == 0


WORDS = ["up", "down", "pageup", "pagedown", "home", "end", "enter", "escape", "backspace", "resized", *"qsrdh?/x*["]


@given(st.lists(st.sampled_from(WORDS)), st.integers(0, 50), st.integers(1, 60))
def test_after_any_keys_what_is_shown_is_there(keys: list[str], rows: int, height: int) -> None:
    view = after(keys, rows=rows, height=height)
    assert 0 <= view.within(rows, height).top <= max(0, rows - height)
    assert len(drawn([held(f"c{n}") for n in range(rows)], view, height=height)) == height


def test_letters_stand_for_all_names_that_have_them_and_patterns_for_what_fits() -> None:
    assert [View(filter="i-4").shows(name) for name in ("ci-4", "ci-5")] == [True, False]
    assert [View(filter="i-*").shows(name) for name in ("ci-4", "i-5")] == [False, True]


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ([b"q"], ["q"]),
        ([b"\x1b[A\x1bOB\x1b[5~\x1b[6~"], ["up", "down", "pageup", "pagedown"]),
        ([b"\x1b[H\x1b[F\x1b[1~\x1bOF"], ["home", "end", "home", "end"]),
        ([b"\x1b", b"[", b"A"], ["up"]),
        ([b"\x1b[200~x\x1b[1;5A"], ["x"]),
        ([b"\r\n\x7f\x08\x03"], ["enter", "enter", "backspace", "backspace", "interrupt"]),
        (["\u00fc".encode()[:1], "\u00fc".encode()[1:]], ["\u00fc"]),
        ([b"\x1bq"], ["escape", "q"]),
        ([b"\x1b\x1b[A"], ["escape", "up"]),
    ],
)
def test_what_a_terminal_sends_is_keys_in_whatever_pieces_it_comes(sent: list[bytes], keys: list[str]) -> None:
    terminal = Keys()
    assert [key for data in sent for key in terminal.typed(data)] == keys
    assert not terminal.is_begun


def test_escape_alone_is_a_key_when_nothing_more_comes() -> None:
    keys = Keys()
    assert keys.typed(b"\x1b") == []
    assert keys.is_begun
    assert keys.nothing_more() == ["escape"]
    assert keys.nothing_more() == []


@given(st.lists(st.binary(max_size=5)))
def test_no_bytes_are_too_strange(sent: list[bytes]) -> None:
    keys = Keys()
    for data in sent:
        keys.typed(data)
    assert all(keys.nothing_more()) or not keys.is_begun


FOUND = [held("a", "dead", "w2"), held("b", session="w1"), held("c", "unknown", note="ask Ann"), damaged("d")]


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        (View(), ["a", "b", "c", "d"]),
        (View(reverse=True), ["d", "c", "b", "a"]),
        (View(life="dead"), ["a"]),
        (View(life="held"), ["b", "c", "d"]),
        (View(sort="session"), ["d", "c", "b", "a"]),
        (View(filter="[ac]"), ["a", "c"]),
        (View(top=99), ["a", "b", "c", "d"]),
    ],
)
def test_what_is_chosen_is_shown_in_order(view: View, shown: list[str]) -> None:
    assert names(drawn(FOUND, view)) == shown


@pytest.mark.parametrize("width", [1, 12, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 24])
def test_it_fills_the_terminal_and_no_more(width: int, height: int) -> None:
    for view in (View(), View(help=True), View(typing=True, filter="x" * 300)):
        lines = drawn([*FOUND, held(LONG)], view, width, height, tones=True)
        assert len(lines) == height
        assert all(cells(COLOURS.sub("", line)) <= max(width, 1) for line in lines)


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_a_name_is_never_cut_and_goes_on_in_the_next_line(width: int) -> None:
    text = "".join(COLOURS.sub("", line) for line in drawn([held(LONG)], View(), width, 40, tones=True)[2:])
    assert LONG in text


def test_columns_that_are_wider_than_the_terminal_go_on_in_the_next_line_as_rows_do() -> None:
    lines = drawn([held("n" * 30, session="s" * 20), held("m")], View(), 60, 8)
    assert [line.split() for line in lines[1:3]] == [["NAME", "SESSION"], ["GENERATION", "AGE", "LIVENESS", "EVIDENCE"]]
    assert [line.split()[0] for line in (lines[3], lines[5])] == ["m", "n" * 30]


def test_who_cannot_be_read_is_a_dash_and_no_gap() -> None:
    assert drawn([damaged("d")], View())[2].split()[:3] == ["d", "-", "0"]


def test_there_is_a_column_for_notes_if_any_that_is_shown_has_one() -> None:
    assert "NOTE" in drawn(FOUND, View())[1]
    assert "NOTE" not in drawn(FOUND, View(life="dead"))[1]


def test_columns_stay_where_they_are_while_it_is_scrolled() -> None:
    found = [held("a"), held("b"), held("longer-than-those")]
    heads = {drawn(found, View(top=top), height=4)[1] for top in (0, 1, 2)}
    assert len(heads) == 1


def test_the_dead_and_those_nobody_knows_have_colours_and_trouble_too() -> None:
    lines = drawn(FOUND, View(), trouble="no answer", tones=True)
    assert "\x1b[31mdead\x1b[0m" in lines[2]
    assert "\x1b[33munknown\x1b[0m" in lines[4]
    assert lines[-1] == "\x1b[31mno answer\x1b[0m"
    assert "\x1b" not in "".join(drawn(FOUND, View(), trouble="no answer"))


def test_what_was_typed_or_recorded_is_nothing_that_a_terminal_obeys() -> None:
    lines = drawn([held("a", session="\x1b[2J", note="\x1b]0;x\x07")], View(typing=True, filter="\x1b[2J"), trouble="\x1bc")
    assert "\x1b" not in "".join(lines)


def test_the_top_line_says_what_is_shown() -> None:
    found = [held(f"c{n:02}") for n in range(30)]
    assert drawn(found, View(), height=13)[0] == "30 claims; 1-10; by name"
    assert drawn(FOUND, View(reverse=True, sort="age", life="held", filter="c"))[0] == (
        "1 of 4 claims, 1 unknown; only held; by age, reversed; filter c"
    )
    assert drawn([], View())[2] == "no claims are held"
    assert drawn(FOUND, View(filter="zzz"))[2] == "no such claims are held, of 4"


def test_the_latest_evidence_is_shown() -> None:
    seen = Seen(FOUND, {Holder("w1", "i"): Verdict(Liveness.ALIVE, "a beat 3 s ago")})
    lines = page(Chosen.of_all(seen, Selection(), View()), seen, View(), Paper(200, 9), "", has_keys=True).lines
    assert "a beat 3 s ago" in lines[3]


def test_all_keys_are_told() -> None:
    text = "\n".join(drawn([], View(help=True), height=30))
    assert all(key in text for key, _ in KEYS)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ([], [held("a")], [("claimed", "a", "")]),
        ([held("a")], [], [("released", "a", "")]),
        ([held("a")], [held("a", "dead")], [("died", "a", "")]),
        ([held("a")], [held("a", "unknown")], [("unknown", "a", "")]),
        ([held("a", "unknown")], [held("a")], [("alive", "a", "")]),
        ([held("a", "dead")], [held("a", session="t", generation=3)], [("claimed", "a", "s")]),
        ([held("a")], [held("a", generation=3)], [("claimed", "a", "")]),
        ([held("a")], [damaged("a")], [("unreadable", "a", "")]),
        ([damaged("a")], [held("a")], [("readable", "a", "")]),
        ([damaged("a")], [damaged("a")], []),
        ([held("a"), held("c")], [held("a"), held("b")], [("claimed", "b", ""), ("released", "c", "")]),
    ],
)
def test_what_has_happened_is_told(before: list[Status], now: list[Status], told: list[tuple[str, str, str]]) -> None:
    found = changes({each.name: each for each in before}, {each.name: each for each in now})
    assert [(change.event, change.status.name, change.previous) for change, _ in found] == told
