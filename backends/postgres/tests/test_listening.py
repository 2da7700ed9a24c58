"""Who waits is told of each change, or that something may have been missed; and nobody is told where nobody waits."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from support.servers.postgres import PgBouncer, Postgres

from looop_portable import Unavailable
from looop_portable.backends.engine import CLAIM, TICKET, Record
from looop_portable.system.clock import elapsed
from looop_portable_postgres import listening
from looop_portable_postgres.engine import PostgresEngine

Opened = Callable[[str], PostgresEngine]

PATIENCE = 20.0
OURS = "select count(*) from pg_stat_activity where application_name = 'looop-portable'"


class Bell:
    """What is rung."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def __call__(self) -> None:
        self._rung.set()

    def rings(self, seconds: float = PATIENCE) -> bool:
        """Whether it is rung within that time. The next question is about what comes after this answer."""
        rung = self._rung.wait(seconds)
        self._rung.clear()
        return rung


def later() -> float:
    return elapsed() + 3600


@pytest.fixture
def own() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_each_change_rings_and_no_other(server: Postgres, opened: Opened, prefix: str) -> None:
    mine, theirs = opened(server.url(prefix=prefix)), opened(server.url(prefix=prefix))
    claim, ticket, other = Bell(), Bell(), Bell()
    ends = [
        mine.subscribe(kind, key, bell)
        for kind, key, bell in ((CLAIM, "a", claim), (TICKET, "a/1", ticket), (CLAIM, "b", other))
    ]
    assert None not in ends
    assert not other.rings(0.1), "a waiter whose probe rang would look, subscribe, and be rung again"
    assert theirs.advance(TICKET, "a/1", 0, b"one", not_after=later()).won
    assert ticket.rings()
    for number in range(20):
        assert theirs.advance(CLAIM, "a", number, b"one", not_after=later()).won
        assert claim.rings()
    theirs.forget(TICKET, "a/1")
    assert ticket.rings()
    assert not other.rings(0.1)
    for _ in range(2):
        for end in ends:
            assert end
            end()
    assert theirs.advance(CLAIM, "b", 0, b"one", not_after=later()).won


def test_who_wants_it_is_told_what_was_published(server: Postgres, opened: Opened, prefix: str) -> None:
    class Told(Bell):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[Record] = []

        def told(self, record: Record) -> None:
            self.records.append(record)

    mine, theirs, bell = opened(server.url(prefix=prefix)), opened(server.url(prefix=prefix)), Told()
    assert mine.subscribe(CLAIM, "a", bell)
    for number, data in enumerate((b"one\0two", b"", b"x" * 10_000)):
        assert theirs.advance(CLAIM, "a", number, data, not_after=later()).won
        assert bell.rings()
    assert bell.records == [Record(1, b"one\0two"), Record(2, b"")], "a large one is only rung for"


def test_where_nobody_listens_nothing_is_notified(server: Postgres, opened: Opened, prefix: str) -> None:
    """NOTIFY would lock the whole server at each commit. What was listened to is not notified when that has ended."""
    engine, bell = opened(server.url(prefix=prefix)), Bell()
    with psycopg.connect(server.url(), autocommit=True) as ears:
        for key in "ab":
            ears.execute(f'listen "{engine._channel(CLAIM, key)}"')
        end = engine.subscribe(CLAIM, "a", bell)
        assert end
        for key in "ab":
            engine.advance(CLAIM, key, 0, b"one", not_after=later())
        heard = {each.channel for each in ears.notifies(timeout=0.5)}
        assert heard == {engine._channel(CLAIM, "a")}
        end()
        began = elapsed()
        while server.sql(f"select count(*) from {prefix}.listeners") != "0":
            assert elapsed() - began < PATIENCE
        engine.advance(CLAIM, "a", 1, b"two", not_after=later())
        assert not list(ears.notifies(timeout=0.3))


@pytest.mark.parametrize("stands", [False, True])
def test_a_change_that_is_under_way_is_waited_for(server: Postgres, opened: Opened, prefix: str, stands: bool) -> None:
    """It looked for subscribers before there was one, and is committed after that: nobody would be told."""
    engine, bell = opened(server.url(prefix=prefix)), Bell()
    engine.read(CLAIM, "a")
    if stands:
        engine.advance(CLAIM, "a", 0, b"one", not_after=later())
    with psycopg.connect(server.url()) as other, ThreadPoolExecutor(1) as threads:
        change = f"select won from {prefix}.advance('claim', 'a', %s, 'one', '', %s, 'Infinity')"
        assert other.execute(change, (int(stands), engine._channel(CLAIM, "a"))).fetchone() == (True,)
        subscribed = threads.submit(engine.subscribe, CLAIM, "a", bell)
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        began = elapsed()
        while server.sql(waiting) == "0":
            assert elapsed() - began < PATIENCE
            assert not subscribed.done()
        other.commit()
        assert subscribed.result()
    assert engine.read(CLAIM, "a").number == 1 + stands


def test_a_deaf_listen_is_noticed_and_a_direct_connection_hears(
    server: Postgres, pooler: PgBouncer, opened: Opened, prefix: str
) -> None:
    deaf = opened(pooler.url(prefix=prefix, timeout="1"))
    deaf.read(CLAIM, "a")
    began = elapsed()
    assert deaf.subscribe(CLAIM, "a", Bell()) is None
    assert elapsed() - began < 2
    began = elapsed()
    assert deaf.subscribe(CLAIM, "b", Bell()) is None
    assert elapsed() - began < 0.5  # It is not tried again so soon.
    hears, bell = opened(pooler.url(prefix=prefix, listen=server.url())), Bell()
    assert hears.subscribe(CLAIM, "a", bell)
    bell.rings(0.1)
    assert deaf.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    assert bell.rings()


def test_a_listen_on_another_database_is_noticed(own: Postgres, opened: Opened) -> None:
    own.sql("create database other")
    assert opened(own.url(timeout="1", listen=own.url(database="other"))).subscribe(CLAIM, "a", Bell()) is None


def test_a_connection_that_is_lost_rings_and_later_changes_ring_again(own: Postgres, opened: Opened) -> None:
    mine, theirs, bell = opened(own.url()), opened(own.url()), Bell()
    assert mine.subscribe(CLAIM, "a", bell)
    bell.rings(0.1)
    own.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen%'")
    assert bell.rings()
    own.kill()
    own.start()
    assert bell.rings()
    began = elapsed()
    while bell.rings(1.5):  # Each attempt to connect, and the last that could.
        assert elapsed() - began < PATIENCE
    assert theirs.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    assert bell.rings()


def test_a_server_that_falls_silent_rings(own: Postgres, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_RENEWED", 0.3)
    engine, bell = opened(own.url(timeout="1")), Bell()
    assert engine.subscribe(CLAIM, "a", bell)
    bell.rings(0.1)
    assert not bell.rings(1)
    own.freeze()
    try:
        assert bell.rings()
        began = elapsed()
        with pytest.raises(Unavailable):
            engine.subscribe(CLAIM, "b", Bell())
        assert elapsed() - began < 2
    finally:
        own.thaw()
    other = opened(own.url())
    began = elapsed()
    while bell.rings(1.5):
        assert elapsed() - began < PATIENCE
    assert other.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    assert bell.rings()


def test_rows_that_somebody_has_removed_are_made_again(
    server: Postgres, opened: Opened, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a clock does that is set forward: all rows seem to be old."""
    monkeypatch.setattr(listening, "_RENEWED", 0.3)
    engine, bell = opened(server.url(prefix=prefix)), Bell()
    assert engine.subscribe(CLAIM, "a", bell)
    bell.rings(0.1)
    server.sql(f"delete from {prefix}.listeners")
    assert bell.rings()
    while bell.rings(0.5):
        pass
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    assert bell.rings()


def test_many_subscriptions_have_one_connection_which_ends_when_nobody_waits(
    own: Postgres, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_LINGER", 0.2)
    engine = opened(own.url())
    with ThreadPoolExecutor(8) as threads:
        ends = [each.result() for each in [threads.submit(engine.subscribe, CLAIM, f"n{n}", Bell()) for n in range(20)]]
    assert 2 <= int(own.sql(OURS)) <= 4
    for end in ends:
        assert end
        end()
    began = elapsed()
    while int(own.sql(OURS)) > 3 or own.sql("select count(*) from looop.listeners") != "0":
        assert elapsed() - began < PATIENCE
    bell = Bell()
    assert engine.subscribe(CLAIM, "a", bell)
    bell.rings(0.1)
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    assert bell.rings()


def test_a_forked_child_has_subscriptions_of_its_own(server: Postgres, opened: Opened, prefix: str) -> None:
    engine, bell = opened(server.url(prefix=prefix)), Bell()
    assert engine.subscribe(CLAIM, "a", bell)
    bell.rings(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        rung = False
        try:
            own = Bell()
            if engine.subscribe(CLAIM, "b", own):
                own.rings(0.1)
                rung = engine.advance(CLAIM, "b", 0, b"one", not_after=later()).won and own.rings()
        finally:
            os._exit(0 if rung else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    assert bell.rings()


def test_where_no_thread_can_be_had_nobody_is_promised_anything(
    server: Postgres, opened: Opened, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, bell = opened(server.url(prefix=prefix)), Bell()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(Unavailable, match="thread"):
            engine.subscribe(CLAIM, "a", bell)
    later_bell = Bell()
    assert engine.subscribe(CLAIM, "a", later_bell)
    later_bell.rings(0.1)
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    assert later_bell.rings()
    assert not bell.rings(0)
