"""Which number a listing has: the highest of those that we spell so, whatever else lies there."""

from hypothesis import example, given
from hypothesis import strategies as st

from looop_portable.ledger.numbers import highest

NAMES = st.one_of(
    st.integers(0, 120).map(str),
    st.integers(1, 99).map(lambda number: f"0{number}"),
    st.sampled_from([".81-a-0", "x", "", "-1", "\u0663", "\u0663\u0663", "9\u0663", "\u00b2", "1e3", "9" * 30, "0" * 4]),
)


@given(st.lists(NAMES, max_size=20))
@example(["9", "10"])
@example(["99", "100", "098"])
@example(["8", "\u0669"])
def test_the_highest_is_the_greatest_integer_that_is_spelled_as_we_spell_it(names: list[str]) -> None:
    spelled = [int(name) for name in names if name.isdecimal() and str(int(name)) == name]
    assert highest(names) == max(spelled, default=0)
