"""A request that the store reaches after its client has given up: nobody holds by it, and all who read agree."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from looop_portable.backends.engine import CLAIM, NOTHING, SESSION, Record, Step
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from support.servers.between import Between, Do
from support.servers.shops import Shop, fresh

Open = Callable[[], ObjectEngine]

HELD = b'{"word": "a/i"}\n'
FREE = b'{"released": true}\n'


@pytest.fixture
def between(server: Shop) -> Iterator[Between]:
    between = Between(server.port)
    yield between
    between.close()


@pytest.fixture
def prefix() -> str:
    return fresh()


@pytest.fixture
def slow(server: Shop, between: Between, prefix: str) -> ObjectEngine:
    """Who reaches the store through what stands between."""
    url = server.url(prefix).replace(f":{server.port}", f":{between.endpoint.rpartition(':')[2]}")
    return ObjectEngine(place_in(f"{url}&timeout=1"))


@pytest.fixture
def others(server: Shop, prefix: str) -> ObjectEngine:
    return ObjectEngine(place_in(server.url(prefix)))


def held_up(engine: ObjectEngine, between: Between, kind: str, after: int, data: bytes) -> None:
    """It is sent, its client gives up, and it lands when its deadline is over."""
    deadline = elapsed() + 2
    between.next_put(Do.HOLD)
    with pytest.raises(Unavailable, match="not answered within 1 s"):
        engine.advance(kind, "x", after, data, not_after=deadline)
    while elapsed() < deadline + 1:
        time.sleep(0.05)
    between.let_go.set()
    assert between.landed.wait(20)


def test_a_late_one_is_not_known_to_its_writer_either(slow: ObjectEngine, others: ObjectEngine, between: Between) -> None:
    """The object was written, and the look at its stamp had no answer: a list then tells its version, and no more."""
    slow._clock.ask(time.time() - 3600)  # As if the store's clock had been set forward since.
    between.does = lambda method, _: Do.LOSE if method == "HEAD" else Do.PASS
    with pytest.raises(Unavailable):
        slow.advance(CLAIM, "x", 0, HELD, not_after=elapsed() + 60)
    between.does = lambda _, __: Do.PASS
    assert slow.scan(CLAIM) == others.scan(CLAIM) == []


@pytest.mark.parametrize("kind", [CLAIM, SESSION])
def test_a_first_record_that_comes_late_was_never_there(
    slow: ObjectEngine, others: ObjectEngine, between: Between, kind: str
) -> None:
    held_up(slow, between, kind, 0, HELD)
    there = others.bucket.get(others._name(kind, "x"))
    assert there, "the store has written it: else this test tells nothing"
    assert json.loads(there.data.partition(b"\n")[0])["number"] == 1
    for each in (slow, others):
        assert each.read(kind, "x") == NOTHING
        assert each.scan(kind) == []
    assert others.advance(kind, "x", 0, b"theirs", not_after=elapsed() + 60) == Step(True, Record(1, b"theirs"))
    assert slow.read(kind, "x") == Record(1, b"theirs")


def test_a_claim_that_comes_late_is_free(slow: ObjectEngine, others: ObjectEngine, between: Between) -> None:
    assert others.advance(CLAIM, "x", 0, FREE, not_after=elapsed() + 60).won
    assert slow.read(CLAIM, "x").number == 1
    held_up(slow, between, CLAIM, 1, HELD)
    assert others.scan(CLAIM) == [("x", Record(1, FREE))]
    assert others.advance(CLAIM, "x", 1, HELD, not_after=elapsed() + 60).won


def test_a_release_that_comes_late_releases_nothing(slow: ObjectEngine, others: ObjectEngine, between: Between) -> None:
    """Its holder was told that it is not known what came of it, and may have gone on."""
    assert slow.advance(CLAIM, "x", 0, HELD, not_after=elapsed() + 60).won
    held_up(slow, between, CLAIM, 1, FREE)
    for each in (slow, others):
        assert each.read(CLAIM, "x") == Record(1, HELD)
    assert slow.advance(CLAIM, "x", 1, FREE, not_after=elapsed() + 60).won


def test_one_that_comes_late_loses_to_who_came_meanwhile(
    slow: ObjectEngine, others: ObjectEngine, between: Between
) -> None:
    deadline = elapsed() + 60
    between.next_put(Do.HOLD)
    with pytest.raises(Unavailable):
        slow.advance(CLAIM, "x", 0, HELD, not_after=deadline)
    assert others.advance(CLAIM, "x", 0, b"theirs", not_after=deadline).won
    between.let_go.set()
    assert between.landed.wait(20)
    assert others.read(CLAIM, "x") == slow.read(CLAIM, "x") == Record(1, b"theirs")
    assert slow.advance(CLAIM, "x", 0, HELD, not_after=deadline) == Step(False, Record(1, b"theirs"))


def test_one_whose_answer_comes_late_is_believed_by_nobody_and_not_by_its_writer(connect: Open) -> None:
    """The store began it after the deadline: the writer reads its own stamp."""
    engine = connect()
    engine._clock.ask(time.time() - 3600)  # As if the store's clock had been set forward since.
    assert engine.advance(CLAIM, "x", 0, HELD, not_after=elapsed() + 60) == Step(True, Record(1, HELD))
    assert connect().read(CLAIM, "x") == Record(1, HELD), "the second try has the right deadline, and others agree"
