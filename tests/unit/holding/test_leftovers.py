"""A claim whose release failed is released as soon as it can be, and is none of a block's that has it by then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NATIVE

from looop_portable import Claims, Unavailable, Won, hold
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.protocol.records import Lease

PATIENCE = 60  # Seconds, after which something is taken for hanging.


class Busy:
    """A store in which nothing can be released while `busy` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy, self.refused = threading.Event(), threading.Semaphore(0)
        advance = DirectoryBackend.advance

        def released(backend: DirectoryBackend, claim: str, expected: int, lease: Lease | None) -> bool:
            if lease is None and self.busy.is_set():
                self.refused.release()
                raise Unavailable("a scanner has it open")
            return advance(backend, claim, expected, lease)

        monkeypatch.setattr(DirectoryBackend, "advance", released)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Busy:
    return Busy(monkeypatch)


@pytest.fixture
def others(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path), NATIVE)


def comes(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def leave_in_vain(tmp_path: Path, store: Busy, *names: str) -> None:
    for name in names:
        with pytest.raises(Unavailable, match="a scanner"), hold(name, data_dir=tmp_path):
            store.busy.set()
    for _ in names:
        assert store.refused.acquire(timeout=PATIENCE)


def test_a_release_that_failed_is_tried_again_until_it_is_out(tmp_path: Path, store: Busy, others: Claims) -> None:
    leave_in_vain(tmp_path, store, "n", "m")
    assert store.refused.acquire(timeout=PATIENCE)  # Tried again, in vain.
    assert others.show("n").lease
    store.busy.clear()
    for name in ("n", "m"):
        assert comes(lambda name=name: others.show(name).lease is None)  # type: ignore[misc]
        assert isinstance(others.claim(name, "other"), Won)


def test_a_block_that_has_it_by_then_keeps_it_and_lets_it_go_itself(tmp_path: Path, store: Busy, others: Claims) -> None:
    leave_in_vain(tmp_path, store, "n", "m")
    with hold("n", data_dir=tmp_path, timeout=PATIENCE) as lease:
        store.busy.clear()
        assert comes(lambda: others.show("m").lease is None)  # So all was tried again.
        lease.check()
        assert lease.generation == 1
    assert others.show("n").lease is None


def test_what_was_won_by_a_block_that_could_not_enter_is_released_too(
    tmp_path: Path, store: Busy, others: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claims.claim

    def claimed(*arguments: object) -> object:
        claim(*arguments)  # type: ignore[arg-type]
        store.busy.set()
        raise Unavailable("on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(Claims, "claim", claimed)
        with pytest.raises(Unavailable, match="on purpose"), hold("n", data_dir=tmp_path):
            raise AssertionError
    assert others.show("n").lease
    store.busy.clear()
    assert comes(lambda: others.show("n").lease is None)
