"""What a worker of a pool raises reaches whoever asked for it, and the pool goes on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from support.pooled import enter, register

from looop_portable import ClaimHeld, SessionAlive, WaitedTooLong, hold

CALLS: list[tuple[type[Exception], Callable[..., object], tuple[float, ...]]] = [
    (ClaimHeld, enter, (0,)),
    (WaitedTooLong, enter, (0.01,)),
    (SessionAlive, register, ()),
]


def test_a_pool_passes_refusals_on(tmp_path: Path) -> None:
    register(tmp_path)
    with hold("repo-x", data_dir=tmp_path), multiprocessing.get_context("spawn").Pool(1) as pool:
        for kind, call, more in CALLS:
            with pytest.raises(kind) as raised:
                pool.apply_async(call, (tmp_path, *more)).get(60)
            assert getattr(raised.value, "evidence", None)
        assert pool.apply(abs, (-1,)) == 1


def test_an_executor_passes_refusals_on(tmp_path: Path) -> None:
    register(tmp_path)
    with hold("repo-x", data_dir=tmp_path), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for kind, call, more in CALLS:
            with pytest.raises(kind) as raised:
                pool.submit(call, tmp_path, *more).result(60)
            assert getattr(raised.value, "evidence", None)
        assert pool.submit(abs, -1).result(60) == 1
