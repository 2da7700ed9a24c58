"""What was told as won is there after a crash; where it may not be, numbers leap and nobody claims for a while."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from support.servers.postgres import PASSWORD, PgBouncer, Postgres

from looop_portable import CannotExclude, Unavailable
from looop_portable.backends.engine import CLAIM, NOTHING, SESSION, TICKET, Record
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import Settling
from looop_portable.protocol.records import Lease
from looop_portable.system.clock import elapsed
from looop_portable_postgres import schema
from looop_portable_postgres.engine import PostgresEngine

Opened = Callable[[str], PostgresEngine]

LEAP = 1 << 50
"""Every number that a floor makes is more than this: seconds since 1970, times 2^20."""

LEASE = 3.0


@pytest.fixture
def asynchronous() -> Iterator[Postgres]:
    """A server that tells what is committed before it is written, as its administrator has set it."""
    server = Postgres(synchronous_commit="off", wal_writer_delay="10s")
    try:
        server.start()
        server.sql("alter role postgres set synchronous_commit = off")
        yield server
    finally:
        server.close()


def later() -> float:
    return elapsed() + 3600


def lost(server: Postgres, engine: PostgresEngine, again: PostgresEngine) -> int:
    """Of twenty claims that were told as won, those that a crash of all processes loses."""
    engine.read(CLAIM, "a")
    server.sql("checkpoint")
    for number in range(20):
        assert engine.advance(CLAIM, f"n{number}", 0, b"one", not_after=later()).won
    server.kill()
    server.start()
    return 20 - len(again.scan(CLAIM))


@pytest.mark.parametrize("pooled", [False, True])
def test_a_crash_loses_none_of_what_was_told_though_the_server_commits_asynchronously(
    asynchronous: Postgres,
    opened: Opened,
    pooled: bool,
) -> None:
    if not pooled:
        assert lost(asynchronous, opened(asynchronous.url()), opened(asynchronous.url())) == 0
        return
    pooler = PgBouncer(asynchronous)
    try:
        pooler.start()
        assert lost(asynchronous, opened(pooler.url()), opened(asynchronous.url())) == 0
    finally:
        pooler.close()


def test_without_our_setting_the_same_crash_loses_some(
    asynchronous: Postgres, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test before this one can fail."""
    monkeypatch.setattr(schema, "_DURABLE", "")
    assert lost(asynchronous, opened(asynchronous.url()), opened(asynchronous.url())) > 0


@pytest.fixture
def pair() -> Iterator[tuple[Postgres, Postgres]]:
    """A primary, and a standby that gets what is committed when it gets it."""
    primary = Postgres(wal_level="replica", hot_standby="on")
    try:
        primary.start()
        standby = Postgres(of=primary)
        try:
            standby.start()
            yield primary, standby
        finally:
            standby.close()
    finally:
        primary.close()


def caught_up(primary: Postgres, standby: Postgres) -> None:
    end = primary.sql("select pg_current_wal_lsn()")
    while standby.sql(f"select pg_last_wal_replay_lsn() >= '{end}'") != "t":
        time.sleep(0.01)


def test_a_replica_is_refused_by_name(pair: tuple[Postgres, Postgres], opened: Opened) -> None:
    primary, standby = pair
    for _ in range(2):  # Without our schema, and with it.
        with pytest.raises(CannotExclude, match="read-only replica"):
            opened(standby.url()).read(CLAIM, "a")
        opened(primary.url()).advance(CLAIM, "a", 0, b"one", not_after=later())
        caught_up(primary, standby)


def test_a_failover_that_loses_a_claim_gives_it_to_nobody_before_its_holder_knows(
    pair: tuple[Postgres, Postgres], opened: Opened
) -> None:
    """The standby has not got the last claim. It is promoted, and those who know both servers go on with it."""
    primary, standby = pair
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    engine = opened(f"postgresql://postgres@{hosts}/postgres")
    backend = OnEngine(engine, "postgresql")
    engine.beat("s/i", LEASE)
    assert engine.advance(SESSION, "s", 0, b"me", not_after=later()).won
    assert engine.advance(TICKET, "a/1", 0, b"me", not_after=later()).won
    assert backend.advance("a", 0, Lease("a", "before", "i"))
    assert backend.advance("kept", 0, Lease("kept", "s", "i"))
    caught_up(primary, standby)
    standby.freeze()
    assert backend.advance("a", 1, Lease("a", "s", "i"))
    assert backend.advance("new", 0, Lease("new", "s", "i"))
    primary.kill()
    standby.thaw()
    began = elapsed()
    standby.promote()
    with pytest.raises(Unavailable):
        engine.beat("s/i", LEASE)  # The connection has ended with the primary.
    engine.beat("s/i", LEASE)
    for name in ("a", "kept", "new"):
        number, data = engine.read(CLAIM, name)
        assert number > LEAP
        assert data == b""
        assert engine.look(name).claim == Record(number, b"")
        with pytest.raises(Settling, match="promoted") as told:
            engine.advance(CLAIM, name, number, b"another", not_after=later())
        assert 0 < told.value.seconds <= LEASE * 4 / 3
        assert str(told.value).isprintable()
    assert {record.data for _, record in engine.scan(CLAIM)} == {b""}
    session = engine.read(SESSION, "s")
    assert session.number > LEAP
    assert session.data == b"me"
    assert engine.advance(SESSION, "s", session.number, b"on", not_after=later()).won
    assert engine.read(TICKET, "a/1") == Record(1, b"me")
    assert not backend.advance("a", 2, None)

    tries = 0
    while True:
        tries += 1
        try:
            step = engine.advance(CLAIM, "a", engine.read(CLAIM, "a").number, b"won", not_after=later())
            break
        except Settling as settling:
            time.sleep(min(settling.seconds, 0.2))
    assert tries > 1
    assert elapsed() - began >= LEASE * 4 / 3
    assert step.won
    assert step.now.number > number
    assert engine.advance(CLAIM, "never", number, b"won", not_after=later()).won
    assert not engine.advance(CLAIM, "other", 0, b"won", not_after=later()).won
    standby.stop()
    standby.start()
    again = opened(standby.url())
    assert again.read(CLAIM, "a") == step.now
    assert again.advance(CLAIM, "a", step.now.number, b"next", not_after=later()).won


def test_a_restart_of_a_server_that_syncs_nothing_costs_the_grace_from_its_start(opened: Opened) -> None:
    server = Postgres(fsync="off")
    try:
        server.start()
        url = server.url(longest=str(LEASE))
        engine = opened(url)
        number = engine.read(CLAIM, "a").number
        assert number > LEAP
        with pytest.raises(Settling, match="fsync = off"):
            engine.advance(CLAIM, "a", number, b"one", not_after=later())
        engine.beat("s/i", LEASE)
        time.sleep(LEASE * 4 / 3)
        assert engine.advance(CLAIM, "a", number, b"one", not_after=later()).won
        server.kill()
        server.start()
        again = opened(url)
        found = again.read(CLAIM, "a")
        assert found.number > number + 1
        assert found.data == b""
        with pytest.raises(Settling, match="restarted") as told:
            again.advance(CLAIM, "a", found.number, b"one", not_after=later())
        time.sleep(told.value.seconds)
        assert again.advance(CLAIM, "a", found.number, b"one", not_after=later()).won
    finally:
        server.close()


def test_where_nobody_may_ask_for_the_timeline_each_start_is_taken_for_a_failover(opened: Opened) -> None:
    server = Postgres()
    try:
        server.start()
        server.sql(f"create role visitor login password '{PASSWORD}'; grant create on database postgres to visitor")
        server.sql("revoke execute on function pg_walfile_name(pg_lsn) from public")
        url = server.url("visitor", PASSWORD, longest="1")
        engine = opened(url)
        number = engine.read(CLAIM, "a").number
        assert number > LEAP
        with pytest.raises(Settling) as told:
            engine.advance(CLAIM, "a", number, b"one", not_after=later())
        assert told.value.seconds <= 4 / 3
        time.sleep(told.value.seconds)
        assert engine.advance(CLAIM, "a", number, b"one", not_after=later()).won
        assert "not to be had" in {each.name: each.found for each in engine.verify()}["timeline"]
        server.stop()
        server.start()
        with pytest.raises(Settling):
            opened(url).advance(CLAIM, "a", opened(url).read(CLAIM, "a").number, b"two", not_after=later())
    finally:
        server.close()


def test_where_nothing_is_lost_there_is_no_grace_and_no_leap(opened: Opened) -> None:
    server = Postgres()
    try:
        server.start()
        opened(server.url()).advance(CLAIM, "a", 0, b"one", not_after=later())
        for end in (server.stop, server.kill):
            end()
            server.start()
        again = opened(server.url())
        assert again.advance(CLAIM, "a", 1, b"two", not_after=later()).now == Record(2, b"two")
        assert again.advance(CLAIM, "b", 0, b"one", not_after=later()).won
    finally:
        server.close()


def test_a_dump_that_is_restored_elsewhere_uses_no_number_twice(server: Postgres, opened: Opened, prefix: str) -> None:
    """A dump knows nothing of what came after it."""
    engine = opened(server.url(prefix=prefix))
    engine.beat("s/i", LEASE)
    engine.advance(CLAIM, "a", 0, b"one", not_after=later())
    at = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
    dump = subprocess.run(
        [str(server.binaries / "pg_dump"), *at, "-n", prefix, "postgres"], check=True, capture_output=True
    ).stdout
    engine.advance(CLAIM, "a", 1, b"two", not_after=later())
    server.sql(f"create database {prefix}")
    try:
        restore = [str(server.binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *at, prefix]
        subprocess.run(restore, input=dump, check=True, stdout=subprocess.DEVNULL)
        restored = opened(server.url(database=prefix, prefix=prefix))
        found = restored.read(CLAIM, "a")
        assert found.number > LEAP
        assert found.data == b""
        with pytest.raises(Settling):
            restored.advance(CLAIM, "a", found.number, b"other", not_after=later())
        restored.close()
    finally:
        server.sql(f"drop database {prefix} with (force)")


def test_a_schema_that_is_dropped_under_way_is_made_anew_and_uses_no_number_twice(
    server: Postgres, opened: Opened, prefix: str
) -> None:
    engine = opened(server.url(prefix=prefix))
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    server.sql(f"drop schema {prefix} cascade")
    with pytest.raises(Unavailable):
        engine.read(CLAIM, "a")
    found = engine.read(CLAIM, "a")
    assert found.number > LEAP
    assert found.data == b""
    with pytest.raises(Settling, match="dropped"):
        engine.advance(CLAIM, "a", found.number, b"two", not_after=later())
    assert opened(server.url(prefix=f"{prefix}new")).read(CLAIM, "a") == NOTHING
