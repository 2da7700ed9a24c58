"""The server's clock is set: a live holder keeps its claim, a dead one's is free soon, and nothing is done too late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from looop_portable import Claims, Held, hold
from looop_portable.backends.engine import CLAIM, NOTHING, Engine, Record
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from support.servers.redis import Redis, needs_faketime, needs_valkey

pytestmark = [needs_valkey, needs_faketime]

HOUR = 3600
LEASE = 3
PATIENCE = 60.0
Opening = Callable[..., Engine]
Settle = Callable[[Redis, str], None]


@pytest.fixture
def faked(starting: Callable[..., Redis], settle: Settle) -> Redis:
    """Valkey with a clock of its own."""
    server = starting(kind="valkey", faked=True)
    settle(server, "p")
    return server


def test_a_live_holder_keeps_its_claim_and_a_dead_one_s_is_free_soon(
    faked: Redis, opening: Opening, tmp_path: Path
) -> None:
    url = faked.url(prefix="p", longest=LEASE)
    claims, told = Claims(OnEngine(opening(url), "redis")), list[object]()
    me = claims.sessions.register("other", lease_seconds=HOUR).holder
    with hold("n", data_dir=str(tmp_path), backend=url, lease_seconds=LEASE, on_lost=told.append):
        for ahead in (HOUR, -HOUR, 0):
            faked.set_clock(ahead)
            end = elapsed() + 4 / 3 * LEASE + 1
            while elapsed() < end:
                assert isinstance(claims.claim("n", me), Held)
                threading.Event().wait(0.05)
        assert told == []
    for ahead in (HOUR, -HOUR):
        dead = claims.sessions.register(f"dead-{ahead}", lease_seconds=LEASE).holder
        assert not isinstance(claims.claim("n", dead), Held)
        died = elapsed()
        faked.set_clock(ahead)
        while isinstance(claims.claim("n", me), Held):
            assert elapsed() < died + PATIENCE
            threading.Event().wait(0.05)
        claims.release("n", me)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_connection_that_knew_the_clock_learns_that_it_was_set(ahead: int, faked: Redis, opening: Opening) -> None:
    engine = opening(faked.url(prefix="p"))
    engine.read(CLAIM, "a")
    faked.set_clock(ahead)
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=elapsed() + 5).won


@pytest.mark.usefixtures("lingering")
def test_what_is_read_too_late_changes_nothing_where_the_clock_was_set_back(
    faked: Redis, opening: Opening, asked: Callable[[Redis], int]
) -> None:
    """The deadline is by a clock that is not there any more, on a connection that was idle meanwhile."""
    engine, other = opening(faked.url(prefix="p", timeout=0.5)), opening(faked.url(prefix="p"))
    assert not engine.advance(CLAIM, "a", 9, b"lost", not_after=elapsed() + 60).won
    other.beat("a/i", LEASE)
    faked.set_clock(-HOUR)
    end = elapsed() + PATIENCE
    while not ((heard := other.heard("a/i")) and heard.seconds < -PATIENCE):
        assert elapsed() < end
    before = asked(faked)
    faked.freeze()
    with pytest.raises(Unavailable):
        engine.advance(CLAIM, "a", 0, b"ghost", not_after=elapsed() + 0.5)
    threading.Event().wait(0.2)
    faked.thaw()
    end = elapsed() + PATIENCE
    while asked(faked) == before:
        assert elapsed() < end
    assert other.read(CLAIM, "a") == NOTHING
    assert other.advance(CLAIM, "a", 0, b"two", not_after=elapsed() + 5).now == Record(1, b"two")


def test_the_engine_says_what_the_clock_says_and_that_it_can_be_set(faked: Redis, opening: Opening) -> None:
    """So nobody believes it at once."""
    engine = opening(faked.url(prefix="p"))
    assert not engine.steady
    engine.beat("a/i", LEASE)
    for ahead in (HOUR, -HOUR):
        faked.set_clock(ahead)
        end = elapsed() + PATIENCE
        while not ((heard := engine.heard("a/i")) and abs(heard.seconds - ahead) < PATIENCE):
            assert elapsed() < end
