"""Many claims on real servers, each started here on loopback with its data in memory: what they take, and what verbs take.

    python benchmarks/engines_scale.py [--sizes 1,1000,100000] [redis] [postgres] [etcd] [bucket]

For each engine and number of claims: the server's memory, or what it has on its disk; seconds of one `list`, and of one
sweep of the reaper that finds nothing to release, and how much of that is this process's own CPU, and the server's; a cycle
of claim and release in that store. The claims are held by up to 10,000 sessions (1,000 in a bucket), which all live. Then
heartbeats, as fast as this process gives them: how many a second, and what of the server's CPU each takes.

Claims are put into the server by its own means: one by one would take hours. What a claim takes is measured by itself.
Does not measure: a network, a disk, or two processes that list at once. This process has one CPU, as Python does.
Needs the distributions in backends/, and their servers.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import psutil
from support.servers import Server
from support.servers.etcd import Etcd
from support.servers.postgres import Postgres
from support.servers.redis import ALWAYS, Redis
from support.servers.versitygw import VersityGW

from looop_portable import Claims, Settling, Won
from looop_portable.protocol.codec import encode
from looop_portable.protocol.records import Holder, Lease, record_of
from looop_portable.system.clock import elapsed, timestamp
from looop_portable.system.opening.nonces import nonce

LEASE = 3600
"""Seconds: nobody is silent meanwhile."""
CYCLES, BEATING = 200, 5.0


class Put(NamedTuple):
    """A claim that is to be there: as what, and its record. Its name is its key."""

    lease: Lease
    data: bytes

    @property
    def word(self) -> str:
        return f"{self.lease.session}/{self.lease.incarnation}"


class World(NamedTuple):
    """A server, its URL, how claims get into it, and what it takes now: in bytes, and what that is."""

    server: Server
    url: str
    fill: Callable[[Claims, Iterator[Put]], None]
    taken: Callable[[], dict[str, int]]
    sessions: int = 10_000


def redis() -> World:
    from redis import Redis as Client

    server = Redis(*ALWAYS, "--auto-aof-rewrite-percentage", "0")
    server.start()

    def fill(_: Claims, puts: Iterator[Put]) -> None:
        with Client(port=server.port) as own:
            for page in _pages(puts, 10_000):
                records = {f"claim/{lease.name}": b"%d %b" % (lease.generation, data) for lease, data in page}
                own.hset("{scale}:records", mapping=records)
                own.zadd("{scale}:keys", dict.fromkeys(records, 0))

    def taken() -> dict[str, int]:
        with Client(port=server.port) as own:
            return {"memory": int(own.info("memory")["used_memory"]), "log": _below(server.place)}

    return World(server, server.url(prefix="scale", longest=3), fill, taken)


def postgres() -> World:
    from psycopg import connect

    server = Postgres(shared_buffers="128MB", max_wal_size="1GB")
    server.start()

    def fill(_: Claims, puts: Iterator[Put]) -> None:
        with connect(server.url(), autocommit=True) as own:
            with own.cursor().copy("copy scale.records (kind, key, number, data, word) from stdin (format binary)") as copy:
                copy.set_types(["text", "bytea", "int8", "bytea", "bytea"])
                for each in puts:
                    copy.write_row(("claim", each.lease.name.encode(), 1, each.data, each.word.encode()))
            own.execute("vacuum analyze scale.records")

    def taken() -> dict[str, int]:
        size = "select sum(pg_total_relation_size(oid)) from pg_class where relname in ('records', 'beats')"
        return {"tables": int(server.sql(size))}

    return World(server, server.url(prefix="scale"), fill, taken)


def etcd() -> World:
    server = Etcd("--quota-backend-bytes=8589934592")
    server.start()

    def fill(_: Claims, puts: Iterator[Put]) -> None:
        for page in _pages(puts, 128):
            pairs = [
                (b64encode(f"scale/claim/{lease.name}".encode()).decode(), b64encode(data).decode()) for lease, data in page
            ]
            server.ask("/v3/kv/txn", {"success": [{"request_put": {"key": key, "value": value}} for key, value in pairs]})

    def taken() -> dict[str, int]:
        return {"memory": psutil.Process(server.pid).memory_info().rss, "disk": _below(server.place / "data/member/snap")}

    return World(server, f"etcd://127.0.0.1:{server.port}/scale", fill, taken)


def bucket() -> World:
    server = VersityGW()
    server.start()
    os.environ.update(server.credentials())

    def fill(claims: Claims, puts: Iterator[Put]) -> None:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda put: claims.backend.advance(put.lease.name, 0, put.lease), puts))

    return World(server, server.url("scale"), fill, lambda: {"files": _below(server.files)}, 1_000)


WORLDS = {"redis": redis, "postgres": postgres, "etcd": etcd, "bucket": bucket}


def measure(name: str, sizes: list[int], data_dir: str) -> None:
    world = WORLDS[name]()
    claims = Claims.open(data_dir, world.url)
    try:
        me, there, generation = settled(claims), 0, claims.backend.read("nobody's").generation + 1
        holders = [me]
        for size in sizes:
            while len(holders) < min(size, world.sessions):
                holders.append(claims.sessions.register(f"s{len(holders)}", lease_seconds=LEASE).holder)
            began = elapsed()
            world.fill(claims, puts(there, size, holders, generation))
            filled, there = elapsed() - began, size
            listed, reaped = _took(world, lambda: len(claims.list()), size), _took(world, lambda: claims.reap().kept, size)
            taken = ", ".join(f"{what} {number / 1e6:,.1f} MB" for what, number in world.taken().items())
            print(
                f"{name}: {size:,} claims of {min(size, world.sessions):,} sessions: {taken}; put in within {filled:.2g} s"
            )
            print(f"    list {listed}; reap {reaped}; claim and release {1000 * cycles(claims, me):.3g} ms", flush=True)
        beats(name, world, claims, holders)
    finally:
        claims.backend.close()
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


def puts(first: int, size: int, holders: list[Holder], generation: int) -> Iterator[Put]:
    for number in range(first, size):
        holder = holders[number % len(holders)]
        put = Put(Lease(f"repo-{number:07}", *holder, generation, timestamp(), "host.example"), b"")
        more = {"generation": generation, "word": put.word, "token": nonce()}
        yield put._replace(data=encode({**record_of(put.lease), **more}))


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
    print(f"{name}: {given / BEATING:,.0f} heartbeats a second, each {1e6 * cost:,.0f} microseconds of the server's CPU")
    print(f"    for 10,000 sessions {told}", flush=True)


def _took(world: World, call: Callable[[], int], wanted: int) -> str:
    began, own, its = time.perf_counter(), time.process_time(), _cpu(world.server.pid)
    found = call()
    took, own, its = time.perf_counter() - began, time.process_time() - own, _cpu(world.server.pid) - its
    assert found == wanted, f"{found} of {wanted}"
    return f"{took:.3g} s (CPU: {own:.3g} s here, {its:.3g} s there)"


def _cpu(pid: int) -> float:
    """Seconds that it, and all that it has started, have taken so far."""
    found = psutil.Process(pid)
    return float(sum(sum(each.cpu_times()[:2]) for each in (found, *found.children(recursive=True))))


def _below(place: Path) -> int:
    return sum(each.stat().st_blocks * 512 for each in place.rglob("*") if each.is_file())


def _pages(puts: Iterator[Put], size: int) -> Iterator[list[Put]]:
    while page := list(itertools.islice(puts, size)):
        yield page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=list(WORLDS), metavar="ENGINE")
    parser.add_argument("--sizes", default="1,1000,100000")
    asked = parser.parse_args()
    for name in asked.engines:
        with tempfile.TemporaryDirectory() as data_dir:
            measure(name, [int(each) for each in asked.sizes.split(",")], data_dir)


if __name__ == "__main__":
    main()
