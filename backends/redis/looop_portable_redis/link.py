"""One connection to the server, and what has to be known of the server before it is believed.

Guarantees: a server that cannot exclude is refused on each new connection: a replica, one that evicts, one of a cluster, an
old one. Each failure is `Unavailable` or `CannotExclude`, in one line, without a credential. Nothing is tried again here.
Does not guarantee: that a policy is noticed which is changed while a connection is open.
How: deadlines are the server's own time. Each reply has that; it is at least what it was then, plus what has passed since.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from looop_portable.errors import CannotExclude, Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_redis.address import Address
from looop_portable_redis.replies import Command, Lost, Said, packed, words
from looop_portable_redis.scripts import STAMP, Script, marker, stamped
from looop_portable_redis.wire import Wire, connect, failed, master_of

__all__ = ["Info", "Link", "is_lossless", "look_at", "refusals"]

CONFIRMED = 1.0
"""Seconds for which a server is taken for the master, after the Sentinels have called it that."""

_BEGIN = 6
"""Words of each call of a script: EVALSHA, its hash, how many keys, and three keys."""

OLDEST = (6, 2)
UNSET = "0" * 40
Info = dict[str, str]

_ASKED: tuple[Command, ...] = (("INFO",), ("CONFIG", "GET", "*append*"), ("TIME",))


class Link:
    """A connection that has looked at its server."""

    def __init__(self, address: Address) -> None:
        began = elapsed()
        self._address = address
        self._wire = connect(address)
        self._keys = keys_of(address)
        self._run = ""
        self._begins: dict[Script, bytes] = {}
        self._confirmed = began
        self.ahead = 0
        """Microseconds that the server's time is ahead of `elapsed`, at least."""
        try:
            self.greet()
        except BaseException:
            self.close()
            raise

    def confirm(self) -> None:
        """Raises `Unavailable` where the Sentinels call another server the master. They are asked once a second.

        One that they have replaced while it was silent goes on as a master, for ten seconds and more.
        """
        if not self._address.master or (began := elapsed()) <= self._confirmed + CONFIRMED:
            return
        host, port = master_of(self._address)
        if (host, port) != (self._wire.host, self._wire.port):
            raise Unavailable(f"{self._address.where}: the Sentinels call {host}:{port} the master now: try again")
        self._confirmed = began

    def greet(self) -> None:
        """Look at the server, and let the stamp know its run. Raises `CannotExclude`, or `Unavailable`."""
        asked: list[Command] = [*_ASKED, ("HGET", self._keys[0], "stamp")]
        replies = self._replies(asked)
        raise_first(self._address, replies[:1])
        info = info_in(replies[0])
        self._refuse(info)
        raise_first(self._address, replies[2:])
        self._learn(int(replies[2][0]) * 1_000_000 + int(replies[2][1]))
        config = {} if isinstance(replies[1], Exception) else config_in(replies[1])
        safety = is_lossless(info, config) if not self._address.master else 0
        self._run, before = info.get("run_id", ""), info.get("master_replid2", "")
        self._begins.clear()
        if not (self._run.isalnum() and before.isalnum()):
            raise CannotExclude(f"{self._address.where}: it does not say which run this is (INFO: run_id, master_replid2)")
        if stamped(replies[3]) == (self._run, before, bool(safety)):
            return
        age = self._age(info) if replies[3] is None else 0
        status, *_ = self._run_script(STAMP, before, safety, int(self._address.longest * 1_000_000), age)
        if status != b"ok":
            raise Unavailable(f"{self._address.where}: it has changed its role meanwhile: try again")

    def _age(self, info: Info) -> int:
        """For how many microseconds nobody has used this prefix, at least, where there is no stamp. 0: that cannot be told.

        What this process was asked to keep in mind survives FLUSHALL and DEL, and not its own end (see `scripts.marker`).
        So where it does not know the prefix, nobody was here since it was started: whoever was before has not given a
        heartbeat since then.
        """
        text, sha = marker(self._keys[0], self._run)
        known = self._replies([("SCRIPT", "EXISTS", sha), ("SCRIPT", "LOAD", text)])
        is_new = known[0] == [0] and known[1] == sha.encode()
        is_first = info.get("master_replid2", UNSET) == UNSET and not self._address.master
        uptime = max(int(info.get("uptime_in_seconds", "0")) - 1, 0)  # It is told between two whole seconds.
        return uptime * 1_000_000 if is_new and is_first else 0

    def ask(self, script: Script, *values: object, replicas: int = 0) -> list[Any]:
        """The script's reply: what came of it, and the server's time, which is learnt, and what else it says.

        With `replicas`, how many of them have confirmed it comes last. A server that does not know the script's hash is
        looked at again: it may be another one.
        """
        try:
            return self._run_script(script, *values, replicas=replicas, by_hash=True)
        except Said:  # NOSCRIPT: everything else is told as `Unavailable`.
            self.greet()
            return self._run_script(script, *values, replicas=replicas)

    def _run_script(self, script: Script, *values: object, replicas: int = 0, by_hash: bool = False) -> list[Any]:
        asked = b"*%d\r\n" % (_BEGIN + len(values)) + self._begin_of(script, by_hash=by_hash) + words(values)
        if replicas:
            asked += packed(("WAIT", replicas, _wait_for(self._address.timeout)))
        replies = said(self._address, self._wire, asked, 2 if replicas else 1)
        found: list[Any] = replies[0]
        if replicas or not isinstance(found, list):
            if isinstance(found, Said) and found.code == "NOSCRIPT":
                raise found
            raise_first(self._address, replies)
        self._learn(found[1])
        return found + replies[1:] if replicas else found

    def _begin_of(self, script: Script, *, by_hash: bool) -> bytes:
        """What a call of it begins with, but for the number of its words."""
        if by_hash and (known := self._begins.get(script)):
            return known
        text, sha = script.of(self._run)
        begin = words((*(("EVALSHA", sha) if by_hash else ("EVAL", text)), len(self._keys), *self._keys))
        if by_hash:
            self._begins[script] = begin
        return begin

    def close(self) -> None:
        self._wire.disconnect()

    def _learn(self, server: int) -> None:
        self.ahead = server - int(elapsed() * 1_000_000) - 1

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        return replies_to(self._address, self._wire, commands)

    def _refuse(self, info: Info) -> None:
        """Raises `CannotExclude`, or `Unavailable` where Sentinels are about to find another master."""
        for name, found, advice in refusals(info):
            if name == "role" and self._address.master:
                raise Unavailable(f"{self._address.where}: the Sentinels' master is {found}: try again")
            raise CannotExclude(f"{self._address.where}: it is {found}: {advice}")


def look_at(address: Address, wire: Wire) -> tuple[Info, Info, float]:
    """What a server says of itself, what of its configuration, and how many seconds its clock is ahead of ours.

    It may be one that is refused.
    """
    before = time.time()
    replies = replies_to(address, wire, _ASKED)
    middle = (before + time.time()) / 2
    raise_first(address, [replies[0], replies[2]])
    config = {} if isinstance(replies[1], Exception) else config_in(replies[1])
    return info_in(replies[0]), config, int(replies[2][0]) + int(replies[2][1]) / 1e6 - middle


def replies_to(address: Address, wire: Wire, commands: Sequence[Command]) -> list[Any]:
    """What is said to each, in one round trip. An error of one is in its place."""
    return said(address, wire, b"".join(map(packed, commands)), len(commands))


def said(address: Address, wire: Wire, commands: bytes, count: int) -> list[Any]:
    """The same, of commands that are packed."""
    end = elapsed() + address.timeout
    try:
        wire.say(commands, end)
        return [wire.reply(end) for _ in range(count)]
    except (Lost, OSError) as error:
        raise failed(address.where, error) from error


def raise_first(address: Address, replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise failed(address.where, reply) from reply


def keys_of(address: Address) -> tuple[str, str, str]:
    """All under one hash tag."""
    tag = f"{{{address.prefix}}}"
    return f"{tag}:records", f"{tag}:keys", f"{tag}:until"


def info_in(reply: bytes) -> Info:
    lines = reply.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def config_in(reply: Sequence[bytes]) -> Info:
    texts = [each.decode("utf-8", "replace") for each in reply]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def refusals(info: Info) -> list[tuple[str, str, str]]:
    """Why this server cannot exclude: by what, what it is, and what to do."""
    found = []
    version = info.get("redis_version", "")
    numbers = tuple(int(each) for each in version.split(".")[:2] if each.isdecimal())
    if numbers < OLDEST:
        found.append(("version", f"Redis {version or 'of an unknown version'}", "6.2 is the oldest that can be used"))
    if info.get("role") != "master":
        master = f"{info.get('master_host', '')}:{info.get('master_port', '')}".strip(":")
        found.append(("role", f"a replica of {master}", "name the master, or its Sentinels: redis+sentinel://"))
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled") == "1":
        found.append(("cluster", "a node of a cluster", "name a server that is none: a slot that moves is not followed"))
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys"):
        advice = "a claim that is evicted is granted again: set maxmemory-policy to noeviction or volatile-lru"
        found.append(("eviction", f"a cache that drops any key (maxmemory-policy {policy})", advice))
    return found


def is_lossless(info: Info, config: Info) -> int:
    """0: what is confirmed can be lost. 2: it cannot. 1: it cannot, unless all that is there was never in the log.

    That is while the log is being written anew: it may be the first one. Who may not ask for the configuration is told 0.
    """
    is_synced = config.get("appendfsync") == "always" and config.get("no-appendfsync-on-rewrite") == "no"
    is_logged = info.get("aof_enabled") == "1" and config.get("appendonly") == "yes"
    is_alone = info.get("connected_slaves") == "0" and info.get("master_replid2", UNSET) == UNSET
    if not (is_synced and is_logged and is_alone and info.get("aof_last_write_status") == "ok"):
        return 0
    is_written = info.get("aof_rewrite_in_progress") == "0" == info.get("aof_rewrite_scheduled")
    return 2 if is_written and info.get("aof_last_bgrewrite_status") == "ok" else 1


def _wait_for(timeout: float) -> int:
    """Milliseconds within which replicas confirm a write. Servers look at the time ten times a second."""
    return max(int(timeout * 1000) - 300, int(timeout * 500))
