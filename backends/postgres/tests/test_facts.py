"""What the doctor is told of a server: what is so there, whether it excludes, and what to change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.servers import free_port
from support.servers.postgres import PgBouncer, Postgres

from looop_portable import Unavailable
from looop_portable.backends.engine import Fact
from looop_portable_postgres.engine import PostgresEngine

Opened = Callable[[str], PostgresEngine]


def told(engine: PostgresEngine) -> dict[str, Fact]:
    facts = engine.verify()
    assert all(f"{each.found} {each.advice}".isprintable() for each in facts)
    return {each.name: each for each in facts}


def test_a_server_as_it_is_usually_set_up_excludes(server: Postgres, opened: Opened, prefix: str) -> None:
    facts = told(opened(server.url(prefix=prefix)))
    assert all(each.excludes for each in facts.values())
    assert not {name for name, each in facts.items() if each.advice}
    assert facts["version"].found.startswith("PostgreSQL 1")
    assert facts["role"].found == "primary"
    assert facts["timeline"].found == "1"
    assert facts["pooler"].found == "none"
    assert "told at once" in facts["notifications"].found
    assert "survives" in facts["persistence"].found
    assert server.sql(f"select to_regnamespace('{prefix}') is null") == "t"  # Nothing was made.


def test_a_pooler_and_its_deaf_listen_are_told(server: Postgres, pooler: PgBouncer, opened: Opened) -> None:
    facts = told(opened(pooler.url(timeout="2")))
    assert facts["pooler"].found != "none"
    assert "?listen=" in facts["notifications"].advice
    assert all(each.excludes for each in facts.values())
    assert "told at once" in told(opened(pooler.url(listen=server.url())))["notifications"].found


def test_what_a_crash_or_a_failover_may_lose_is_told_and_a_replica_excludes_nobody(opened: Opened) -> None:
    primary = Postgres(fsync="off", default_transaction_isolation="serializable")
    try:
        primary.start()
        standby = Postgres(of=primary)
        try:
            standby.start()
            facts = told(opened(standby.url()))
            assert not facts["role"].excludes
            assert "primary" in facts["role"].advice
            while primary.sql("select count(*) from pg_stat_replication") == "0":
                pass
            facts = told(opened(primary.url()))
            assert {name for name, each in facts.items() if each.advice} >= {"persistence", "replication", "isolation"}
        finally:
            standby.close()
    finally:
        primary.close()


def test_a_server_that_is_not_there_is_unavailable(opened: Opened) -> None:
    with pytest.raises(Unavailable):
        opened(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres").verify()
