"""Names and ids that are words of SQL, of Lua, of a server's protocol, or patterns: on real servers they are names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers import Server

from looop_portable import Claims, Released, Unavailable, Won
from looop_portable.errors import InvalidName

EVIL = [
    "'; drop schema looop cascade; --",
    "$1",
    '"); delete from looop.records; --',
    "]] redis.call('FLUSHALL') --[[",
    "x\r\nFLUSHALL\r\n",
    "x' or '1'='1",
    "*",
    "%",
    "_",
    "[a-z]*",
    "{looop}:records",
    "(claim",
    '","value":"e30=","lease":"0',
    "\u202etxt.exe",
    "\x1b[31m",
    "\ud800",
    "\x00",
    "..",
    "a%2Fb",
]


def redis_server() -> tuple[Server, str]:
    pytest.importorskip("redis", reason="there is no redis client (pip install redis)")
    from support.servers.redis import ALWAYS, PROGRAMS, Redis

    if not PROGRAMS["redis"]:
        pytest.skip("there is no redis-server")
    server = Redis(*ALWAYS)
    server.start()
    return server, f"redis://127.0.0.1:{server.port}/0?longest=1"


def postgres_server() -> tuple[Server, str]:
    pytest.importorskip("psycopg", reason="there is no psycopg (pip install psycopg[binary])")
    from support.servers.postgres import Postgres

    server = Postgres()
    server.start()
    return server, f"postgresql://postgres@127.0.0.1:{server.port}/postgres"


def etcd_server() -> tuple[Server, str]:
    from support.servers.etcd import Etcd

    server = Etcd()
    server.start()
    return server, f"etcd://127.0.0.1:{server.port}/looop"


@pytest.fixture(params=[redis_server, postgres_server, etcd_server], ids=["redis", "postgres", "etcd"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    server, found = request.param()
    yield found
    server.close()


def claimed(claims: Claims, name: str, session: str) -> int:
    """The generation; 0: it can be no name. A server that was started just now settles first."""
    while True:
        try:
            outcome = claims.claim(name, session)
        except InvalidName:
            return 0
        except Unavailable as error:
            if "nothing is claimed" not in str(error):
                raise
        else:
            assert isinstance(outcome, Won)
            return outcome.generation


def test_each_is_a_name_of_its_own_and_nothing_else(url: str, tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), url)
    first = claimed(claims, "neighbour", "w1")
    names = {name: number for name in EVIL if (number := claimed(claims, name, "w1"))}
    assert {"*", "%", "_", "{looop}:records", "x' or '1'='1"} < set(names)
    listed = {each.name for each in claims.list()}
    assert listed == {"neighbour", *names}
    for name, generation in names.items():
        lease = claims.show(name).lease
        assert lease
        assert (lease.name, lease.generation) == (name, generation)
        assert isinstance(claims.release(name, "w1"), Released)
    assert {each.name for each in claims.list()} == {"neighbour"}
    assert claims.check("neighbour", first).current
    sessions = []
    for session in EVIL:
        try:
            sessions.append(claims.sessions.register(session).session)
        except InvalidName:
            continue
    assert set(sessions) <= set(claims.sessions.ids())
    assert claims.check("neighbour", first).current
    claims.backend.close()
