"""`hold(max_hold=)`: a block that holds for too long is told so, and its claim is free for others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from looop_portable import ClaimHeld, ClaimLost, Claims, Hold, UsageError, Won, aio, hold, hold_all

PATIENCE = 60


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def events(store: str) -> list[str]:
    """Those of claims."""
    found = [json.loads(line) for line in Path(store, "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [each["event"] for each in found if each["claim"]]


def free(claims: Claims, name: str) -> bool:
    """Waits for it."""
    while claims.show(name).lease:
        pass
    return True


def test_it_is_lost_and_told_and_others_have_the_claim_though_the_block_goes_on(store: str) -> None:
    told: list[Hold] = []
    was_told, claims = threading.Event(), Claims.open(store)

    def on_lost(block: Hold) -> None:
        told.append(block)
        was_told.set()

    taken: list[int] = []

    def go_on() -> None:
        with hold("x", data_dir=store, max_hold=0.2, on_lost=on_lost) as block:
            assert block.lost.wait(PATIENCE)
            assert was_told.wait(PATIENCE)
            assert free(claims, "x")
            with pytest.raises(ClaimLost, match="max_hold"):
                block.check()
            outcome = claims.claim("x", "another")
            assert isinstance(outcome, Won)
            taken.append(outcome.generation)
            assert told == [block]

    with pytest.raises(ClaimLost, match=r"generation 1 was given up: it was held for longer than max_hold \(0.2 s\)"):
        go_on()
    assert claims.check("x", taken[0]).current
    assert events(store)[:2] == ["claimed", "expired"]
    assert sorted(events(store)[2:]) == ["claimed", "released"]  # Each tells of its deed after it, in its own thread.


def test_no_other_thread_enters_before_it_is_left(store: str) -> None:
    entered: list[Any] = []

    def enter() -> None:
        with hold("x", data_dir=store, timeout=PATIENCE):
            entered.append(over[:])

    over: list[str] = []
    with contextlib.suppress(ClaimLost), hold("x", data_dir=store, max_hold=0.1) as block:
        thread = threading.Thread(target=enter)
        thread.start()
        assert block.lost.wait(PATIENCE)
        assert free(Claims.open(store), "x")
        with pytest.raises(ClaimHeld):
            hold("x", data_dir=store).__enter__()
        assert not entered
        over.append("over")
    thread.join(PATIENCE)
    assert entered == [["over"]]


def test_one_that_is_left_in_time_is_not_lost_nor_the_next(store: str) -> None:
    block = hold("x", data_dir=store, max_hold=PATIENCE)
    for generation in (1, 3):
        with block:
            assert block.generation == generation
    assert not block.lost.is_set()
    assert events(store) == ["claimed", "released"] * 2
    while any(thread.name == "looop limit" for thread in threading.enumerate()):
        pass


def test_so_are_several_and_tasks(store: str) -> None:
    with pytest.raises(ClaimLost), hold_all("x", "y", data_dir=store, max_hold=0.1) as held:
        assert all(each.lost.wait(PATIENCE) for each in held)

    async def enter() -> None:
        async with aio.hold("x", data_dir=store, max_hold=0.1) as block:
            await asyncio.wait_for(block.lost.wait(), PATIENCE)

    with pytest.raises(ClaimLost, match="max_hold"):
        asyncio.run(enter())
    assert not Claims.open(store).list()


def test_a_joined_one_is_told_and_the_claim_stays(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims.open(store)
    claims.sessions.register("around")
    claims.claim("x", "around")
    monkeypatch.setenv("LOOOP_SESSION_ID", "around")
    with contextlib.suppress(ClaimLost), hold("x", data_dir=store, max_hold=0.1) as block:
        assert block.joined
        assert block.lost.wait(PATIENCE)
    assert events(store) == ["claimed"]
    assert claims.check("x", 1).current


@pytest.mark.parametrize("given", [0, -1, float("nan"), float("inf"), "5", True])
def test_what_is_no_time_is_refused(store: str, given: Any) -> None:
    with pytest.raises(UsageError, match="max_hold is a number of seconds above 0"):
        hold("x", data_dir=store, max_hold=given)
