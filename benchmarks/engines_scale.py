"""Many claims on real servers, each started here on loopback with its data in memory: what they take, and what verbs take.

    python benchmarks/engines_scale.py [--sizes 1,1000,100000] [redis] [postgres] [etcd] [bucket]

For each engine and number of claims: the server's memory, or what it has on its disk; seconds of one `list`, and of one
sweep of the reaper that finds nothing to release; a cycle of claim and release in that store. The claims are held by up to
10,000 sessions (1,000 in a bucket), which all live. Then heartbeats, as fast as this process gives them: how many a second,
and what of the server's CPU each takes.

Claims are put into the server by its own means: one by one would take hours. What a claim takes is measured by itself.
Does not measure: a network, a disk, or two processes that list at once. This process has one CPU, as Python does.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import psutil
from support.servers import Server
from support.servers.etcd import Etcd
from support.servers.postgres import Postgres
from support.servers.redis import ALWAYS, Redis
from support.servers.versitygw import VersityGW

from looop_portable import Claims, Settling, Won
from looop_portable.backends.engine import CLAIM, Engine
from looop_portable.backends.on_engine import OnEngine
from looop_portable.protocol.codec import encode
from looop_portable.protocol.records import Holder, Lease, record_of
from looop_portable.system.clock import elapsed, timestamp
from looop_portable.system.opening.nonces import nonce

LEASE = 3600
"""Seconds: nobody is silent meanwhile."""
CYCLES, BEATING = 200, 5.0
Pairs = Iterator[tuple[str, bytes, str]]
"""The key of a claim, its data, and the word of its holder's heartbeats."""


class World(NamedTuple):
    """A server, how it is reached, how records get into it, and what it takes now: in bytes, and what that is."""

    server: Server
    engine: Engine
    fill: Callable[[Pairs], None]
    taken: Callable[[], dict[str, int]]
    sessions: int = 10_000


def redis() -> World:
    import redis as client
    from looop_portable_redis.address import read_url
    from looop_portable_redis.engine import RedisEngine

    server = Redis(*ALWAYS, "--auto-aof-rewrite-percentage", "0")
    server.start()
    engine = RedisEngine(read_url(server.url(prefix="scale", longest=3), {}))

    def fill(pairs: Pairs) -> None:
        number = next_number(engine)
        with client.Redis(port=server.port) as own:
            for page in _batched(pairs, 10_000):
                pipe = own.pipeline(transaction=False)
                pipe.hset("{scale}:records", mapping={f"claim/{key}": b"%d %b" % (number, data) for key, data, _ in page})
                pipe.zadd("{scale}:keys", {f"claim/{key}": 0 for key, *_ in page})
                pipe.execute()

    def taken() -> dict[str, int]:
        with client.Redis(port=server.port) as own:
            used = int(own.info("memory")["used_memory"])
        return {"memory": used, "log": _below(server.place / "appendonlydir") or _below(server.place)}

    return World(server, engine, fill, taken)


def postgres() -> World:
    from looop_portable_postgres.address import target_in
    from looop_portable_postgres.engine import PostgresEngine
    from psycopg import connect

    server = Postgres(shared_buffers="128MB", max_wal_size="1GB")
    server.start()

    def fill(pairs: Pairs) -> None:
        with connect(server.url()) as own:
            with own.cursor().copy("copy scale.records (kind, key, number, data, word) from stdin (format binary)") as copy:
                copy.set_types(["text", "bytea", "int8", "bytea", "bytea"])
                for key, data, word in pairs:
                    copy.write_row(("claim", key.encode(), 1, data, word.encode()))
            own.commit()
            own.autocommit = True
            own.execute("vacuum analyze scale.records")

    def taken() -> dict[str, int]:
        return {
            "tables": int(
                server.sql("select sum(pg_total_relation_size(oid)) from pg_class where relname in ('records', 'beats')")
            )
        }

    return World(server, PostgresEngine(target_in(server.url(prefix="scale"))), fill, taken)


def etcd() -> World:
    from looop_portable_etcd.address import Address
    from looop_portable_etcd.engine import EtcdEngine
    from looop_portable_etcd.wire import Call

    server = Etcd("--quota-backend-bytes=8589934592")
    server.start()
    engine = EtcdEngine(Address(f"etcd://127.0.0.1:{server.port}/scale"))

    def fill(pairs: Pairs) -> None:
        for page in _batched(pairs, 128):
            puts = [{"key": engine._key(CLAIM, key), "value": b64encode(data).decode()} for key, data, _ in page]
            engine.gateway.ask(Call("/v3/kv/txn", {"success": [{"request_put": each} for each in puts]}))

    def taken() -> dict[str, int]:
        return {
            "memory": psutil.Process(server.pid).memory_info().rss,
            "disk": _below(server.place / "data" / "member" / "snap"),
        }

    return World(server, engine, fill, taken)


def bucket() -> World:
    import os

    from looop_portable_objects.engine import ObjectEngine
    from looop_portable_objects.place import place_in

    server = VersityGW()
    server.start()
    os.environ.update(server.credentials())
    engine = ObjectEngine(place_in(server.url("scale")))

    def fill(pairs: Pairs) -> None:
        with ThreadPoolExecutor(4) as pool:
            put = lambda key, data, _: engine.advance(CLAIM, key, 0, data, not_after=elapsed() + 60)  # noqa: E731
            assert all(each.won for each in pool.map(lambda pair: put(*pair), pairs))

    def taken() -> dict[str, int]:
        return {"files": _below(server.files)}

    return World(server, engine, fill, taken, 1_000)


WORLDS = {"redis": redis, "postgres": postgres, "etcd": etcd, "bucket": bucket}


def measure(name: str, sizes: list[int]) -> None:
    world = WORLDS[name]()
    try:
        claims = Claims(OnEngine(world.engine, name))
        me = settled(claims)
        holders = [me]
        there = 0
        for size in sizes:
            while len(holders) < min(size, world.sessions):
                holders.append(claims.sessions.register(f"s{len(holders)}", lease_seconds=LEASE).holder)
            filled = _took(partial(world.fill, records(there, size, holders, next_number(world.engine))))
            there = size
            listed = _took(partial(_count, claims, size))
            reaped = _took(claims.reap)
            taken = ", ".join(f"{what} {number / 1e6:,.1f} MB" for what, number in world.taken().items())
            cycle = cycles(claims, me)
            print(
                f"{name}: {size:,} claims of {min(size, world.sessions):,} sessions: {taken}; list {listed:.3g} s, "
                f"reap {reaped:.3g} s, claim and release {1000 * cycle:.3g} ms; put in within {filled:.3g} s",
                flush=True,
            )
        beats(name, world, claims, holders)
    finally:
        world.engine.close()
        world.server.close()


def settled(claims: Claims) -> Holder:
    """Somebody who lives, where something can be claimed."""
    while True:
        try:
            claims.claim("first", "nobody")
            claims.release("first", "nobody")
            return claims.sessions.register("me", lease_seconds=LEASE).holder
        except Settling as error:
            time.sleep(error.seconds)


def next_number(engine: Engine) -> int:
    """Of a claim that nobody has had: a Redis that may have lost something begins with a great one."""
    return engine.read(CLAIM, "nobody's").number + 1


def records(first: int, size: int, holders: list[Holder], generation: int) -> Pairs:
    for number in range(first, size):
        holder = holders[number % len(holders)]
        name, word = f"repo-{number:07}", f"{holder.session}/{holder.incarnation}"
        fields = record_of(Lease(name, *holder, 1, timestamp(), "host.example"))
        yield name, encode({**fields, "generation": generation, "word": word, "token": nonce()}), word


def cycles(claims: Claims, me: Holder) -> float:
    """Seconds of the median."""
    times = []
    for number in range(CYCLES):
        began = time.perf_counter()
        assert isinstance(claims.claim(f"other-{number}", me), Won)
        claims.release(f"other-{number}", me)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def beats(name: str, world: World, claims: Claims, holders: list[Holder]) -> None:
    """Each is a beat, and a look at the registration."""
    given = 0

    def give(part: int) -> None:
        nonlocal given
        for holder in itertools.cycle(holders[part::3]):
            if elapsed() > end:
                return
            assert claims.sessions.renew(holder)
            given += 1

    before, end = _cpu(world.server.pid), elapsed() + BEATING
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(give, range(3)))
    cost = (_cpu(world.server.pid) - before) / given
    shares = {30: 100_000 * cost, 600: 5_000 * cost}
    told = " and ".join(f"{share:,.1f} % of a core with leases of {lease} s" for lease, share in shares.items())
    print(
        f"{name}: {given / BEATING:,.0f} heartbeats a second, each {1e6 * cost:,.0f} microseconds of the server's CPU: "
        f"for 10,000 sessions {told}",
        flush=True,
    )


def _count(claims: Claims, size: int) -> None:
    found = claims.list()
    assert len(found) == size, f"{len(found)} of {size}"
    assert not any(each.verdict and each.verdict.dead for each in found)


def _took(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _cpu(pid: int) -> float:
    """Seconds that it, and all that it has started, have taken so far."""
    found = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (found, *found.children(recursive=True)))


def _below(place: Path) -> int:
    return sum(each.stat().st_blocks * 512 for each in place.rglob("*") if each.is_file())


def _batched(pairs: Pairs, size: int) -> Iterator[list[Any]]:
    while page := list(itertools.islice(pairs, size)):
        yield page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=list(WORLDS), metavar="ENGINE")
    parser.add_argument("--sizes", default="1,1000,100000")
    asked = parser.parse_args()
    for name in asked.engines:
        measure(name, [int(each) for each in asked.sizes.split(",")])


if __name__ == "__main__":
    main()
