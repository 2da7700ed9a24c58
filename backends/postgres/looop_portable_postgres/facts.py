"""What there is to be known of a server, for `looop doctor`: asked on connections of their own, and nothing is changed."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import closing
from functools import partial
from typing import NamedTuple

from psycopg.pq.abc import PGconn

from looop_portable.backends.engine import Fact
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_postgres.address import Target, attempts
from looop_portable_postgres.schema import OLDEST
from looop_portable_postgres.wire import Refused, Wire

__all__ = ["found"]

_ASKED = b"""select date_part('epoch', clock_timestamp()), pg_is_in_recovery(), pg_backend_pid(),
  (select count(*) from pg_stat_replication), current_setting('max_connections'),
  current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
  current_setting('synchronous_standby_names'), current_setting('default_transaction_isolation')"""

_FAR = 60.0
"""Seconds by which clocks may differ before people wonder."""

_GRACE = "after that nothing is claimed for 4/3 of the longest lease"


class _Answer(NamedTuple):
    clock: float
    is_replica: bool
    process: int
    copies: int
    most: str
    fsync: str
    pages: str
    commits: str
    names: str
    isolation: str


def found(target: Target) -> list[Fact]:
    """Raises `Unavailable` where the server is not reached."""
    end = elapsed() + target.timeout
    with closing(_opened(target, end)) as wire:
        began = time.time()
        answer = _Answer(*wire.ask(_ASKED, end=end)[0])
        ahead = answer.clock - (began + time.time()) / 2
        version, is_pooled = wire.connection.server_version, answer.process != wire.connection.backend_pid
        is_new = version >= OLDEST
        return [
            Fact("version", f"PostgreSQL {version // 10000}.{version % 10000}", is_new, "" if is_new else "at least 13"),
            _role(answer.is_replica),
            _persistence(answer.fsync, answer.pages),
            Fact("commits", f"ours wait for the disk; those of others as synchronous_commit = {answer.commits} has it"),
            _replication(answer.copies, answer.names),
            Fact("timeline", "" if answer.is_replica else _timeline(wire, end)),
            _clock(ahead),
            _transport(wire.connection),
            Fact("pooler", "there is one, and nothing of ours needs a connection that stays" if is_pooled else "none"),
            Fact("notifications", "none on a replica") if answer.is_replica else _notifications(target, wire, end),
            Fact("connections", f"the server takes {answer.most}; each process makes up to 3, and 1 more while it waits"),
            _isolation(answer.isolation),
        ]


def _opened(target: Target, end: float, *, to_listen: bool = False) -> Wire:
    wire = Wire(target.where, partial(attempts, target, target.listen if to_listen else target.server))
    wire.open(end)
    return wire


def _role(is_replica: bool) -> Fact:
    return Fact("role", "a read-only replica", False, "name its primary") if is_replica else Fact("role", "primary")


def _persistence(fsync: str, pages: str) -> Fact:
    said = f"fsync = {fsync}, full_page_writes = {pages}"
    if fsync != "on":
        return Fact("persistence", f"{said}: a crash may lose what was confirmed; {_GRACE}", advice="set fsync = on")
    if pages != "on":
        damaged = f"{said}: a crash of the host may damage pages where the disk does not write them whole"
        return Fact("persistence", damaged, advice="set full_page_writes = on, unless the filesystem copies on write")
    return Fact("persistence", f"{said}: what is confirmed survives a crash")


def _replication(copies: int, names: str) -> Fact:
    if names:
        return Fact("replication", f"{copies} connected, some of them are waited for; a failover is noticed, and {_GRACE}")
    if not copies:
        return Fact("replication", "no standby is connected")
    lost = f"{copies} connected, none of them is waited for: a failover may lose what was confirmed; {_GRACE}"
    return Fact("replication", lost, advice="set synchronous_standby_names")


def _timeline(wire: Wire, end: float) -> str:
    try:
        return str(int(wire.ask(b"select left(pg_walfile_name(pg_current_wal_lsn()), 8)", end=end)[0][0], 16))
    except Refused:
        return "not to be had: each start of the server is taken for a failover"


def _clock(ahead: float) -> Fact:
    said = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this host's; leases are judged by it alone"
    return Fact("clock", said, advice="" if abs(ahead) < _FAR else "set one of them right: times that people read differ")


def _transport(connection: PGconn) -> Fact:
    if connection.ssl_in_use:
        return Fact("transport", "TLS")
    if re.match(rb"/|127\.|::1$", connection.hostaddr or connection.host):
        return Fact("transport", "not encrypted, and on this host")
    return Fact("transport", "not encrypted", advice="on a network that others can read: ?sslmode=verify-full")


def _isolation(isolation: str) -> Fact:
    if isolation == "read committed":
        return Fact("isolation", isolation)
    return Fact("isolation", f"{isolation}: of two that claim at once one may fail", advice="read committed, for this role")


def _notifications(target: Target, wire: Wire, end: float) -> Fact:
    """Where LISTEN is not heard nobody says so: what is sent is waited for."""
    channel = f"looop_{os.urandom(8).hex()}"
    never, other = socket.socketpair()
    with never, other:
        try:
            with closing(_opened(target, end, to_listen=True)) as ears:
                ears.ask(f'listen "{channel}"'.encode(), end=end)
                wire.ask(b"select pg_notify($1, '')", (channel,), end=end)
                if ears.notified(never, elapsed() + (end - elapsed()) / 2):
                    return Fact("notifications", "LISTEN is heard: who waits is told at once")
        except Unavailable as reason:
            return Fact("notifications", f"LISTEN cannot be tried: {reason}")
    deaf = "LISTEN is not heard, as behind a pooler: who waits looks again and again"
    return Fact("notifications", deaf, advice="add ?listen=, the URL of the server itself")
