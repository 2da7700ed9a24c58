"""Every public function that can wait without end takes `cancel=` and `cancel_check=`, and ends in one way."""

from __future__ import annotations

import asyncio
import inspect
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE
from support.crew import until

import looop_portable
from looop_portable import CancelEvent, Claims, WaitCancelled, Won, aio, claim_all, hold, hold_all, wait_for

PATIENCE = 60  # Seconds, after which something is taken for hanging.


def public() -> Iterator[tuple[str, types.FunctionType]]:
    for module in (looop_portable, aio):
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, types.FunctionType):
                yield f"{module.__name__}.{name}", found


WAITING = {name: found for name, found in public() if "timeout" in inspect.signature(found).parameters}


def test_each_that_waits_takes_both() -> None:
    assert len(WAITING) == 7
    for name, found in WAITING.items():
        assert {"cancel", "cancel_check"} <= inspect.signature(found).parameters.keys(), name


@pytest.fixture
def others(tmp_path: Path) -> Claims:
    """In which another holds n."""
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.sessions.register("other")
    claims.claim("n", "other")
    return claims


def tickets(claims: Claims) -> list[str]:
    return list(claims.backend.tickets.line("n")) if claims.backend.tickets else []


Enter = Callable[..., object]


def in_a_thread(call: Callable[..., object]) -> Enter:
    def enter(store: str, **options: Any) -> object:
        claims = Claims.open(store, NATIVE)
        me = claims.sessions.register().holder
        return call(store, claims, me, **options)

    return enter


def in_a_task(call: Callable[..., Any]) -> Enter:
    def enter(store: str, **options: Any) -> object:
        claims = Claims.open(store, NATIVE)
        me = claims.sessions.register().holder

        async def task() -> object:
            return await call(store, claims, me, **options)

        return asyncio.run(task())

    return enter


WAYS: dict[str, Enter] = {
    "hold": in_a_thread(lambda store, c, me, **o: hold("n", data_dir=store, backend=NATIVE, **o).acquire()),
    "hold_all": in_a_thread(lambda store, c, me, **o: hold_all("a", "n", data_dir=store, backend=NATIVE, **o).acquire()),
    "wait_for": in_a_thread(lambda _, c, me, **o: wait_for(c, "n", me, **o)),
    "claim_all": in_a_thread(lambda _, c, me, **o: claim_all(c, ["a", "n"], me, **o)),
    "aio.claim": in_a_task(lambda _, c, me, **o: aio.claim(c, "n", me, **o)),
    "aio.hold": in_a_task(lambda store, c, me, **o: aio.hold("n", data_dir=store, backend=NATIVE, **o).acquire()),
    "aio.hold_all": in_a_task(
        lambda store, c, me, **o: aio.hold_all("a", "n", data_dir=store, backend=NATIVE, **o).acquire()
    ),
}


@pytest.fixture(params=WAYS)
def enter(request: pytest.FixtureRequest) -> Enter:
    return WAYS[request.param]


def test_an_event_that_is_set_by_another_thread_ends_it(tmp_path: Path, others: Claims, enter: Enter) -> None:
    cancel = CancelEvent()
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(enter, str(tmp_path), timeout=None, cancel=cancel)
        assert until(lambda: tickets(others) or waiter.done())
        cancel.set()
        with pytest.raises(WaitCancelled, match=r"claim n: waiting for it was cancelled: .*'other'") as raised:
            waiter.result(PATIENCE)
    assert (raised.value.claim, raised.value.holder) == ("n", "other")
    assert tickets(others) == []
    assert [status.name for status in others.list()] == ["n"]
    assert cancel._waiters == {}


def test_so_does_a_question_that_is_answered_with_yes(tmp_path: Path, others: Claims, enter: Enter) -> None:
    asked: list[str] = []

    def check() -> bool:
        asked.append(threading.current_thread().name)
        return len(asked) > 1

    with pytest.raises(WaitCancelled):
        enter(str(tmp_path), timeout=None, cancel_check=check)
    assert len(asked) == 2
    assert tickets(others) == []
    assert [status.name for status in others.list()] == ["n"]


def test_what_the_question_raises_is_raised(tmp_path: Path, others: Claims, enter: Enter) -> None:
    def check() -> bool:
        raise KeyError("closing")

    with pytest.raises(KeyError, match="closing"):
        enter(str(tmp_path), timeout=None, cancel_check=check)
    assert tickets(others) == []
    assert [status.name for status in others.list()] == ["n"]


def test_with_one_that_is_set_before_nobody_waits(tmp_path: Path, others: Claims, enter: Enter) -> None:
    cancel = CancelEvent()
    cancel.set()
    with pytest.raises(WaitCancelled):
        enter(str(tmp_path), timeout=None, cancel=cancel)
    assert tickets(others) == []


def test_one_that_is_set_while_it_wins_leaves_what_is_won(tmp_path: Path, others: Claims) -> None:
    cancel, me = CancelEvent(), others.sessions.register("me").holder
    others.release("n", "other")
    cancel.set()
    assert isinstance(wait_for(others, "n", me, cancel=cancel), Won)


def test_a_task_is_asked_in_its_loop(tmp_path: Path, others: Claims) -> None:
    me, asked = others.sessions.register("me").holder, list[object]()

    def check() -> bool:
        asked.append(asyncio.get_running_loop())
        return True

    async def wait() -> None:
        with pytest.raises(WaitCancelled):
            await aio.claim(others, "n", me, timeout=None, cancel_check=check)
        assert asked == [asyncio.get_running_loop()]

    asyncio.run(wait())
