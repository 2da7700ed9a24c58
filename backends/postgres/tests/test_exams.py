"""The laws of engines and of backends, on PostgreSQL: reached directly, and through a pooler in transaction mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.exams import OnEngineExam, examine_interruptions, examine_many_claims, examine_removal
from support.servers import free_port
from support.servers.postgres import PgBouncer, Postgres

from looop_portable.backends.base import Backend
from looop_portable.backends.engine import CLAIM, NOTHING, SESSION, Record
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable_postgres.engine import PostgresEngine

Opened = Callable[[str], PostgresEngine]


@pytest.fixture
def direct(server: Postgres, opened: Opened, prefix: str) -> Connect:
    return lambda: opened(server.url(prefix=prefix))


@pytest.fixture
def pooled(pooler: PgBouncer, opened: Opened, prefix: str) -> Connect:
    return lambda: opened(pooler.url(prefix=prefix))


class Directly:
    @pytest.fixture
    def connect(self, direct: Connect) -> Connect:
        return direct


class BehindAPooler:
    @pytest.fixture
    def connect(self, pooled: Connect) -> Connect:
        return pooled


class TestEngine(Directly, EngineExam):
    """Its laws."""


class TestBackend(Directly, OnEngineExam):
    scheme = "postgresql"

    @pytest.fixture(autouse=True)
    def _where_nobody_listens(self, opened: Opened) -> None:
        self._open = opened

    def cut_off(self, backend: Backend) -> Backend:
        return OnEngine(self._open(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"), "postgresql")


class TestEngineBehindAPooler(BehindAPooler, EngineExam):
    """Its laws."""


class TestBackendBehindAPooler(BehindAPooler, OnEngineExam):
    scheme = "postgresql"


def test_a_look_finds_the_session_by_whichever_word_the_record_has(direct: Connect) -> None:
    """The server is told the word when the record is published, and does not read it."""
    engine = direct()
    assert engine.advance(SESSION, "s", 0, b"me", not_after=elapsed() + 5).won
    engine.beat("s/i", 30)
    engine.beat("\u00e9/i", 30)
    for data, holder in {
        b'{"session": "s", "word": "s/i"}\n': "s",
        b'{"word":"s/i","note":"{"}': "s",
        b'{"w\\u006frd": "s/i"}': "s",
        b'{"word": "\\u00e9/i"}': "\u00e9",
        b'{"note": "\\"word\\": \\"s/i\\""}': "",
        b'{"note": {"word": "s/i"}}': "",
        b'{"session": "word", "is": "s/i"}': "",
        b'{"word": "x", "word": "s/i"}': "s",
        b'["word", "s/i"]': "",
        b'"word": "s/i"': "",
        b'{"word": "\\ud800/i"}': "",
    }.items():
        key = data.hex()
        assert engine.advance(CLAIM, key, 0, data, not_after=elapsed() + 5).won
        found = engine.look(key)
        assert found.claim == Record(1, data)
        assert found.session == (Record(1, b"me") if holder == "s" else NOTHING), data
        assert bool(found.heard) == bool(holder), data


def test_a_handler_that_comes_in_between_gets_an_answer_and_one_of_the_two_wins(direct: Connect) -> None:
    """It has a connection of its own."""
    examine_interruptions(direct, step=3, always_told=True)


def test_ten_thousand_claims(pooled: Connect) -> None:
    examine_many_claims(pooled)


def test_all_rows_are_removed_under_way(direct: Connect, server: Postgres, prefix: str) -> None:
    """A schema that is dropped is another matter: see test_durable.py."""
    examine_removal(direct, lambda: server.sql(f"truncate {prefix}.records, {prefix}.beats"))
