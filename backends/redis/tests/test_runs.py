"""A server that may have lost what it had confirmed: nobody wins before the holder knows, and no number comes again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from looop_portable import Claims, Held, hold
from looop_portable.backends.engine import CLAIM, NOTHING, SESSION, TICKET, Engine, Record
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import Settling, Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_redis.link import info_in
from support.servers.redis import ALWAYS, EACH, EVERYSEC, Redis, needs_redis

pytestmark = needs_redis

LEASE = 3
GRACE = 4 / 3 * LEASE
PATIENCE = 60.0
Starting = Callable[..., Redis]
Opening = Callable[..., Engine]
Settle = Callable[[Redis, str], None]


def later() -> float:
    return elapsed() + 3600


def won(engine: Engine, key: str, after: int, data: bytes, kind: str = CLAIM) -> bool:
    return engine.advance(kind, key, after, data, not_after=later()).won


def settled(engine: Engine, key: str = "a") -> float:
    """When it no longer settles."""
    end = elapsed() + PATIENCE
    while True:
        try:
            won(engine, key, engine.read(CLAIM, key).number, b"first")
            return elapsed()
        except Settling:
            pass
        except Unavailable:
            assert elapsed() < end
        threading.Event().wait(0.01)


class Holder:
    """A block that holds `n`, as a user writes it, with the shortest lease."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.lost_at = float("inf")
        self.number = 0
        self._lost, self._inside, self._leave = threading.Event(), threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._url, self._data_dir = url, str(data_dir)
        self._thread = threading.Thread(target=self._hold)
        self._thread.start()
        assert self._inside.wait(PATIENCE)
        assert self.number, repr(self._failure)

    def _hold(self) -> None:
        try:
            with hold("n", data_dir=self._data_dir, backend=self._url, lease_seconds=LEASE, on_lost=self._told) as block:
                self.number = block.generation
                self._inside.set()
                self._leave.wait()
        except Exception as error:  # noqa: BLE001 (a lost block says so)
            self._failure = error
        finally:
            self._inside.set()

    def _told(self, _: object) -> None:
        self.lost_at = elapsed()
        self._lost.set()

    def is_told(self) -> float:
        assert self._lost.wait(PATIENCE)
        return self.lost_at

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Callable[[str], Holder]]:
    holders: list[Holder] = []

    def start(url: str) -> Holder:
        holders.append(Holder(url, tmp_path))
        return holders[-1]

    yield start
    for holder in holders:
        holder.leave()


def claimed(engine: Engine) -> tuple[float, int]:
    """When another session wins `n`, and by which number."""
    claims, end = Claims(OnEngine(engine, "redis")), elapsed() + PATIENCE
    me = None
    while True:
        assert elapsed() < end
        try:
            me = me or claims.sessions.register("other", lease_seconds=LEASE).holder
            found = claims.claim("n", me)
        except Unavailable:
            threading.Event().wait(0.01)
            continue
        if not isinstance(found, Held):
            return elapsed(), found.lease.generation
        threading.Event().wait(0.01)


@pytest.mark.parametrize("kind", EACH)
def test_a_killed_server_without_persistence_grants_nothing_until_its_holder_knows(
    kind: str, starting: Starting, opening: Opening, settle: Settle, holding: Callable[[str], Holder]
) -> None:
    server = starting(kind=kind)
    url = server.url(prefix="p", longest=LEASE)
    settle(server, "p")
    holder = holding(url)
    server.kill()
    killed = elapsed()
    server.start()
    at, number = claimed(opening(url))
    assert at >= killed + GRACE
    assert holder.is_told() < at
    assert number > holder.number


def test_flushall_grants_nothing_until_its_holder_knows(
    starting: Starting, opening: Opening, settle: Settle, holding: Callable[[str], Holder]
) -> None:
    server = starting(*ALWAYS)
    url = server.url(prefix="p", longest=LEASE)
    settle(server, "p")
    holder, other = holding(url), opening(url)
    assert other.read(CLAIM, "n").number == holder.number
    with redis.Redis(port=server.port) as client:
        flushed = elapsed()
        client.flushall()
    at, number = claimed(other)
    assert at >= flushed + GRACE
    assert holder.is_told() < at
    assert number > holder.number


def test_a_replica_that_is_promoted_and_lacks_a_claim_grants_nothing_until_its_holder_knows(
    starting: Starting, opening: Opening, settle: Settle, holding: Callable[[str], Holder]
) -> None:
    """Both sync always: that does not help. The holder's address leads to the new master, as a virtual one does."""
    master, replica = starting(*ALWAYS), starting(*ALWAYS)
    settle(master, "p")
    follow(replica, master)
    cut_off(master)
    holder = holding(master.url(prefix="p", longest=LEASE))
    master.kill()
    killed = elapsed()
    with redis.Redis(port=replica.port) as client:
        client.replicaof("NO", "ONE")
    at, number = claimed(opening(replica.url(prefix="p", longest=LEASE)))
    assert at >= killed + GRACE
    assert holder.is_told() < at
    assert number > holder.number


def follow(replica: Redis, master: Redis) -> None:
    """Until the replica has all."""
    with redis.Redis(port=replica.port) as client:
        client.replicaof("127.0.0.1", str(master.port))
        end = elapsed() + PATIENCE
        while client.info("replication")["master_link_status"] != "up":
            assert elapsed() < end
            threading.Event().wait(0.01)


def cut_off(master: Redis) -> None:
    """From its replicas, for good: what it confirms from now on, it alone has."""
    with redis.Redis(port=master.port) as client:
        client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")


@pytest.mark.parametrize("kind", EACH)
def test_a_server_that_syncs_always_loses_nothing_and_does_not_settle(
    kind: str, starting: Starting, opening: Opening, settle: Settle
) -> None:
    server = starting(*ALWAYS, kind=kind)
    settle(server, "p")
    for number in range(3):
        assert won(opening(server.url(prefix="p")), "a", number, b"%d" % number)
        server.kill()
        server.start()
    again = opening(server.url(prefix="p"))
    assert again.read(CLAIM, "a") == Record(3, b"2")
    assert won(again, "a", 3, b"3")


def test_an_open_connection_notices_that_the_server_was_restarted(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    server = starting()
    settle(server, "p")
    engine = opening(server.url(prefix="p", longest=1))
    assert won(engine, "a", 0, b"one")
    server.kill()
    server.start()
    with pytest.raises(Unavailable):
        engine.read(CLAIM, "a")  # It is told that the connection is gone.
    with pytest.raises(Settling):
        won(engine, "a", 0, b"two")
    floor = engine.read(CLAIM, "a")
    assert floor.number > 1
    assert floor.data == b""
    settled(engine)
    assert engine.read(CLAIM, "a") == Record(floor.number + 1, b"first")


def test_what_a_log_that_may_lack_something_has_holds_nothing_and_sessions_stay(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    server = starting(*EVERYSEC)
    settle(server, "p")
    engine = opening(server.url(prefix="p", longest=1))
    for kind in (CLAIM, SESSION, TICKET):
        assert won(engine, "a", 0, b"one", kind)
    engine.beat("a/i", 1)
    server.kill()
    server.start()
    engine = opening(server.url(prefix="p", longest=1))
    floor = engine.read(CLAIM, "a").number
    assert floor > 2**40
    assert engine.read(CLAIM, "a") == engine.read(CLAIM, "never") == Record(floor, b"")
    assert engine.scan(CLAIM) == [("a", Record(floor, b""))]
    assert engine.read(SESSION, "a") == Record(floor, b"one")
    assert engine.read(SESSION, "never") == Record(floor, b"")
    assert engine.read(TICKET, "a") == Record(1, b"one")
    assert engine.read(TICKET, "never") == NOTHING
    assert engine.heard("a/i")
    assert won(engine, "a", floor, b"two", SESSION)
    assert won(engine, "a", 1, b"two", TICKET)
    with pytest.raises(Settling, match="nothing is claimed for"):
        won(engine, "a", floor, b"two")
    settled(engine)
    assert engine.read(CLAIM, "a") == Record(floor + 1, b"first")


def test_the_longest_lease_that_was_ever_promised_is_waited_for(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    server = starting(*EVERYSEC)
    settle(server, "p")
    opening(server.url(prefix="p", longest=1)).beat("a/i", 300)
    server.kill()
    server.start()
    with pytest.raises(Settling) as told:
        won(opening(server.url(prefix="p", longest=1)), "a", 0, b"one")
    assert 390 < told.value.seconds <= 400


def test_a_longer_lease_is_waited_for_while_it_settles_and_no_more_afterwards(starting: Starting, opening: Opening) -> None:
    """Before, it may be that of a session which has a claim. Afterwards it is a new one's."""
    engine = opening(starting(*EVERYSEC).url(prefix="p", longest=1))
    with pytest.raises(Settling):
        won(engine, "a", engine.read(CLAIM, "a").number, b"one")
    engine.beat("a/i", 3)
    with pytest.raises(Settling) as told:
        won(engine, "a", engine.read(CLAIM, "a").number, b"one")
    assert 2 < told.value.seconds <= 4
    settled(engine)
    engine.beat("b/i", 3600)
    assert won(engine, "a", engine.read(CLAIM, "a").number, b"two")


def test_a_longest_lease_that_nobody_uses_any_more_is_forgotten_in_time(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    """Not before its beats would be. What was used meanwhile is remembered, though it did not beat since."""
    server = starting()
    settle(server, "p")
    engine = opening(server.url(prefix="p"))

    def longest(lease: float, after_days: float) -> int:
        """What it is once that was promised, so many days later."""
        with redis.Redis(port=server.port) as client:
            stamp = stamp_of(server)
            stamp[7] = str(int(stamp[7]) - int(after_days * 86_400_000_000))
            client.hset("{p}:records", "stamp", " ".join(stamp))
        engine.beat("a/i", lease)
        return int(stamp_of(server)[4]) // 1_000_000

    longest(1, 0)  # From now on.
    assert longest(3600, 0) == 3600
    assert longest(60, 7.05) == 3600
    assert longest(60, 0.1) == 3600  # Another week begins; in the last one there was one of an hour.
    assert longest(300, 1) == 3600
    assert longest(60, 5.96) == 3600  # A beat of an hour's lease is kept for a week and two hours.
    assert longest(60, 0.2) == 300


def test_each_run_begins_above_all_numbers_of_the_one_before(starting: Starting, opening: Opening, settle: Settle) -> None:
    """Also where two follow each other within a second, or the clock was set back."""
    server = starting(*EVERYSEC)
    settle(server, "p")
    floors = [0]
    for _ in range(3):
        server.kill()
        server.start()
        floors.append(opening(server.url(prefix="p", longest=1)).read(CLAIM, "a").number)
        with redis.Redis(port=server.port) as client:
            run, before, floor, *rest = client.hget("{p}:records", "stamp").decode().split()
            ahead = int(floor) + 2**20 * 3600
            client.hset("{p}:records", "stamp", " ".join([run, before, str(ahead), *rest]))
            floors.append(ahead)
    assert floors == sorted(set(floors))


def test_a_replica_makes_a_server_that_syncs_always_unsure(starting: Starting, opening: Opening, settle: Settle) -> None:
    """Though the connection was there before it: the next transition notices."""
    master, replica = starting(*ALWAYS), starting(*ALWAYS)
    settle(master, "p")
    engine = opening(master.url(prefix="p", longest=1))
    assert won(engine, "a", 0, b"one")
    assert stamp_of(master)[5] == "1"
    follow(replica, master)
    assert won(engine, "a", 1, b"two")
    assert stamp_of(master)[5] == "0"
    master.kill()
    master.start()
    with pytest.raises(Settling):
        won(opening(master.url(prefix="p", longest=1)), "a", 2, b"three")


def test_a_master_that_was_a_replica_meanwhile_has_another_run(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    """It takes what its master has, and what it had confirmed before is gone. A connection stays open all the time."""
    first, second = starting(), starting()
    settle(first, "p")
    follow(second, first)
    with redis.Redis(port=second.port) as client:
        client.replicaof("NO", "ONE")
    engine = opening(first.url(prefix="p", longest=1))
    assert won(engine, "a", 0, b"one")
    follow(first, second)
    with pytest.raises(Unavailable, match="a replica of"):
        engine.read(CLAIM, "a")
    with redis.Redis(port=first.port) as client:
        client.replicaof("NO", "ONE")
    with pytest.raises(Settling):
        won(engine, "a", 0, b"two")
    assert engine.read(CLAIM, "a").number > 1


@pytest.mark.parametrize("stamp", ["", "x", "x 0 0 0 0 0 0 0", "RUN 0 0 0 0 0", "RUN 0 -1 0 0 0 0 0"])
def test_a_stamp_that_nobody_can_read_is_none(stamp: str, starting: Starting, opening: Opening, settle: Settle) -> None:
    server = starting()
    settle(server, "p")
    with redis.Redis(port=server.port) as client:
        client.hset("{p}:records", "stamp", stamp.replace("RUN", client.info("server")["run_id"]))
    with pytest.raises(Settling):
        won(opening(server.url(prefix="p")), "a", 0, b"one")


def test_a_store_that_nobody_has_used_yet_may_have_lost_everything(starting: Starting, opening: Opening) -> None:
    """Nobody can tell the two apart."""
    engine = opening(starting(*ALWAYS).url(prefix="p"))
    with pytest.raises(Settling, match="is used for the first time") as told:
        won(engine, "a", 0, b"one")
    assert 39 < told.value.seconds <= 40
    assert engine.read(CLAIM, "a").data == b""


@pytest.mark.parametrize("removed", [False, True])
def test_a_prefix_that_is_new_on_a_server_that_is_old_enough_is_settled_and_one_that_was_removed_is_not(
    starting: Starting, opening: Opening, removed: bool
) -> None:
    """Since its start nobody was here, so whoever was before has given no heartbeat for as long."""
    server = starting()
    with redis.Redis(port=server.port) as client:
        while client.info("server")["uptime_in_seconds"] < 3:
            threading.Event().wait(0.1)
        if removed:
            before = opening(server.url(prefix="p", longest=1))
            assert won(before, "a", before.read(CLAIM, "a").number, b"one")
            client.delete("{p}:records")
    engine = opening(server.url(prefix="p", longest=1))
    if removed:
        with pytest.raises(Settling):
            won(engine, "a", engine.read(CLAIM, "a").number, b"two")
    else:
        assert won(engine, "a", engine.read(CLAIM, "a").number, b"one")
        with pytest.raises(Settling):
            won(opening(server.url(prefix="another")), "a", 0, b"one")


def test_a_server_is_not_taken_for_older_than_it_is(
    starting: Starting, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says 2 a moment after its first second, if it was started just before a whole one."""
    monkeypatch.setattr("looop_portable_redis.link.info_in", lambda reply: {**info_in(reply), "uptime_in_seconds": "2"})
    with pytest.raises(Settling) as told:
        won(opening(starting().url(prefix="p", longest=30)), "a", 0, b"one")
    assert told.value.seconds > 40 - 2


def stamp_of(server: Redis) -> list[str]:
    with redis.Redis(port=server.port) as client:
        return bytes(client.hget("{p}:records", "stamp")).decode().split()


class Proxy:
    """It keeps its clients' connections, and makes new ones to the server whenever those have ended."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        """One request at a time, which has come as a whole; the reply ends when nothing more comes for a while."""
        server = None
        with contextlib.suppress(OSError):
            while asked := client.recv(2**20):
                for _ in range(2):
                    try:
                        server = server or self._connected()
                        server.sendall(asked)
                        server.settimeout(PATIENCE)
                        reply = server.recv(2**20)
                    except OSError:
                        reply = b""
                    if reply:
                        break
                    server = None
                assert server
                server.settimeout(0.1)
                with contextlib.suppress(OSError):
                    while more := server.recv(2**20):
                        reply += more
                client.sendall(reply)

    def _connected(self) -> socket.socket:
        self._sockets.append(socket.create_connection(("127.0.0.1", self._server_port)))
        return self._sockets[-1]

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for each in self._sockets:
            each.close()


def test_a_server_that_was_restarted_behind_a_proxy_is_looked_at_again(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    """The connection stays; the server has an old log, so that it may lack something, and the stamp is in it."""
    server = starting(*EVERYSEC)
    settle(server, "p")
    with contextlib.closing(Proxy(server.port)) as proxy:
        engine = opening(f"redis://127.0.0.1:{proxy.port}/0?prefix=p&longest=1")
        assert won(engine, "a", 0, b"one")
        server.kill()
        server.start()
        with pytest.raises(Settling):
            won(engine, "a", 1, b"two")
        assert engine.read(CLAIM, "a").number > 2**40


def test_a_copy_of_old_data_is_another_run(starting: Starting, opening: Opening, settle: Settle) -> None:
    """A backup that is restored: it has the stamp of then, of a run that this process is not."""
    server = starting("--dbfilename", "dump.rdb")
    settle(server, "p")
    with redis.Redis(port=server.port) as client:
        client.save()
    assert won(opening(server.url(prefix="p")), "a", 0, b"one")
    server.kill()
    server.start()
    with pytest.raises(Settling):
        won(opening(server.url(prefix="p", longest=1)), "a", 0, b"two")
