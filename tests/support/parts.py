"""What all tests are run with: `--part N`, the short form of a lane that takes long."""

from __future__ import annotations

import zlib

import pytest

WHOLE = (
    *("contract/test_backends", "windows", "test_cli_batch", "test_cli_callers", "test_cli_jobs"),
    *("tests/test_exams", "tests/test_etcd_exam", "redis/tests/test_page", "lanes/fuzzing"),
)
"""Of these a short form has all: the exam, and what one system or one lane alone has."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", type=int, default=1, metavar="N", help="One test of N, by the random seed; the exam whole.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The seed is told in the head of each run: it brings the same tests again."""
    part: int = config.getoption("--part")
    if part < 2:
        return
    seed = config.getoption("randomly_seed", 0)
    kept = [item for item in items if is_chosen(item.nodeid, seed, part)]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept


def is_chosen(test: str, seed: object, part: int) -> bool:
    """Whether a short form of one of `part` has that test, when it is begun with that seed."""
    path = test.partition("::")[0].replace("\\", "/")
    return any(each in path for each in WHOLE) or not zlib.crc32(f"{seed} {test}".encode()) % part
