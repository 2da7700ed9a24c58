"""Durations as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from looop_portable.cli.words.durations import SECONDS_IN, is_like_one, seconds_in, written


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1s"), (5.33, "5s"), (60, "1m"), (90, "90s"), (1800, "30m"), (3600, "1h"), (172800, "2d")]
)
def test_a_duration_is_written_as_it_is_read(seconds: float, text: str) -> None:
    assert (written(seconds), seconds_in(text)) == (text, int(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172800),
        ("1w", 604800),
        ("250ms", 0.25),
        ("1m1ms", 60.001),
        (" 30s ", 30),
    ],
)
def test_a_duration_is_read_as_it_is_written(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "+1",
        "s",
        "5x",
        "5 m",
        "1h 30m",
        "30S",
        "1h30",
        "5m5m",
        "nan",
        "inf",
        "1e999",
        "1_000",
        "\u0665",
        "1,5",
        "1y",
        "x5m",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|long"):
        seconds_in(text)


@given(
    st.lists(st.tuples(st.integers(0, 9999), st.sampled_from(list(SECONDS_IN))), min_size=1, unique_by=lambda part: part[1])
)
def test_parts_add_up_in_any_order(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert seconds_in(text) == pytest.approx(sum(number * SECONDS_IN[unit] for number, unit in parts))


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert seconds_in(text) >= 0


@pytest.mark.timeout(30)
@pytest.mark.parametrize("word", ["1millis" * 40 + "!", "-" + "1" * 30_000 + "!", "1 " * 30_000, "1:00" * 10_000])
def test_a_word_that_is_nearly_one_is_looked_at_in_time(word: str) -> None:
    """Which a pattern could try to part in more ways than anybody waits for."""
    assert not is_like_one(word)


@pytest.mark.parametrize("word", ["5 millis", "5milliseconds", "5min", "1 hour 30 mins", "1:30", "1,5h", "-5s"])
def test_what_people_write_for_one_is_known(word: str) -> None:
    assert is_like_one(word)
