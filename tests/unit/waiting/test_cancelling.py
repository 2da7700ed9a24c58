"""Waiting that its caller ends, by an event or by a question; in any thread, and also behind others in line."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.capabilities import NATIVE
from support.watching import Watched

from looop_portable import CancelEvent, ClaimHeld, Claims, WaitCancelled, hold, hold_all
from looop_portable.holding.blocks import one_claim
from looop_portable.system.watch.waking import new_watcher
from looop_portable.waiting import stopping

PATIENCE = 60  # Seconds, after which something is taken for hanging.


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def others(store: str) -> Claims:
    claims = Claims.open(store, NATIVE)
    claims.sessions.register("other")
    claims.claim("n", "other")
    return claims


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when somebody waits."""
    found = threading.Event()
    monkeypatch.setattr(one_claim, "new_watcher", lambda: Watched(new_watcher(), lambda _: found.set()))
    return found


def tickets(claims: Claims) -> list[str]:
    return list(claims.backend.tickets.line("n")) if claims.backend.tickets else []


@pytest.mark.parametrize("thread", ["main", "another"])
def test_an_event_wakes_whoever_waits_at_once(store: str, others: Claims, waits: threading.Event, thread: str) -> None:
    cancel = CancelEvent()

    def wait() -> None:
        with hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel=cancel):
            raise AssertionError

    def end() -> None:
        assert waits.wait(PATIENCE)
        cancel.set()

    with ThreadPoolExecutor(2) as pool:
        pool.submit(end)
        waiter = wait if thread == "main" else pool.submit(wait).result
        with pytest.raises(WaitCancelled, match=r"claim n: waiting for it was cancelled: .*'other'") as raised:
            waiter()
    assert (raised.value.claim, raised.value.holder) == ("n", "other")
    assert isinstance(raised.value, ClaimHeld)
    assert tickets(others) == []
    assert others.check("n", 1).current


def test_behind_others_in_line(store: str, others: Claims, waits: threading.Event) -> None:
    cancel, first = CancelEvent(), CancelEvent()
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel=first).acquire)
        assert waits.wait(PATIENCE)
        waits.clear()
        behind = pool.submit(hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel=cancel).acquire)
        assert waits.wait(PATIENCE)
        cancel.set()
        with pytest.raises(WaitCancelled, match=r"others are before this one|held by live"):
            behind.result(PATIENCE)
        assert not ahead.done()
        first.set()
        with pytest.raises(WaitCancelled):
            ahead.result(PATIENCE)
    assert tickets(others) == []


def test_one_that_is_set_before_does_not_keep_from_what_is_free(store: str, others: Claims) -> None:
    cancel = CancelEvent()
    cancel.set()
    with pytest.raises(WaitCancelled):
        hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel=cancel).acquire()
    with pytest.raises(ClaimHeld) as raised:
        hold("n", data_dir=store, backend=NATIVE, cancel=cancel).acquire()
    assert not isinstance(raised.value, WaitCancelled), "it was not to wait at all"
    with hold("free", data_dir=store, backend=NATIVE, timeout=None, cancel=cancel) as lease:
        lease.check()
    assert cancel._waiters == {}


def test_a_question_is_asked_between_two_looks(store: str, others: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, answers = list[float](), iter([False] * 5 + [True])

    class Slept(Watched):
        def wait(self, seconds: float) -> None:
            pauses.append(seconds)

    monkeypatch.setattr(one_claim, "new_watcher", lambda: Slept(new_watcher(), lambda _: None))
    with pytest.raises(WaitCancelled):
        hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel_check=lambda: next(answers)).acquire()
    assert len(pauses) == 3
    assert max(pauses) <= stopping.ASKED


def test_what_the_question_raises_ends_it(store: str, others: Claims) -> None:
    def asked() -> bool:
        raise KeyError("closing")

    block = hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel_check=asked)
    with pytest.raises(KeyError, match="closing"):
        block.acquire()
    assert tickets(others) == []
    others.release("n", "other")
    block.acquire()
    block.release()


def test_of_several_none_is_held(store: str, others: Claims, waits: threading.Event) -> None:
    cancel = CancelEvent()
    with ThreadPoolExecutor(1) as pool:
        entering = pool.submit(hold_all("a", "n", data_dir=store, backend=NATIVE, timeout=None, cancel=cancel).acquire)
        assert waits.wait(PATIENCE)
        cancel.set()
        with pytest.raises(WaitCancelled, match="claim n"):
            entering.result(PATIENCE)
    assert [status.name for status in others.list()] == ["n"]


@pytest.mark.parametrize("holder", ["other", ""])
def test_it_can_be_pickled(holder: str) -> None:
    error = WaitCancelled("n", holder, "it runs")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.claim, again.holder, again.evidence) == (str(error), "n", holder, "it runs")
