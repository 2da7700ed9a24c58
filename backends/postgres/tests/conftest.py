"""One server for all tests of a worker that neither stop nor change it. Each test has a schema of its own."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterator

import pytest
from support.servers.postgres import PASSWORD, PgBouncer, Postgres

from looop_portable_postgres.address import target_in
from looop_portable_postgres.engine import PostgresEngine

_numbers = itertools.count(1)

for _name in [each for each in os.environ if each.startswith("PG")]:
    del os.environ[_name]  # libpq would take a host, a user or a password from there.


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        server.sql(f"create role visitor login password '{PASSWORD}'; grant create on database postgres to visitor")
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def pooler(server: Postgres) -> Iterator[PgBouncer]:
    pooler = PgBouncer(server)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.close()


@pytest.fixture
def prefix() -> str:
    """A schema that no other test has."""
    return f"t{next(_numbers)}"


Opened = Callable[[str], PostgresEngine]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """What opens an engine by its URL; the test's end closes those that are left."""
    engines = weakref.WeakSet[PostgresEngine]()

    def open_engine(url: str) -> PostgresEngine:
        engine = PostgresEngine(target_in(url))
        engines.add(engine)
        return engine

    yield open_engine
    for engine in list(engines):
        engine.close()
