"""For how long programs say that they wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from looop_portable import ClaimHeld, Claims, Settling, UsageError, Won, aio, claim_all, hold, hold_all, wait_for

NO_TIMES = [float("nan"), float("inf"), float("-inf"), -2, -0.5, "5", b"5", Decimal(5), (), {}]


def ways(directory: Path, timeout: Any) -> list[Callable[[], object]]:
    claims = Claims.open(directory)
    me = claims.acting("somebody")
    return [
        lambda: hold("n", data_dir=directory, timeout=timeout),
        lambda: hold_all("n", data_dir=directory, timeout=timeout),
        lambda: aio.hold("n", data_dir=directory, timeout=timeout),
        lambda: wait_for(claims, "n", me, timeout),
        lambda: claim_all(claims, ["n"], me, timeout),
        lambda: asyncio.run(aio.claim(claims, "n", "somebody", timeout)),
    ]


@pytest.mark.parametrize("timeout", NO_TIMES, ids=repr)
def test_what_is_no_time_is_refused_in_one_line_before_anything_is_done(tmp_path: Path, timeout: object) -> None:
    for way in ways(tmp_path / "data", timeout):
        with pytest.raises(UsageError, match="a timeout is a number of seconds") as refused:
            way()
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("timeout", [None, -1, -1.0, 10**400, 1e300], ids=["None", "-1", "-1.0", "huge", "1e300"])
def test_a_waiter_without_end_has_it_when_it_is_free(tmp_path: Path, timeout: float) -> None:
    has_it = threading.Event()

    def wait() -> None:
        with hold("n", data_dir=tmp_path, timeout=timeout):
            has_it.set()

    with hold("n", data_dir=tmp_path):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not has_it.wait(0.05)
    waiter.join(60)
    assert has_it.is_set()


@pytest.mark.parametrize("timeout", [0, 0.0, False])
def test_a_claimer_that_does_not_wait_is_refused_at_once(tmp_path: Path, timeout: float) -> None:
    with hold("n", data_dir=tmp_path), pytest.raises(ClaimHeld):
        asyncio.run(enter(tmp_path, timeout))


async def enter(directory: Path, timeout: float) -> None:
    async with aio.hold("n", data_dir=directory, timeout=timeout):
        raise AssertionError("entered")


@pytest.mark.parametrize("timeout", [None, -1, 10**400], ids=["None", "-1", "huge"])
def test_what_is_free_is_had_however_long_one_would_wait(tmp_path: Path, timeout: float) -> None:
    claims = Claims.open(tmp_path)
    me = claims.sessions.register("somebody").holder
    assert isinstance(wait_for(claims, "a", me, timeout), Won)
    assert claim_all(claims, ["b", "c"], me, timeout)
    assert isinstance(asyncio.run(aio.claim(claims, "d", me, timeout)), Won)


class Grace:
    """A store that settles when it is asked for the first time, and then no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, real = 0, Claims.claim

        def claim(claims: Claims, *args: Any, **told: Any) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise Settling("the store has lost data", 0.01)
            return real(claims, *args, **told)

        monkeypatch.setattr(Claims, "claim", claim)


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> Grace:
    return Grace(monkeypatch)


@pytest.mark.parametrize("timeout", [60, None])
def test_a_waiter_waits_for_a_store_that_settles(tmp_path: Path, grace: Grace, timeout: float | None) -> None:
    with hold("n", data_dir=tmp_path, timeout=timeout) as held:
        assert held.generation == 1
    assert grace.asked == 2


def test_a_task_that_waits_does_so_too(tmp_path: Path, grace: Grace) -> None:
    async def enter() -> int:
        async with aio.hold("n", data_dir=tmp_path, timeout=60) as held:
            return held.generation

    assert asyncio.run(enter()) == 1


def test_a_claimer_that_does_not_wait_is_told_that_the_store_settles(tmp_path: Path, grace: Grace) -> None:
    with pytest.raises(Settling), hold("n", data_dir=tmp_path):
        pass
    assert grace.asked == 1
