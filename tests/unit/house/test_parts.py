"""A short form of the suite has other tests in each run, so that in the end it has had them all."""

from __future__ import annotations

from support.parts import is_chosen

TESTS = [f"tests/unit/test_x.py::test_{number}" for number in range(300)]


def test_a_short_form_has_one_test_of_three_and_others_with_another_seed() -> None:
    runs = [{test for test in TESTS if is_chosen(test, seed, 3)} for seed in range(30)]
    assert all(60 < len(run) < 140 for run in runs)
    assert runs[0] == {test for test in TESTS if is_chosen(test, 0, 3)} != runs[1]
    assert set.union(*runs) == set(TESTS)


def test_a_short_form_has_the_exam_whole_and_what_one_system_alone_has() -> None:
    whole = [
        "tests/contract/test_backends.py::test_a[b]",
        "tests\\contract\\test_backends.py::test_a",
        "tests/unit/system/test_windows.py::test_b",
    ]
    assert all(is_chosen(test, seed, 1000) for test in whole for seed in range(3))
