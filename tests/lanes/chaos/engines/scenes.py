"""What happens to the server, in a process of its own: it is killed, frozen, replaced, while the witness goes on listening.

A line is said for each thing, to a socket, with a time of `time.monotonic`, which all processes have alike:
  ready         it answers for the first time
  down T WHAT   from T on it cannot have answered: said after that was done
  up T          up to T it cannot have answered: said before it is undone, unless nobody but the servers undoes it
  over          nothing more happens
"""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NoReturn

from support.servers import PATIENCE, Server
from support.servers.etcd import Etcd
from support.servers.postgres import PgBouncer, Postgres
from support.servers.redis import ALWAYS, EVERYSEC, PROGRAMS, Redis, Sentinel
from support.servers.versitygw import VersityGW

from .witness import LEASE

FROZEN = LEASE * 4 / 3 + 2
"""Seconds: longer than a holder may be silent."""
DOWN = LEASE + 2.0
HICCUP = 1.5
"""Seconds: longer than a call waits (TIMEOUT), and shorter than a holder waits for its heartbeat."""
TIMEOUT = 1.0
LOST_WRITES = 5.0
"""Seconds, for which a replica is cut off before its master dies."""

Say = Callable[..., None]
Scene = Callable[[Say], None]


class Stage:
    """One server. `module`: what is imported before holders are forked, if anything."""

    lead = 0.0
    """Seconds before each scene's moment at which it begins."""

    def __init__(self, server: Server, url: str, module: str, environment: Mapping[str, str] | None = None) -> None:
        self.server, self.url, self.module, self.environment = server, url, module, dict(environment or {})

    def start(self) -> None:
        self.server.start()

    def close(self) -> None:
        self.server.close()

    def schedule(self, seconds: float) -> list[tuple[float, Scene]]:
        """What happens, and after how many seconds."""
        return sorted([*self.long(seconds), *self.short(seconds)], key=lambda each: each[0])

    def long(self, seconds: float) -> list[tuple[float, Scene]]:
        """That by which holders can lose what they have."""
        if seconds < 30:
            return [(1.0, self.restart), (2.5, lambda say: self.freeze(say, LEASE + 1.5))]
        return [
            (seconds * 0.25, self.restart),
            (seconds * 0.45, self.freeze),
            (seconds * 0.75, lambda say: self.restart(say, DOWN)),
        ]

    def short(self, seconds: float) -> list[tuple[float, Scene]]:
        """What requests do not live through, but holders do."""
        if seconds < 30:
            return []
        return [(seconds * part, lambda say: self.freeze(say, HICCUP)) for part in (0.05, 0.1, 0.15, 0.35, 0.65, 0.95)]

    def restart(self, say: Say, pause: float = 0.0) -> None:
        self.server.kill()
        say("down", time.monotonic(), "killed")
        time.sleep(pause)
        say("up", time.monotonic())
        self.server.start()

    def freeze(self, say: Say, seconds: float = FROZEN) -> None:
        self.server.freeze()
        say("down", time.monotonic(), "frozen")
        time.sleep(seconds)
        say("up", time.monotonic())
        self.server.thaw()


class Pooled(Stage):
    """PostgreSQL behind pgbouncer, which lives on."""

    def __init__(self) -> None:
        server = Postgres()
        self.pool = PgBouncer(server)
        super().__init__(server, self.pool.url(timeout=f"{TIMEOUT:g}"), "looop_portable_postgres.engine")

    def start(self) -> None:
        self.server.start()
        self.pool.start()

    def close(self) -> None:
        self.pool.close()
        self.server.close()


class Failover(Stage):
    """A master, its replica, which confirms nothing, and a Sentinel. What the master has confirmed last is lost.

    `two_masters`: it is not dead, but silent for as long as it takes to be replaced. It goes on as a master, for the ten
    seconds that the Sentinel takes to notice.
    """

    lead = LOST_WRITES

    def __init__(self, *, two_masters: bool = False) -> None:
        self.two_masters = two_masters
        master = Redis(*ALWAYS)
        self.sentinel = Sentinel(master, patience=2.0)
        super().__init__(master, self.sentinel.url(longest=LEASE, timeout=TIMEOUT), "looop_portable_redis.engine")
        self.other: Server = Redis(*ALWAYS, "--replicaof", "127.0.0.1", str(master.port))

    def start(self) -> None:
        self.server.start()
        self.other.start()
        self.sentinel.start()
        self._wait_for_replica()

    def close(self) -> None:
        for each in (self.sentinel, self.other, self.server):
            each.close()

    def long(self, seconds: float) -> list[tuple[float, Scene]]:
        if seconds < 30:
            return [(LOST_WRITES + 1.0, self.fail_over)]
        return [(seconds * part, self.fail_over) for part in (0.2, 0.5, 0.8)]

    def short(self, seconds: float) -> list[tuple[float, Scene]]:
        return []

    def fail_over(self, say: Say) -> None:
        """The old master comes back, and becomes the new one's replica."""
        old, new = self.server, self.other
        self._ask(old, "ACL", "SETUSER", "default", "-psync", "-sync")
        self._ask(old, "CLIENT", "KILL", "TYPE", "replica")
        time.sleep(LOST_WRITES)
        old.freeze() if self.two_masters else old.kill()
        last = time.monotonic()
        say("down", last, "not replaced yet,")
        if not self.two_masters:
            self._ask(self.sentinel, "SENTINEL", "FAILOVER", "main")
        end = last + PATIENCE
        while True:
            asked = time.monotonic()
            assert asked < end, self.sentinel.log()
            with suppress(ConnectionError):  # It ends all of its connections when it becomes one.
                if b"role:master" in self._ask(new, "INFO", "replication"):
                    break
                last = asked
            time.sleep(0.01)
        say("up", last)
        while str(new.port).encode() not in self._ask(self.sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"):
            assert time.monotonic() < end, self.sentinel.log()
            time.sleep(0.01)
        self.server, self.other = new, old
        old.thaw() if self.two_masters else old.start()
        self._ask(old, "ACL", "SETUSER", "default", "+psync", "+sync")
        self._wait_for_replica()

    def _wait_for_replica(self) -> None:
        """Until the Sentinel has made it one, and it has all."""
        end = time.monotonic() + PATIENCE
        while b"master_link_status:up" not in self._ask(self.other, "INFO", "replication"):
            assert time.monotonic() < end, self.sentinel.log()
            time.sleep(0.05)
        while f"{self.other.port}".encode() not in self._ask(self.sentinel, "SENTINEL", "REPLICAS", "main"):
            assert time.monotonic() < end, self.sentinel.log()
            time.sleep(0.05)

    @staticmethod
    def _ask(server: Server, *words: str) -> bytes:
        """What it answers, in one piece."""
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as asked:
            parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            asked.sendall(f"*{len(words)}\r\n{parts}".encode())
            found = asked.recv(65536)
            asked.settimeout(0.02)
            with suppress(TimeoutError):
                while more := asked.recv(65536):
                    found += more
            return found


def _redis(*options: str, kind: str = "redis") -> Stage:
    if not PROGRAMS[kind]:
        missing(f"no {kind}-server")
    server = Redis(*options, kind=kind)
    return Stage(server, server.url(longest=LEASE, timeout=TIMEOUT), "looop_portable_redis.engine")


def _failover(*, two_masters: bool = False) -> Stage:
    return Failover(two_masters=two_masters) if PROGRAMS["redis"] else missing("no redis-server")


def _postgres() -> Stage:
    server = Postgres()
    return Stage(server, server.url(timeout=f"{TIMEOUT:g}"), "looop_portable_postgres.engine")


def _etcd() -> Stage:
    server = Etcd()
    return Stage(server, f"etcd://127.0.0.1:{server.port}?timeout={TIMEOUT:g}", "looop_portable_etcd.engine")


def _versitygw() -> Stage:
    """Each holder imports the client itself: its threads are not for forked children."""
    server = VersityGW()
    return Stage(
        server, f"{server.url('ci')}&timeout={TIMEOUT:g}", "", server.credentials()
    )  # Its client is not for forked children.


class Missing(Exception):
    """A server that is not here."""


def missing(what: str) -> NoReturn:
    raise Missing(what)


STAGES: dict[str, Callable[[], Stage]] = {
    "redis": lambda: _redis(*ALWAYS),
    "redis-everysec": lambda: _redis(*EVERYSEC),
    "redis-without-persistence": _redis,
    "redis-failover": _failover,
    "redis-two-masters": lambda: _failover(two_masters=True),
    "valkey": lambda: _redis(*ALWAYS, kind="valkey"),
    "postgres": _postgres,
    "pgbouncer": Pooled,
    "etcd": _etcd,
    "versitygw": _versitygw,
}


def play(stage: Stage, seconds: float) -> tuple[int, socket.socket]:
    """A process that does it all: its pid, and where it says so. When that is closed it ends the server, and itself."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    ours.close()
    for number in (signal.SIGINT, signal.SIGTERM):  # It ends when the other one has. What it starts does not inherit this.
        signal.signal(number, lambda *_: None)
    try:
        _play(stage, seconds, lambda *words: theirs.sendall(" ".join(map(str, words)).encode() + b"\n"), theirs)
    except BaseException:  # noqa: BLE001 (whatever it is, the other process tells)
        with suppress(OSError):
            theirs.sendall(f"failed {traceback.format_exc()!r}\n".encode())
            theirs.recv(1)
    finally:
        stage.close()
        os._exit(0)


def _play(stage: Stage, seconds: float, say: Say, until: socket.socket) -> None:
    stage.start()
    say("ready")
    until.recv(1)  # They begin.
    began = time.monotonic()
    for at, scene in stage.schedule(seconds):
        until.settimeout(max(began + at - stage.lead - time.monotonic(), 0.001))
        with suppress(TimeoutError):
            until.recv(1)
            return  # Nobody wants to know any more.
        until.settimeout(None)
        scene(say)
    say("over")
    until.recv(1)
