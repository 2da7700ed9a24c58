"""The benchmarks' statistics, tables and picture say what was measured."""

from __future__ import annotations

from xml.etree import ElementTree

import figures
import plot
import pytest
from figures import Turn, hand_overs, overtakings, ratio, shares, spread
from hypothesis import given
from hypothesis import strategies as st
from tables import OURS, Panel, Table, duration, markdown, number, text

TABLE = Table(
    "A title", "What was done.", ("", "one", "two"), ((f"{OURS}: a", "1.00 s", "2"), ("peer | b", "12.0 s", "30"))
)


def test_nobody_is_overtaken_where_who_comes_first_is_first() -> None:
    assert overtakings([Turn(member, 10 + member, 20 + member) for member in range(4)]) == [0, 0, 0, 0]


def test_a_waiter_that_came_first_and_has_it_last_was_overtaken_by_all_others() -> None:
    assert overtakings([Turn(0, 1, 50), Turn(1, 10, 20), Turn(2, 12, 30)]) == [0, 0, 2]


def test_one_member_that_takes_it_again_and_again_overtakes_each_time() -> None:
    again = [Turn(1, 10 * turn, 10 * turn + 1) for turn in range(1, 6)]
    assert overtakings([*again, Turn(0, 5, 100)]) == [0] * 5 + [5]


def test_a_waiter_that_came_earlier_or_at_the_same_moment_has_not_overtaken() -> None:
    assert overtakings([Turn(0, 5, 20), Turn(1, 4, 10), Turn(2, 5, 15)]) == [0, 0, 0]


def test_a_waiter_that_never_had_it_was_overtaken_by_all_that_came_later() -> None:
    assert overtakings([Turn(1, 10, 11), Turn(2, 20, 21), Turn(1, 2, 30)], waiting=[5, 15, 99]) == [0, 0, 2, 2, 1, 0]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=12), st.lists(st.integers(0, 40), max_size=4))
def test_overtakings_are_those_of_the_definition(waits: list[tuple[int, int]], waiting: list[int]) -> None:
    # No two have it at the same moment.
    turns = [Turn(member, came, came + 100 * took + member) for member, (came, took) in enumerate(waits)]
    ordered = sorted({turn.got: turn for turn in turns}.values(), key=lambda turn: turn.got)
    had = [sum(other.announced > turn.announced and other.got < turn.got for other in ordered) for turn in ordered]
    assert overtakings(ordered[::-1], waiting) == had + [sum(turn.announced > came for turn in ordered) for came in waiting]


def test_a_hand_over_is_from_a_release_to_the_next_one_s_having_it() -> None:
    turns = [Turn(1, 5, 3_500_000_000, 4_000_000_000), Turn(0, 1, 1_000_000_000, 3_000_000_000), Turn(2, 6, 4_000_002_000)]
    assert hand_overs(turns) == [0.5, 2e-6]


def test_a_member_that_has_it_again_has_handed_over_nothing() -> None:
    assert hand_overs([Turn(0, 1, 10, 20), Turn(0, 21, 30, 40), Turn(1, 2, 1_000_000_040)]) == [1.0]


def test_what_has_not_been_released_was_not_handed_over() -> None:
    assert hand_overs([Turn(0, 1, 10), Turn(1, 2, 20, 30)]) == []


def test_the_spread_has_the_median_and_the_worst() -> None:
    assert spread([5, 1, 3]) == figures.Spread(3, 3, 5, 5)
    assert spread([float(value) for value in range(100, 0, -1)]) == figures.Spread(100, 50.5, 99, 100)
    assert spread([float(value) for value in range(1, 102)]).most == 100


def test_the_spread_of_nothing_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_a_ratio_is_that_of_the_rounds_and_not_of_the_medians() -> None:
    assert ratio([1, 10, 3], [2, 5, 1]) == 2


def test_a_round_that_one_of_two_has_not_had_gives_no_ratio() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1])


def test_the_shares_count_who_never_had_it() -> None:
    turns = [Turn(0, 1, 2), Turn(2, 1, 3), Turn(0, 3, 4)]
    assert shares(turns, 3) == (0, 2)
    assert shares([*turns, Turn(1, 5, 6)], 3) == (1, 2)


def test_a_table_in_markdown_has_ours_in_bold_and_keeps_its_columns() -> None:
    assert markdown(TABLE).splitlines() == [
        "## A title",
        "",
        "What was done.",
        "",
        "|  | one | two |",
        "|---|---:|---:|",
        f"| **{OURS}: a** | **1.00 s** | **2** |",
        "| peer \\| b | 12.0 s | 30 |",
    ]


def test_a_table_for_the_terminal_has_its_figures_under_each_other() -> None:
    assert text(TABLE).splitlines() == [
        "A title",
        "                      one  two",
        "looop-portable: a  1.00 s    2",
        "peer | b           12.0 s   30",
    ]


@pytest.mark.parametrize("write", [markdown, text])
def test_a_row_that_has_lost_a_cell_is_refused(write: object) -> None:
    assert callable(write)
    with pytest.raises(ValueError, match="'short' has 2 cells for 3 columns"):
        write(TABLE._replace(rows=(("short", "1"),)))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.00123456, "0.00123"),
        (0.0995, "0.0995"),
        (0.9996, "1.00"),
        (1.234, "1.23"),
        (9.996, "10.0"),
        (56.78, "56.8"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (100_000, "100,000"),
    ],
)
def test_a_number_has_three_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(2.5, "2.50 s"), (0.9, "900 ms"), (1e-3, "1.00 ms"), (9.99e-4, "999 us"), (5e-8, "0.0500 us")]
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def marks(values: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """Where the picture shows each contender of one panel: the names, and the marks beside them, in their order."""
    picture = ElementTree.fromstring(plot.svg("a < b", "c & d", (Panel("A panel", "us", values),)))
    (group,) = [each for each in picture if each.tag.endswith("}g")]
    names = [each.text or "" for each in group if each.get("text-anchor") == "end"]
    shapes = [each for each in group if each.get("fill") in (plot.OURS_COLOUR, "#ffffff")]
    places = [float(each.get("cx") or str(each.get("d"))[1:].split()[0]) for each in shapes]
    return dict(zip(names, places, strict=True))


def test_the_picture_has_the_smaller_figure_further_left_and_equal_steps_for_equal_ratios() -> None:
    found = marks((("slow", 1000.0), (f"{OURS}: hold", 10.0), ("middle", 100.0)))
    assert list(found) == ["slow", "looop: hold", "middle"]
    assert found["slow"] - found["middle"] == pytest.approx(found["middle"] - found["looop: hold"])
    assert found["looop: hold"] < found["middle"]


def test_the_picture_shows_nought_at_the_beginning_of_the_scale() -> None:
    found = marks((("none", 0.0), ("least", 1.0), ("some", 5.0)))
    assert found["none"] == plot.NAMES < found["least"]
    assert marks((("none", 0.0), ("nothing", 0.0))) == {"none": plot.NAMES, "nothing": plot.NAMES}


@given(st.lists(st.floats(1e-9, 1e9), min_size=1))
def test_the_scale_has_room_for_all(values: list[float]) -> None:
    low, high = plot.decades(values)
    assert low < high
    assert all(plot.NAMES <= plot.x_of(value, low, high) <= plot.NAMES + plot.SCALE for value in values)
