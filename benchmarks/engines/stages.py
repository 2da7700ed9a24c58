"""The servers: each is started on loopback with its data on tmpfs, and ended by its pid. Whoever is not here says why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import psutil
import pytest
from support.servers import Server
from support.servers.azurite import Azurite
from support.servers.etcd import Etcd
from support.servers.postgres import PgBouncer, Postgres
from support.servers.redis import ALWAYS, PROGRAMS, Redis
from support.servers.versitygw import VersityGW

from engines.bare import Transition, of_azure, of_etcd, of_postgres, of_redis, of_s3
from engines.contenders import FILES

S = TypeVar("S", bound=Server)
REDIS_LOCKS = ("python-redis-lock", "redis-py Lock")
PATIENCE = 30
"""Seconds: fifty processes connect at once."""
SHORTEST = 3
"""Seconds. A Redis that is new grants nothing before 4/3 of the longest lease that is named to it."""


class Stage(NamedTuple):
    """`direct`: the URL of what the engine's own locks need, where `url` is that of a pooler; `port`: that of `url`."""

    url: str
    server: Server
    bare: Callable[[str], Transition]
    locks: Sequence[str]
    direct: str
    port: int

    def others(self) -> dict[str, str]:
        """What else is measured there: by name, and where it is."""
        return {FILES: f"{os.environ['LOOOP_DATA_DIR']}-files"} | dict.fromkeys(self.locks, self.direct)

    def cpu(self) -> float:
        """Seconds of CPU that the server's processes which are there have used."""
        leader = psutil.Process(self.server.pid)
        used = [each.cpu_times() for each in (leader, *leader.children(recursive=True))]
        return float(sum(each.user + each.system for each in used))

    @property
    def has_lines(self) -> bool:
        return not self.url.startswith(("s3:", "az:"))


def _redis(stack: ExitStack, kind: str) -> Stage:
    if not PROGRAMS[kind]:
        pytest.skip(f"no {kind}-server")
    server = _started(stack, Redis(*ALWAYS, kind=kind))
    url = server.url(longest=SHORTEST, timeout=PATIENCE)
    return Stage(url, server, of_redis, REDIS_LOCKS, url, server.port)


def _postgres(stack: ExitStack, *, pooled: bool) -> Stage:
    server = _started(stack, Postgres(max_connections="300"))
    url = server.url(timeout=str(PATIENCE))
    if not pooled:
        return Stage(url, server, of_postgres, ("pg_advisory_lock",), url, server.port)
    pool = _started(stack, PgBouncer(server, default_pool_size="60"))
    pooler = pool.url(listen=quote(server.url(), safe=""), timeout=str(PATIENCE))
    return Stage(pooler, server, of_postgres, ("pg_advisory_lock",), url, pool.port)


def _etcd(stack: ExitStack) -> Stage:
    server = _started(stack, Etcd())
    url = f"etcd://127.0.0.1:{server.port}?timeout={PATIENCE}"
    return Stage(url, server, of_etcd, ("etcd3gw Lock",), url, server.port)


def _bucket(stack: ExitStack, server: VersityGW | Azurite, bare: Callable[[str], Transition]) -> Stage:
    os.environ.update(server.credentials())
    _started(stack, server)
    url = f"{server.url('bench')}&timeout={PATIENCE}"
    return Stage(url, server, bare, (), url, server.port)


def _started(stack: ExitStack, server: S) -> S:
    stack.callback(server.close)
    server.start()
    return server


STAGES: dict[str, Callable[[ExitStack], Stage]] = {
    "redis": lambda stack: _redis(stack, "redis"),
    "valkey": lambda stack: _redis(stack, "valkey"),
    "etcd": _etcd,
    "postgres": lambda stack: _postgres(stack, pooled=False),
    "pgbouncer": lambda stack: _postgres(stack, pooled=True),
    "versitygw": lambda stack: _bucket(stack, VersityGW(), of_s3),
    "azurite": lambda stack: _bucket(stack, Azurite(), of_azure),
}


class Missing(Exception):
    """A server that is not here."""


@contextmanager
def staged(name: str) -> Iterator[Stage]:
    """Raises `Missing`."""
    with ExitStack() as stack:
        try:
            stage = STAGES[name](stack)
        except pytest.skip.Exception as reason:
            raise Missing(str(reason)) from None
        yield stage
