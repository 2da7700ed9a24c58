"""The short form of the lane, in every run: each target by hypothesis; and that the lane finds a fault that is planted."""

from __future__ import annotations

import importlib.util
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lanes.fuzzing.__main__ import all_targets, run
from lanes.fuzzing.planted import TARGETS as WITH_A_FAULT
from lanes.fuzzing.planted import Planted
from lanes.fuzzing.target import Target

needs_atheris = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
MANY = int(os.environ.get("MANY_EXAMPLES", "1"))
"""How many times as many are tried as in every run: `tox -e fuzz`."""

pytestmark = pytest.mark.timeout(120 * MANY)
TARGETS = [target for _, target in all_targets()]


def near(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Anything; and what has a part of a seed in it."""
    anything = st.binary(max_size=60)
    if not seeds:
        return anything
    part = st.tuples(st.sampled_from(seeds), st.integers(0, 300), st.integers(0, 300)).map(
        lambda found: found[0][min(found[1:]) : max(found[1:])]
    )
    return anything | st.sampled_from(seeds) | st.lists(part | st.binary(max_size=6), max_size=4).map(b"".join)


@pytest.mark.parametrize("target", TARGETS, ids=[each.name for each in TARGETS])
def test_any_bytes_have_an_answer_or_an_error_of_ours(target: Target) -> None:
    @settings(max_examples=20 * target.share * MANY, deadline=None, suppress_health_check=list(HealthCheck))
    @given(near(target.seeds))
    def check(data: bytes) -> None:
        target.check(data)

    for seed in target.seeds:
        target.check(seed)
    check()


def test_a_target_with_a_fault_fails() -> None:
    with pytest.raises(Planted):
        WITH_A_FAULT[0].check(b'{"pw')


@needs_atheris
def test_the_fuzzer_finds_a_planted_fault_and_says_by_which_input() -> None:
    found = run("planted", "planted", 400_000, 1)
    assert "Planted" in found.failure
    assert """input: b'{"pw""" in found.failure
    assert found.seed == 1
