"""`hold` on an engine, and the locks that people use there, behind the interface of `contenders`.

Does not guarantee: the same promises. `pg_advisory_lock` ends with its connection, and excludes nobody behind a pooler in
transaction mode. Redis's locks are lost with what Redis loses, and with their time. etcd3gw's does not wait: who wants to
wait tries again, here every 100 ms. None of them numbers its holders.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from contenders import Contender
from tables import OURS

import looop_portable

HOLD = f"{OURS}: hold"
LONG = 3600  # Seconds: no lock of theirs ends by itself while it is measured.
AGAIN = 0.1  # Seconds between two attempts of what does not wait: as redis-py's Lock has it.

logging.getLogger("redis_lock").setLevel(logging.ERROR)


def ours(url: str) -> Contender:
    """`url`: of an engine; or a directory."""
    where: dict[str, Any] = {"data_dir": url} if url.startswith("/") else {"backend": url}
    name = f"repo-{os.getppid()}"  # That of a troupe whose members were killed is held for a lease more.
    patient, waiting = (looop_portable.hold(name, timeout=timeout, **where) for timeout in (0, None))
    held = [patient]

    def acquire() -> None:
        held[0] = waiting
        waiting.__enter__()

    def attempt() -> bool:
        held[0] = patient
        try:
            patient.__enter__()
        except looop_portable.ClaimHeld:
            return False
        return True

    return Contender(acquire, attempt, lambda: held[0].__exit__(None, None, None))


def of_redis_py(url: str) -> Contender:
    import redis

    lock = redis.Redis.from_url(url.partition("?")[0]).lock("redis-py", timeout=LONG)
    return Contender(lock.acquire, lambda: bool(lock.acquire(blocking=False)), lock.release)


def of_python_redis_lock(url: str) -> Contender:
    """Its client waits for ever: redis-py's own timeout of 5 s would end the wait of this lock with an error."""
    import redis
    import redis_lock

    client = redis.StrictRedis.from_url(url.partition("?")[0], socket_timeout=None)
    lock = redis_lock.Lock(client, "python-redis-lock", expire=LONG)
    return Contender(lock.acquire, lambda: bool(lock.acquire(blocking=False)), lock.release)


def of_advisory_lock(url: str) -> Contender:
    import psycopg

    connection = psycopg.connect(url.partition("?")[0], autocommit=True, prepare_threshold=None)

    def attempt() -> bool:
        return connection.execute("select pg_try_advisory_lock(1)").fetchone() == (True,)

    def release() -> None:
        connection.execute("select pg_advisory_unlock(1)")

    return Contender(lambda: connection.execute("select pg_advisory_lock(1)"), attempt, release)


def of_etcd3gw(url: str) -> Contender:
    import etcd3gw

    parts = urlsplit(url)
    lock = etcd3gw.client(host=parts.hostname or "", port=parts.port or 0).lock("etcd3gw", ttl=LONG)

    def acquire() -> None:
        while not lock.acquire():
            time.sleep(AGAIN)

    return Contender(acquire, lock.acquire, lock.release)


FILES = "hold in a directory"
MAKERS: dict[str, Callable[[str], Contender]] = {
    HOLD: ours,
    FILES: ours,
    "redis-py Lock": of_redis_py,
    "python-redis-lock": of_python_redis_lock,
    "pg_advisory_lock": of_advisory_lock,
    "etcd3gw Lock": of_etcd3gw,
}
"""By the name of their rows; ours first: on an engine, and in files."""

PACKAGES = ("looop-portable", "redis", "python-redis-lock", "psycopg", "urllib3", "etcd3gw", "obstore")
