"""Who subscribes is told of each change, by one connection, also after one was lost."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable

import pytest
import redis

from looop_portable.backends.engine import CLAIM, TICKET, Engine, Record
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_redis.changes import _Listener
from support.servers.redis import Redis, needs_redis

pytestmark = needs_redis

PATIENCE = 60.0
Opening = Callable[..., Engine]
Starting = Callable[..., Redis]


class Bell:
    """What is rung, and how often it was."""

    def __init__(self) -> None:
        self.rung = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.rung += 1
            self._changed.notify_all()

    def wait(self, more_than: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.rung > more_than, PATIENCE)


def publish(engine: Engine, kind: str, key: str) -> None:
    engine.advance(kind, key, engine.read(kind, key).number, os.urandom(4), not_after=elapsed() + 3600)


def subscribers(server: Redis) -> int:
    """How many connections subscribe to anything."""
    with redis.Redis(port=server.port) as client:
        return sum(1 for each in client.client_list() if int(each["sub"]))


def connections(server: Redis) -> int:
    with redis.Redis(port=server.port) as client:
        return len(client.client_list())


def becomes(found: Callable[[], object], wanted: object) -> None:
    end = elapsed() + PATIENCE
    while (last := found()) != wanted:
        assert elapsed() < end, last
        threading.Event().wait(0.01)


def test_each_change_rings_and_those_of_others_do_not(connect: Callable[[], Engine]) -> None:
    engine, other = connect(), connect()
    bells = {(CLAIM, "a"): Bell(), (CLAIM, "b"): Bell(), (TICKET, "a/1"): Bell()}
    for (kind, key), bell in bells.items():
        engine.subscribe(kind, key, bell)
    for kind, key in ((CLAIM, "a"), (TICKET, "a/1")):
        for _ in range(3):
            before = bells[kind, key].rung
            publish(other, kind, key)
            bells[kind, key].wait(before)
    before = bells[TICKET, "a/1"].rung
    other.forget(TICKET, "a/1")
    bells[TICKET, "a/1"].wait(before)
    assert not bells[CLAIM, "b"].rung, "a waiter whose subscription rang would look, subscribe, and be rung again"


def test_who_wants_it_is_told_what_was_published(connect: Callable[[], Engine]) -> None:
    class Told(Bell):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[Record] = []

        def told(self, record: Record) -> None:
            self.records.append(record)

    engine, other, bell = connect(), connect(), Told()
    engine.subscribe(CLAIM, "a", bell)
    for number, data in enumerate((b"one two", b"", b"x" * 10_000)):
        assert other.advance(CLAIM, "a", number, data, not_after=elapsed() + 3600).won
        bell.wait(number)
    assert bell.records == [Record(1, b"one two"), Record(2, b"")], "a large one is only rung for"


def test_what_has_ended_rings_no_more_and_does_not_wake_the_thread(
    connect: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the thread would take its turn of Python from one that has just won a claim."""
    engine, other, ended, bell = connect(), connect(), Bell(), Bell()
    end = engine.subscribe(CLAIM, "a", ended)
    other_end = engine.subscribe(CLAIM, "b", bell)
    assert end
    assert other_end
    woken: list[object] = []
    monkeypatch.setattr(_Listener, "put", lambda *_, **__: woken.append(_))
    end()
    for number in range(2):  # The first of these is what the thread lets go of it by.
        publish(other, CLAIM, "a")
        publish(other, CLAIM, "b")
        bell.wait(number)
    assert ended.rung == 0
    assert not woken


def test_all_of_a_process_share_one_connection_which_ends_with_the_last(
    shared: Redis, connect: Callable[[], Engine]
) -> None:
    engine, bell = connect(), Bell()
    becomes(lambda: subscribers(shared), 0)
    before = connections(shared)
    ends = [engine.subscribe(CLAIM, key, bell) for key in ("a", "a", "b")]
    assert subscribers(shared) == 1
    for end in ends:
        assert end
        end()
        end()
    becomes(lambda: connections(shared) <= before, True)
    engine.subscribe(CLAIM, "a", bell)
    before = bell.rung
    publish(engine, CLAIM, "a")
    bell.wait(before)
    assert subscribers(shared) == 1


def test_one_of_two_that_leaves_does_not_make_the_other_deaf(connect: Callable[[], Engine]) -> None:
    engine, first, second = connect(), Bell(), Bell()
    for _ in range(20):
        leave = engine.subscribe(CLAIM, "a", first)
        stay = engine.subscribe(CLAIM, "a", second)
        assert leave
        assert stay
        leave()
        before = second.rung
        publish(engine, CLAIM, "a")
        second.wait(before)
        stay()


def test_a_lost_connection_rings_and_subscribes_anew(
    starting: Starting, opening: Opening, settle: Callable[[Redis, str], None]
) -> None:
    server = starting()
    settle(server, "p")
    engine, bell = opening(server.url(prefix="p", longest=1)), Bell()
    engine.subscribe(CLAIM, "a", bell)
    for is_killed in (False, True):
        before = bell.rung
        server.kill() if is_killed else drop(server)
        bell.wait(before)
        if not server_runs(server):
            server.start()
        becomes(lambda: subscribers(server), 1)
        before = bell.rung
        with redis.Redis(port=server.port) as client:
            client.publish("{p}:claim/a", "x")
        bell.wait(before)


def drop(server: Redis) -> None:
    with redis.Redis(port=server.port) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def server_runs(server: Redis) -> bool:
    try:
        return server.is_ready()
    except OSError:
        return False


def test_a_server_that_says_nothing_any_more_rings(
    starting: Starting, opening: Opening, settle: Callable[[Redis, str], None]
) -> None:
    server = starting()
    settle(server, "p")
    engine, bell = opening(server.url(prefix="p", timeout=0.2)), Bell()
    engine.subscribe(CLAIM, "a", bell)
    before = bell.rung
    server.freeze()
    bell.wait(before)
    with pytest.raises(Unavailable, match=r"subscription|Timeout"):
        engine.subscribe(CLAIM, "b", Bell())
    server.thaw()
    becomes(lambda: subscribers(server), 1)


def test_nobody_is_told_of_a_subscription_that_is_not_confirmed(
    starting: Starting, opening: Opening, settle: Callable[[Redis, str], None]
) -> None:
    """Nor the second one to the same record."""
    server, failures = starting(), list[Unavailable]()
    settle(server, "p")
    engine = opening(server.url(prefix="p", timeout=0.5))
    engine.subscribe(CLAIM, "a", Bell())
    server.freeze()

    def work() -> None:
        try:
            engine.subscribe(CLAIM, "b", Bell())
        except Unavailable as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.thaw()
    assert len(failures) == 3


def test_where_nobody_listens_it_is_told_at_once(opening: Opening) -> None:
    engine = opening("redis://127.0.0.1:1/0")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            engine.subscribe(CLAIM, "a", Bell())


def test_a_forked_child_has_a_subscription_of_its_own(connect: Callable[[], Engine]) -> None:
    if not hasattr(os, "fork"):
        return
    engine, bell = connect(), Bell()
    leave = engine.subscribe(CLAIM, "a", bell)
    assert leave
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        code = 1
        try:
            leave()  # The parent's: it stays.
            own = Bell()
            engine.subscribe(CLAIM, "b", own)
            before = own.rung
            publish(engine, CLAIM, "b")
            own.wait(before)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    before = bell.rung
    publish(engine, CLAIM, "a")
    bell.wait(before)


def test_many_threads_that_come_and_go_miss_nothing(connect: Callable[[], Engine]) -> None:
    engine, failures = connect(), list[BaseException]()

    def work(key: str) -> None:
        try:
            for _ in range(15):
                bell = Bell()
                leave = engine.subscribe(CLAIM, key, bell)
                before = bell.rung
                publish(engine, CLAIM, key)
                bell.wait(before)
                assert leave
                leave()
        except BaseException as failure:  # noqa: BLE001 (whatever it is)
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(key,)) for key in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
