"""The store's clock, or this host's, is wrong, or is set: who holds goes on to hold, and who is dead is found dead."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from looop_portable.backends.engine import CLAIM, Record
from looop_portable.system.clock import elapsed
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from looop_portable_objects.written import is_late, record_in, written
from support.servers.pretending import Pretending

HELD = b'{"word": "a/i"}\n'
FREE = b'{"released": true}\n'
HOUR = 3600.0


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretending]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "looop")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    store = Pretending()
    yield store
    store.close()


def opened(store: Pretending) -> ObjectEngine:
    return ObjectEngine(place_in(store.url()))


def later() -> float:
    return elapsed() + 5


@pytest.mark.parametrize("ahead", [-HOUR, -10, 10, HOUR])
def test_a_host_whose_clock_is_wrong_claims_and_releases(store: Pretending, ahead: float) -> None:
    store.ahead = ahead
    engine = opened(store)
    for number, data in enumerate((HELD, FREE)):
        assert engine.advance(CLAIM, "x", number, data, not_after=later()).won
        assert opened(store).read(CLAIM, "x") == Record(number + 1, data)
    assert opened(store).advance(CLAIM, "x", 2, HELD, not_after=later()).won
    assert opened(store).advance(CLAIM, "x", 3, FREE, not_after=later()).won, "a process of its own releases"
    assert opened(store).read(CLAIM, "x") == Record(4, FREE)


@pytest.mark.parametrize("ahead", [-HOUR, -10, 10, HOUR])
def test_a_store_whose_clock_is_set_keeps_what_is_held(store: Pretending, ahead: float) -> None:
    engine = opened(store)
    assert engine.advance(CLAIM, "x", 0, HELD, not_after=later()).won
    store.ahead = ahead
    for each in (engine, opened(store)):
        assert each.read(CLAIM, "x") == Record(1, HELD)
    assert engine.advance(CLAIM, "y", 0, HELD, not_after=later()).won
    assert opened(store).read(CLAIM, "y") == Record(1, HELD)


@pytest.mark.parametrize("ahead", [-HOUR, -10, 10, HOUR])
def test_whoever_beats_after_the_clock_was_set_is_heard_as_one_who_lives(store: Pretending, ahead: float) -> None:
    judge, holder = opened(store), opened(store)
    judge.ask_clock()
    holder.beat("a/i", 5)
    assert judge.heard("a/i")
    store.ahead = ahead
    holder.beat("a/i", 5)
    heard = judge.heard("a/i")
    assert heard
    assert heard.seconds <= 2


@pytest.mark.parametrize("ahead", [-HOUR, 0, HOUR])
@pytest.mark.parametrize("has_asked", [True, False])
def test_a_silence_is_as_long_as_the_store_s_clock_says(store: Pretending, ahead: float, has_asked: bool) -> None:
    """And no longer, whatever this host's clock, the first guess, is. If that is behind, it may seem shorter at first."""
    store.ahead = ahead
    opened(store).beat("a/i", 5)
    judge = opened(store)
    if has_asked:
        judge.ask_clock()
    store.ahead = ahead + 100
    heard = judge.heard("a/i")
    assert heard
    assert heard.seconds <= 101
    store.objects = {name: each._replace(stamp=each.stamp - 100) for name, each in store.objects.items()}
    store.ahead = ahead
    heard = judge.heard("a/i")
    assert heard
    assert (97 if has_asked or ahead <= 0 else 0) <= heard.seconds <= 101


def test_what_was_stamped_late_counts_for_what_was_before() -> None:
    before, new = Record(6, b"before\n"), Record(7, b"new\n")
    object_ = written(new, before, 1000.5, "nonce")
    assert record_in(object_, 999) == new, "it was begun before 1000"
    assert record_in(object_, 1000) == before, "it may have been begun at 1000.9"
    assert record_in(object_, 5000) == before
    assert record_in(object_, 1000 + 2 * 86400) == new, "no request is good for two days: it is a copy"
    assert is_late(1000, 1000.5)


def test_two_objects_are_never_the_same_bytes() -> None:
    """A store that tells versions apart by a hash of them would let an old version win."""
    assert written(Record(1, b"x"), Record(0, b""), 5, "one") != written(Record(1, b"x"), Record(0, b""), 5, "two")


def test_the_guess_is_this_host_s_clock(store: Pretending) -> None:
    engine = opened(store)
    assert abs(engine._clock.now() - time.time()) < 1
