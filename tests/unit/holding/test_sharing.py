"""`hold(shared=True)`: threads and tasks of one process, and others; who would wait for himself; what errors leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.capabilities import needs_fork

from looop_portable import (
    ClaimHeld,
    ClaimLost,
    Claims,
    Unavailable,
    UsageError,
    WaitedTooLong,
    aio,
    claim_all,
    hold,
    hold_all,
    wait_for,
)
from looop_portable.claims.sharing import Sharing
from looop_portable.config import resolve
from looop_portable.holding.member import this_process

PATIENCE = 60


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


def readers(store: str) -> int:
    lease = Claims.open(store).show("x").lease
    return len(lease.readers) if lease else 0


def test_many_threads_share_it_at_once(store: str) -> None:
    inside = threading.Barrier(20, timeout=PATIENCE)
    numbers: list[int] = []

    def read(_: int) -> None:
        with hold("x", data_dir=store, shared=True) as held:
            inside.wait()
            held.check()
            numbers.append(held.generation)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(read, range(20)))
    assert len(set(numbers)) == 20
    assert Claims.open(store).show("x").lease is None
    members = [
        member for (config, _), member in this_process().members.items() if config.data_dir == resolve(store).data_dir
    ]
    assert [(member.holding, member.current.blocks) for member in members] == [([], {})]


def test_one_who_wants_it_alone_waits_for_all_and_those_who_come_later_for_him(store: str) -> None:
    order: list[str] = []

    def enter(name: str, *, shared: bool) -> None:
        with hold("x", data_dir=store, timeout=PATIENCE, shared=shared):
            order.append(name)

    claims = Claims.open(store)
    tickets = claims.backend.tickets
    assert tickets
    threads = [
        threading.Thread(target=enter, args=("writer",), kwargs={"shared": False}),
        threading.Thread(target=enter, args=("reader",), kwargs={"shared": True}),
    ]
    with hold("x", data_dir=store, shared=True):
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(tickets.line("x")) < number:
                pass
        with pytest.raises(ClaimHeld, match="waits to have it alone, and goes first"), ThreadPoolExecutor(1) as pool:
            pool.submit(hold("x", data_dir=store, shared=True).acquire).result()
        assert order == []
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["writer", "reader"]


def test_a_thread_that_shares_it_enters_again_though_one_waits_to_have_it_alone(store: str) -> None:
    """It would wait for whoever waits for it."""
    entered = threading.Event()

    def write() -> None:
        with hold("x", data_dir=store, timeout=PATIENCE):
            entered.set()

    tickets = Claims.open(store).backend.tickets
    assert tickets
    writer = threading.Thread(target=write)
    with hold("x", data_dir=store, shared=True) as outer:
        writer.start()
        while not tickets.line("x"):
            pass
        for timeout in (0, PATIENCE):
            with hold("x", data_dir=store, shared=True, timeout=timeout) as inner:
                assert inner.generation > outer.generation
        assert not entered.is_set()
    writer.join(PATIENCE)
    assert entered.is_set()


@pytest.mark.parametrize("timeout", [0, 5, None])
def test_a_thread_that_shares_it_is_refused_it_alone_at_once(store: str, timeout: float | None) -> None:
    with hold("x", data_dir=store, shared=True), pytest.raises(ClaimHeld, match="not reentrant"):
        hold("x", data_dir=store, timeout=timeout).__enter__()


@pytest.mark.parametrize("timeout", [0, 5, None])
def test_a_thread_that_has_it_alone_is_refused_a_share_at_once(store: str, timeout: float | None) -> None:
    with hold("x", data_dir=store), pytest.raises(ClaimHeld, match="not reentrant"):
        hold("x", data_dir=store, shared=True, timeout=timeout).__enter__()


def test_another_thread_waits_until_all_have_left(store: str) -> None:
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(hold("x", data_dir=store, shared=True))
        with pytest.raises(WaitedTooLong):
            pool.submit(hold("x", data_dir=store, timeout=0.2).__enter__).result()
        stack.close()
        alone = hold("x", data_dir=store, timeout=PATIENCE)
        pool.submit(alone.acquire).result()
        alone.release()


def test_one_that_is_left_leaves_the_others(store: str) -> None:
    first, second = hold("x", data_dir=store, shared=True), hold("x", data_dir=store, shared=True)
    first.acquire()
    second.acquire()
    first.release()
    second.check()
    assert readers(store) == 1
    first.acquire()
    assert readers(store) == 2
    second.release()
    first.release()
    assert readers(store) == 0


def test_one_that_is_broken_is_lost_and_no_other(store: str) -> None:
    mine = hold("x", data_dir=store, shared=True)
    mine.acquire()
    with hold("x", data_dir=store, shared=True) as other:
        Claims.open(store).break_claim("x", mine.generation, "for a test")
        other.check()
        with pytest.raises(ClaimLost):
            mine.check()
    with pytest.raises(ClaimLost):
        mine.release()


@needs_fork
def test_a_forked_child_has_no_share_of_its_parents(store: str) -> None:
    import os

    with hold("x", data_dir=store, shared=True) as held:
        child = os.fork()
        if not child:
            code = 1
            try:
                with pytest.raises(ClaimLost):
                    held.check()
                with hold("x", data_dir=store, shared=True):
                    code = 0 if readers(store) == 2 else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        held.check()
        assert readers(store) == 1


def test_tasks_share_it(store: str) -> None:
    async def read(line: asyncio.Barrier) -> int:
        async with aio.hold("x", data_dir=store, shared=True) as held:
            await line.wait()
            return held.generation

    async def all_of_them() -> list[int]:
        line = asyncio.Barrier(10)
        return await asyncio.gather(*(read(line) for _ in range(10)))

    assert len(set(asyncio.run(all_of_them()))) == 10
    assert readers(store) == 0


def test_several_are_shared_at_once(store: str) -> None:
    with hold_all("x", "y", data_dir=store, shared=True), hold_all("y", "x", data_dir=store, shared=True):
        assert readers(store) == 2
        claims = Claims.open(store)
        me = claims.sessions.register("me").holder
        outcome = claim_all(claims, ["x", "y"], me, shared=True)
        assert isinstance(outcome, list)
        assert readers(store) == 3
        claims.retire(me)


@pytest.mark.parametrize("how", ["hold", "hold_all", "aio", "wait_for", "claim_all"])
def test_slots_are_not_shared(store: str, how: str) -> None:
    claims = Claims.open(store)
    me = claims.sessions.register("me").holder
    ways: dict[str, Callable[[], object]] = {
        "hold": lambda: hold("x", data_dir=store, slots=2, shared=True),
        "hold_all": lambda: hold_all("x", data_dir=store, slots=2, shared=True),
        "aio": lambda: aio.hold("x", data_dir=store, slots=2, shared=True),
        "wait_for": lambda: wait_for(claims, "x", me, slots=2, shared=True),
        "claim_all": lambda: claim_all(claims, ["x"], me, slots=2, shared=True),
    }
    with pytest.raises(UsageError, match="not both"):
        ways[how]()


def test_a_share_that_could_not_be_left_is_left_later(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody else's of this process."""
    failing = threading.Event()
    leave_out = Sharing._leave_out

    def fails(self: Sharing, *args: object) -> bool:
        if failing.is_set():
            raise Unavailable("scripted")
        return leave_out(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Sharing, "_leave_out", fails)
    with hold("x", data_dir=store, shared=True) as other:
        mine = hold("x", data_dir=store, shared=True)
        mine.acquire()
        failing.set()
        with pytest.raises(Unavailable):
            mine.release()
        assert readers(store) == 2
        failing.clear()
        while readers(store) == 2:
            pass
        other.check()


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_shared_is_a_truth(store: str, wrong: object) -> None:
    with pytest.raises(UsageError, match="True or False"):
        hold("x", data_dir=store, shared=wrong)  # type: ignore[arg-type]
