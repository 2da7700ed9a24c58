"""A transition is told as won when it is committed as it has to be, and as begun in time: neither before nor otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from support.servers.postgres import Postgres

from looop_portable import Unavailable
from looop_portable.backends.engine import CLAIM, NOTHING, Record
from looop_portable.errors import Settling
from looop_portable.system.clock import elapsed
from looop_portable_postgres.engine import PostgresEngine

Opened = Callable[[str], PostgresEngine]


def later() -> float:
    return elapsed() + 3600


def test_a_commit_that_fails_is_not_told_as_won(server: Postgres, opened: Opened, prefix: str) -> None:
    """The server has sent the rows by then. It is asked whether it is ready for the next statement."""
    engine = opened(server.url(prefix=prefix))
    engine.read(CLAIM, "a")
    server.sql(
        f"create function {prefix}.refuse() returns trigger language plpgsql as"
        f" $$ begin raise exception 'not at commit'; end $$;"
        f" create constraint trigger refuse after insert on {prefix}.records deferrable initially deferred"
        f" for each row execute function {prefix}.refuse()"
    )
    with pytest.raises(Unavailable, match="not at commit"):
        engine.advance(CLAIM, "a", 0, b"x" * 100_000, not_after=later())
    assert engine.read(CLAIM, "a") == NOTHING


def test_a_commit_that_is_nowhere_but_here_is_not_told_as_won(opened: Opened) -> None:
    """Whoever cancels the wait for a synchronous standby makes a commit of it, which a failover loses, and a warning."""
    server = Postgres(synchronous_standby_names="nobody", synchronous_commit="local")
    try:
        server.start()
        engine = opened(server.url(timeout="20"))
        with ThreadPoolExecutor(1) as threads, psycopg.connect(server.url(), autocommit=True) as other:
            cancel = (
                "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'"
                " and application_name = 'looop-portable'"
            )
            asked = threads.submit(engine.read, CLAIM, "a")
            end = elapsed() + 20
            while not asked.done():  # The schema is made.
                other.execute(cancel)
                assert elapsed() < end
            with pytest.raises(Unavailable, match="synchronous replication"):
                asked.result()
            engine.read(CLAIM, "a")
            told = threads.submit(engine.advance, CLAIM, "a", 0, b"one", not_after=later())
            while not told.done():
                other.execute(cancel)
                assert elapsed() < end
            with pytest.raises(Unavailable, match="synchronous replication"):
                told.result()
    finally:
        server.close()


def test_one_that_gets_a_lock_too_late_changes_nothing(server: Postgres, opened: Opened, prefix: str) -> None:
    engine = opened(server.url(prefix=prefix))
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=later()).won
    with psycopg.connect(server.url()) as other:
        other.execute(f"select from {prefix}.records for update")
        with pytest.raises(Unavailable):
            engine.advance(CLAIM, "a", 1, b"two", not_after=elapsed() + 0.5)
        time.sleep(0.1)
        other.rollback()
        other.execute(f"lock table {prefix}.records in access exclusive mode")  # It waits for the one that has waited.
    assert engine.read(CLAIM, "a") == Record(1, b"one")


def test_a_grace_that_began_in_the_future_is_as_long_as_any(server: Postgres, opened: Opened, prefix: str) -> None:
    """As after the server's clock was set back by an hour."""
    engine = opened(server.url(prefix=prefix))
    engine.beat("s/i", 3)
    server.sql(f"update {prefix}.stamp set since = clock_timestamp() + interval '1 hour', why = 'promoted'")
    with pytest.raises(Settling):
        engine.advance(CLAIM, "a", 0, b"one", not_after=later())
    with pytest.raises(Settling) as told:
        engine.advance(CLAIM, "a", 0, b"one", not_after=later())
    assert told.value.seconds <= 4
    time.sleep(told.value.seconds)
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=later()).won


def test_a_store_that_somebody_has_emptied_by_hand_answers_nothing(server: Postgres, opened: Opened, prefix: str) -> None:
    """Nobody knows any more which numbers were used."""
    engine = opened(server.url(prefix=prefix))
    engine.read(CLAIM, "a")
    server.sql(f"truncate {prefix}.stamp")
    for call in (
        lambda: engine.advance(CLAIM, "a", 0, b"one", not_after=later()),
        lambda: engine.read(CLAIM, "a"),
        lambda: engine.look("a"),
        lambda: engine.scan(CLAIM),
    ):
        with pytest.raises(Unavailable):
            call()
