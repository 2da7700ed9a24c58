"""Servers for the tests: one of each kind for a module, and what opens a store of a test's own there."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from looop_portable_redis.address import read_url
from looop_portable_redis.engine import RedisEngine
from support.servers.redis import EACH, Redis

NUMBERS = itertools.count()


def new_prefix() -> str:
    return f"test-{os.getpid()}-{next(NUMBERS)}"


def _settle(server: Redis, prefix: str) -> None:
    """Make it what a store is where claims have been for long: its stamp knows the run, and nothing was ever lost."""
    with redis.Redis(port=server.port) as client:
        run = client.info("server")["run_id"]
        client.hset(f"{{{prefix}}}:records", "stamp", f"{run} {'0' * 40} 0 0 1000000 0 0 0")


@pytest.fixture
def settle() -> Callable[[Redis, str], None]:
    return _settle


@pytest.fixture(scope="module", params=EACH)
def shared(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """A server that no test stops."""
    server = Redis(kind=request.param)
    server.start()
    yield server
    server.close()


@pytest.fixture
def prefix(shared: Redis) -> str:
    """One that nobody has used, and that does not settle any more."""
    name = new_prefix()
    _settle(shared, name)
    return name


@pytest.fixture
def opening() -> Iterator[Callable[..., RedisEngine]]:
    """What opens the store at a URL."""
    engines: list[RedisEngine] = []

    def opened(url: str, **environment: str) -> RedisEngine:
        engines.append(RedisEngine(read_url(url, environment)))
        return engines[-1]

    yield opened
    for engine in engines:
        engine.close()


@pytest.fixture
def lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent reaches the server, though its client has gone: as behind a proxy, or from another host."""
    monkeypatch.setattr("looop_portable_redis.wire._NO_LINGER", struct.pack("ii", 0, 0))


@pytest.fixture
def asked() -> Callable[[Redis], int]:
    """How often a server was asked to run a script by its hash."""

    def count(server: Redis) -> int:
        with redis.Redis(port=server.port) as client:
            return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])

    return count


@pytest.fixture
def connect(shared: Redis, prefix: str, opening: Callable[..., RedisEngine]) -> Callable[[], RedisEngine]:
    """What opens the same store anew, as another process would."""
    return lambda: opening(shared.url(prefix=prefix))


@pytest.fixture
def starting() -> Iterator[Callable[..., Redis]]:
    """What starts a server that is the test's own."""
    with ExitStack() as stack:

        def start(*options: str, kind: str = "redis", **more: bool) -> Redis:
            server = Redis(*options, kind=kind, **more)
            stack.callback(server.close)
            server.start()
            return server

        yield start
