"""What is confirmed outlives members, leaders and restarts; who is cut off is told nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from support.capabilities import needs_stopping
from support.servers import free_port
from support.servers.etcd import Etcd, cluster, leader_of

from looop_portable import Claims, Held, Renewed, Unavailable, Won
from looop_portable.backends.engine import CLAIM, SESSION, Record
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed
from looop_portable_etcd.address import Address
from looop_portable_etcd.engine import EtcdEngine

Opened = Callable[..., EtcdEngine]


@pytest.fixture
def members() -> Iterator[list[Etcd]]:
    with cluster() as made:
        leader_of(made)
        yield made


def later() -> float:
    return elapsed() + 5


def persistently(call: Callable[[], object]) -> object:
    """What a waiter or a heartbeat does while the cluster has no leader: again, for some seconds."""
    end = elapsed() + 20
    while True:
        try:
            return call()
        except Unavailable:
            assert elapsed() < end


def test_the_leader_is_killed_under_a_live_holder_who_goes_on(members: list[Etcd], opened: Opened) -> None:
    leader = leader_of(members)
    mine, others = (Claims(OnEngine(opened(*members), "etcd")) for _ in range(2))
    me, another = mine.sessions.register("me").holder, others.sessions.register("other").holder
    won = mine.claim("x", me)
    assert isinstance(won, Won)
    leader.kill()
    assert isinstance(persistently(lambda: others.claim("x", another)), Held)
    renewed = persistently(lambda: mine.claim("x", me))
    assert isinstance(renewed, Renewed)
    assert renewed.generation == won.generation
    persistently(lambda: mine.release("x", me))
    assert isinstance(persistently(lambda: others.claim("x", another)), Won)


def test_a_new_leader_gives_signs_of_life_their_time_again(members: list[Etcd], opened: Opened) -> None:
    engine = opened(*members)
    began = elapsed()
    engine.beat("a/i", 9)
    leader_of(members).kill()
    while elapsed() - began < 4:
        heard = persistently(lambda: engine.heard("a/i"))
        assert heard
        assert heard.seconds <= elapsed() - began  # type: ignore[attr-defined]


@needs_stopping
def test_a_member_that_is_cut_off_from_the_others_says_nothing(members: list[Etcd], opened: Opened) -> None:
    alone, *others = members
    engine = opened(alone, query="?timeout=1")
    assert engine.advance(CLAIM, "x", 0, b"one", not_after=later()).won
    engine.beat("a/i", 30)
    for each in others:
        each.freeze()
    calls: list[Callable[[], object]] = [
        lambda: engine.read(CLAIM, "x"),
        lambda: engine.scan(CLAIM),
        lambda: engine.look("x"),
        lambda: engine.heard("a/i"),
        lambda: engine.beat("a/i", 30),
        lambda: engine.forget(SESSION, "x"),
        lambda: engine.advance(CLAIM, "x", 1, b"two", not_after=later()),
    ]
    for call in calls:
        began = elapsed()
        with pytest.raises(Unavailable) as refusal:
            call()
        assert elapsed() - began < 2
        assert str(refusal.value).isprintable()
    for each in others:
        each.thaw()
    assert persistently(lambda: engine.read(CLAIM, "x")) == Record(1, b"one")


@needs_stopping
def test_the_next_member_is_asked_where_one_does_not_answer(members: list[Etcd], opened: Opened) -> None:
    frozen, *others = members
    assert opened(*members).advance(CLAIM, "x", 0, b"one", not_after=later()).won
    frozen.freeze()
    leader_of(others)
    engine = opened(*members)
    began = elapsed()
    assert engine.advance(CLAIM, "x", 1, b"two", not_after=later()).won
    assert elapsed() - began < 4
    began = elapsed()
    assert engine.read(CLAIM, "x") == Record(2, b"two")
    assert elapsed() - began < 1  # The one that answered is asked first.
    frozen.thaw()


def test_members_that_are_not_there_are_passed_over(server: Etcd, prefix: str) -> None:
    hosts = f"127.0.0.1:{free_port()},[::1]:{free_port()},127.0.0.1:{server.port}"
    engine = EtcdEngine(Address(f"etcd://{hosts}/{prefix}"))
    assert engine.advance(CLAIM, "x", 0, b"one", not_after=later()).won
    assert engine.read(CLAIM, "x") == Record(1, b"one")
    engine.close()


def test_a_server_that_is_killed_and_restarted_has_lost_nothing(own: Etcd, opened: Opened) -> None:
    engine = opened(own)
    claims = Claims(OnEngine(opened(own), "etcd"))
    me = claims.sessions.register("me").holder
    assert isinstance(claims.claim("x", me), Won)
    confirmed = 0
    for number in range(50):
        assert engine.advance(CLAIM, "many", number, b"%d" % number, not_after=later()).won
        confirmed = number + 1
    own.kill()
    with pytest.raises(Unavailable):
        engine.read(CLAIM, "many")
    own.start()
    assert engine.read(CLAIM, "many") == Record(confirmed, b"49")
    assert engine.advance(CLAIM, "many", confirmed, b"on", not_after=later()).won
    assert isinstance(claims.claim("x", me), Renewed)


def test_a_connection_that_the_server_has_ended_is_replaced(own: Etcd, opened: Opened) -> None:
    engine = opened(own)
    assert engine.advance(CLAIM, "x", 0, b"one", not_after=later()).won
    own.stop()
    own.start()
    assert engine.read(CLAIM, "x") == Record(1, b"one")


def test_a_handler_of_a_signal_gets_an_answer_in_the_middle_of_a_call(server: Etcd, opened: Opened) -> None:
    engine = opened(server)
    seen: list[Record] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(engine.read(CLAIM, "x")))
    try:
        for number in range(30):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert engine.advance(CLAIM, "x", number, b"x", not_after=later()).won
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(seen) == 30
