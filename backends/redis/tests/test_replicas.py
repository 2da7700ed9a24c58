"""Sentinels that find another master, and writes that wait for replicas."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from looop_portable import Claims, Held, hold
from looop_portable.backends.engine import CLAIM, Engine, Record
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import Settling, Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_redis.link import Link
from support.servers.redis import EACH, Redis, Sentinel, needs_redis

pytestmark = needs_redis

LEASE = 3
PATIENCE = 60.0
Opening = Callable[..., Engine]
Starting = Callable[..., Redis]
Settle = Callable[[Redis, str], None]


@pytest.fixture
def pair(request: pytest.FixtureRequest, starting: Starting, settle: Settle) -> tuple[Redis, Redis]:
    """A master and its replica, which has all."""
    kind = getattr(request, "param", "redis")
    master = starting(kind=kind)
    settle(master, "p")
    replica = starting("--replicaof", "127.0.0.1", str(master.port), kind=kind)
    with redis.Redis(port=master.port) as client:
        client.set("x", "y")
        becomes(lambda: client.wait(1, 1000), 1)
    return master, replica


@pytest.fixture
def sentinel(pair: tuple[Redis, Redis]) -> Iterator[Sentinel]:
    """It knows both."""
    with ExitStack() as stack:
        found = Sentinel(pair[0])
        stack.callback(found.close)
        found.start()
        with redis.Redis(port=found.port) as client:
            becomes(lambda: len(client.execute_command("SENTINEL", "replicas", "main")), 1)
            yield found


def info(server: Redis) -> dict[str, object]:
    with redis.Redis(port=server.port) as client:
        return dict(client.info("replication"))


def becomes(found: Callable[[], object], wanted: object) -> None:
    end = elapsed() + PATIENCE
    while (last := found()) != wanted:
        assert elapsed() < end, last
        threading.Event().wait(0.02)


def put(engine: Engine, key: str, after: int, data: bytes) -> bool:
    return engine.advance(CLAIM, key, after, data, not_after=elapsed() + 60).won


def cut_off(master: Redis) -> None:
    """From its replicas, for good: what it confirms from now on, it alone has."""
    with redis.Redis(port=master.port) as client:
        client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")


def test_through_a_failover_that_loses_a_claim_nobody_wins_before_its_holder_knows(
    pair: tuple[Redis, Redis], sentinel: Sentinel, opening: Opening, tmp_path: Path
) -> None:
    """A real one. The holder finds the new master by the same URL, and so does who wants the claim."""
    master, replica = pair
    url = sentinel.url(prefix="p", longest=LEASE)
    claims, told = Claims(OnEngine(opening(url), "redis")), list[float]()
    won, number = 0.0, 0
    with ExitStack() as stack:
        cut_off(master)
        block = stack.enter_context(
            hold("n", data_dir=str(tmp_path), backend=url, lease_seconds=LEASE, on_lost=lambda _: told.append(elapsed()))
        )
        before = block.generation
        assert isinstance(claims.claim("n", claims.sessions.register("other", lease_seconds=3600).holder), Held)
        master.kill()
        killed, me = elapsed(), None
        while not won:
            assert elapsed() < killed + PATIENCE
            try:
                me = me or claims.sessions.register("another", lease_seconds=LEASE).holder
                found = claims.claim("n", me)
            except Unavailable:
                threading.Event().wait(0.05)
                continue
            if not isinstance(found, Held):
                won, number = elapsed(), found.lease.generation
        assert told
        assert told[0] < won
        stack.pop_all()  # It was lost; it says so when it is left, which is no matter here.
    assert info(replica)["role"] == "master"
    assert won - killed >= 4 / 3 * LEASE
    assert number > before


def test_a_master_that_was_replaced_while_it_was_silent_grants_nothing_any_more(
    pair: tuple[Redis, Redis], sentinel: Sentinel, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on as a master, until the Sentinel notices: for ten seconds. Who has a connection to it asks the Sentinel."""
    master, replica = pair
    engine = opening(sentinel.url(prefix="p", longest=LEASE))
    number = engine.read(CLAIM, "a").number
    master.freeze()
    with redis.Redis(port=sentinel.port) as client:
        replaced = [b"127.0.0.1", str(replica.port).encode()]
        becomes(lambda: client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"), replaced)
    monkeypatch.setattr("looop_portable_redis.link.CONFIRMED", 0.0)
    master.thaw()
    with pytest.raises(Unavailable, match=f"the Sentinels call 127.0.0.1:{replica.port} the master now"):
        put(engine, "a", number, b"one")
    assert info(master)["role"] == "master"
    with redis.Redis(port=master.port) as client:
        assert client.hget("{p}:records", "claim/a") is None
    with pytest.raises(Settling):
        put(engine, "a", number, b"one")


def test_a_request_that_lay_on_a_master_until_it_was_replaced_is_not_told_as_won(
    pair: tuple[Redis, Redis], sentinel: Sentinel, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with what it had received: that is won there, and nobody is told so."""
    master, replica = pair
    engine = opening(sentinel.url(prefix="p", longest=LEASE, timeout=60))
    number = engine.read(CLAIM, "a").number
    monkeypatch.setattr("looop_portable_redis.link.CONFIRMED", 0.0)
    ask = Link.ask

    def held_up(link: Link, *words: Any, **options: Any) -> list[Any]:
        """Until another one is the master, between the question to the Sentinel and the answer."""
        master.freeze()
        with redis.Redis(port=sentinel.port) as client:
            replaced = [b"127.0.0.1", str(replica.port).encode()]
            becomes(lambda: client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"), replaced)
        master.thaw()
        return ask(link, *words, **options)

    monkeypatch.setattr(Link, "ask", held_up)
    with pytest.raises(Unavailable, match=f"the Sentinels call 127.0.0.1:{replica.port} the master now"):
        put(engine, "a", number, b"one")
    with redis.Redis(port=master.port) as client:
        assert client.hget("{p}:records", "claim/a")


def test_sentinels_are_asked_in_turn_and_what_they_do_not_know_is_told(
    pair: tuple[Redis, Redis], sentinel: Sentinel, opening: Opening
) -> None:
    engine = opening(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main?prefix=p")
    assert put(engine, "a", engine.read(CLAIM, "a").number, b"one")
    with pytest.raises(Unavailable, match="knows no master 'other'"):
        opening(f"redis+sentinel://127.0.0.1:{sentinel.port}/other?prefix=p").read(CLAIM, "a")
    with pytest.raises(Unavailable, match=r"Sentinel 127\.0\.0\.1:1: .*refused"):
        opening("redis+sentinel://127.0.0.1:1/main?prefix=p").read(CLAIM, "a")
    sentinel.freeze()
    began = elapsed()
    with pytest.raises(Unavailable):
        opening(f"redis+sentinel://127.0.0.1:{sentinel.port}/main?prefix=p&timeout=0.3").read(CLAIM, "a")
    assert elapsed() < began + 1.3
    sentinel.thaw()


@pytest.mark.parametrize("pair", EACH, indirect=True)
def test_a_write_waits_for_a_replica_if_that_is_asked_for(pair: tuple[Redis, Redis], opening: Opening) -> None:
    master, replica = pair
    engine = opening(master.url(prefix="p", wait=1, timeout=1, longest=1))
    assert put(engine, "a", 0, b"one")
    with redis.Redis(port=replica.port) as client:
        assert client.hget("{p}:records", "claim/a") == b"1 one"
    engine.beat("a/i", 1)
    replica.freeze()
    again = opening(master.url(prefix="p", wait=1, timeout=1))
    for ask in (lambda: engine.beat("a/i", 1), lambda: put(engine, "a", 1, b"two"), lambda: put(again, "a", 1, b"two")):
        with pytest.raises(Unavailable, match="0 of 1 replicas have confirmed it"):
            ask()
    assert engine.read(CLAIM, "a") == Record(2, b"two")
    assert not put(engine, "a", 1, b"other")  # Lost: there is nothing to confirm.
    replica.thaw()
    step = engine.advance(CLAIM, "a", 1, b"two", not_after=elapsed() + 60)
    assert step.now == Record(2, b"two")
    with redis.Redis(port=replica.port) as client:
        assert client.hget("{p}:records", "claim/a") == b"2 two"
    engine.beat("a/i", 1)


def test_what_was_not_confirmed_is_not_taken_for_won_when_it_is_asked_again(
    pair: tuple[Redis, Redis], opening: Opening
) -> None:
    master, replica = pair
    replica.freeze()
    claims = Claims(OnEngine(opening(master.url(prefix="p", wait=1, timeout=0.5, longest=1)), "redis"))
    with pytest.raises(Unavailable, match="0 of 1 replicas"):
        claims.sessions.register("w", lease_seconds=LEASE)
    with pytest.raises(Unavailable, match="0 of 1 replicas"):
        claims.backend.advance("n", 0, None)
    replica.thaw()


def test_a_holder_on_a_master_that_is_cut_off_is_told(pair: tuple[Redis, Redis], opening: Opening, tmp_path: Path) -> None:
    """It still gets answers: but no heartbeat is confirmed."""
    master, _ = pair
    lost = threading.Event()
    url = master.url(prefix="p", wait=1, timeout=0.5, longest=LEASE)
    with ExitStack() as stack:
        stack.enter_context(
            hold("n", data_dir=str(tmp_path), backend=url, lease_seconds=LEASE, on_lost=lambda _: lost.set())
        )
        cut_off(master)
        assert lost.wait(PATIENCE)
        stack.pop_all()


def test_sentinels_never_let_a_server_be_sure(pair: tuple[Redis, Redis], sentinel: Sentinel, opening: Opening) -> None:
    """Whatever its log: another may be promoted that has none of it."""
    engine = opening(sentinel.url(prefix="new", longest=1))
    with pytest.raises(Settling):
        put(engine, "a", 0, b"one")
    facts = {fact.name: fact for fact in engine.verify()}
    assert "a replica may be promoted" in facts["persistence"].found
    assert facts["replication"].found == "1 replicas"
    assert "wait=1" in facts["replication"].advice
