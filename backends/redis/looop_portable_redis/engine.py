"""Claims in Redis or Valkey: an engine.

Guarantees: the laws of `looop_portable.backends.engine`, on one server that is nobody's replica. Where it may lose what it
has confirmed (no log, a log that is not synced always, a replica that is promoted), what it has lost is never granted while
its holder may believe in it: see "grace and leap" in README.md. Where it may not, nothing is lost, and there is no grace.
Does not guarantee: anything of two masters that clients reach at the same time, as in a partition, unless each write waits
for a replica (`?wait`); nor where the server's clock is set forward during the grace; nor after the files of a server that
syncs always were replaced by older ones. Its clock can be set, so it is not `steady`.
How: one script a transition, which compares the server's run, the deadline and the number, publishes, and tells
subscribers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from looop_portable.backends.connections import Connections
from looop_portable.backends.engine import (
    CLAIM,
    Engine,
    Fact,
    Heard,
    Known,
    Look,
    Record,
    Ring,
    Step,
    Told,
    kept,
    surveyed,
    word_in,
)
from looop_portable.errors import Settling, Unavailable
from looop_portable.protocol.codec import text_to_be
from looop_portable.system.clock import elapsed
from looop_portable_redis.address import Address
from looop_portable_redis.link import Link, look_at
from looop_portable_redis.scripts import ADVANCE, BEAT, FORGET, HEARD, LOOK, READ, REPORT, SCAN, SURVEY, Script
from looop_portable_redis.wire import connect

if TYPE_CHECKING:
    from looop_portable_redis.changes import Changes

__all__ = ["RedisEngine"]

SLACK = 100_000
"""Microseconds by which a server's clock may have drifted from what was learnt of it, without being asked again."""

_TRIES = 3
_LOSSLESS = "with appendonly yes, appendfsync always and no replica a restart has no such wait"


class RedisEngine(Engine):
    """At most three connections, and one more while somebody subscribes."""

    tells_sessions = True

    def __init__(self, address: Address) -> None:
        self._address = address
        self.where = address.where
        self._links: Connections[Link] = Connections(self.where, lambda: Link(address), Link.close, seconds=address.timeout)
        self._changes: dict[str, Changes] = {}

    def read(self, kind: str, key: str) -> Record:
        return _record(*self._ask(READ, kind, key)[2:4])

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        """A server whose clock is not what it was thought to be is asked again, by what it has told."""
        new, last, replicas = Record(after + 1, data), int(not_after * 1e6) - SLACK, self._address.wait
        texts = (kind, key, after, new.number, data)
        channel, session = self._channel(kind, key), text_to_be(data, "word").partition("/")[0] if kind == CLAIM else ""
        with self._links.one() as link:
            for _ in range(_TRIES):
                least = link.ahead + int(elapsed() * 1e6) - SLACK
                deadline = link.ahead + last
                times = least, deadline, int(replicas > 0)
                found = self._known(link, ADVANCE, *texts, *times, channel, session, replicas=replicas)
                if found[0] in (b"won", b"lost", b"settling") or (found[0] == b"late" and elapsed() * 1e6 >= last):
                    break
            else:
                raise Unavailable(f"{self.where}: the server's clock is being set: try again")
        if found[0] == b"settling":
            raise self._settling(found[2] / 1e6)
        now = new if found[0] == b"won" else _record(*found[2:4])
        if now == new:
            self._refuse_unconfirmed(found)
        if found[0] == b"won" and session:
            return Told(now, _record(*found[2:4]))
        return Step(found[0] == b"won", now)

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        found = self._ask(SCAN, *_range(kind, prefix, start), limit)[2:]
        return [(found[at].decode(), _record(*found[at + 1 : at + 3])) for at in range(0, len(found), 3)]

    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        """One round trip, unless the server finds other words in the data than we do."""
        _, now, count, *found = self._ask(SURVEY, *_range(kind, "", start), limit)
        rows = [found[at : at + 4] for at in range(0, 4 * count, 4)]
        words = [row[3].decode("utf-8", "replace") for row in rows]
        if words != [word_in(row[2]) for row in rows]:
            return super().survey(kind, start, limit, known)
        told: Known = {}
        for at in range(4 * count, len(found), 4):
            told[found[at].decode()] = _record(*found[at + 1 : at + 3]), _heard(now, found[at + 3])
        return surveyed(kind, [(row[0].decode(), _record(*row[1:3])) for row in rows], words, told)

    def forget(self, kind: str, key: str) -> None:
        self._ask(FORGET, kind, key, self._channel(kind, key))

    def beat(self, word: str, lease: float) -> None:
        """With `?wait`, replicas confirm it: a master that is cut off does not let its holders believe that they live."""
        self._say(BEAT, word, lease)

    def report(self, key: str, word: str, lease: float) -> Record:
        return _record(*self._say(REPORT, word, lease, key)[2:4])

    def _say(self, script: Script, word: str, lease: float, *more: str) -> list[Any]:
        keep = math.ceil(kept(lease) * 1e6)
        values = (word, math.ceil(lease * 1e6), keep, os.urandom(8).hex(), *more)
        with self._links.one() as link:
            found = self._known(link, script, *values, replicas=self._address.wait)
        self._refuse_unconfirmed(found)
        return found

    def heard(self, word: str) -> Heard | None:
        return _heard(*self._ask(HEARD, word)[1:3])

    def look(self, key: str) -> Look:
        """One round trip, unless the server finds another word in the data than we do."""
        _, now, number, data, word, *known = self._ask(LOOK, key)
        claim = _record(number, data)
        if word.decode("utf-8", "replace") != word_in(claim.data):
            return super().look(key)
        return Look(claim, _record(*known[:2]), _heard(now, known[2])) if word else Look(claim)

    def subscribe(self, kind: str, key: str, ring: Ring) -> Callable[[], None]:
        from looop_portable_redis.changes import Changes  # Who does not wait does not import it.

        if not self._changes:  # One step keeps the first one, of two that come at once.
            new = Changes(self.where, lambda: connect(self._address), self._address.timeout)
            self._changes.setdefault(self.where, new)
        return self._changes[self.where].subscribe(self._channel(kind, key), ring)

    def verify(self) -> list[Fact]:
        """On a connection of its own, as the server may be one that is refused."""
        from looop_portable_redis.facts import facts

        wire = connect(self._address)
        try:
            return facts(self._address, *look_at(self._address, wire))
        finally:
            wire.disconnect()

    def close(self) -> None:
        for each in self._changes.values():
            each.close()
        self._links.close()

    def _ask(self, script: Script, *values: object) -> list[Any]:
        with self._links.one() as link:
            return self._known(link, script, *values)

    def _known(self, link: Link, script: Script, *values: object, replicas: int = 0) -> list[Any]:
        """The answer of a server whose run the stamp knows. One that is new is looked at first.

        It was the master, as Sentinels say, a second before it was told, at most.
        """
        for _ in range(_TRIES):
            link.confirm()
            found = link.ask(script, *values, replicas=replicas)
            link.confirm()
            if found[0] != b"run":
                return found
            link.greet()
        raise Unavailable(f"{self.where}: the server changes its role again and again: try again")

    def _channel(self, kind: str, key: str) -> str:
        return f"{{{self._address.prefix}}}:{kind}/{key}"

    def _settling(self, seconds: float) -> Settling:
        why = "the server has been restarted or replaced, has lost data, or is used for the first time"
        what = f"whoever held a claim may not know yet, so nothing is claimed for {math.ceil(seconds)} s"
        return Settling(f"{self.where}: {why}: {what} ({_LOSSLESS})", seconds)

    def _refuse_unconfirmed(self, found: list[Any]) -> None:
        """Raises `Unavailable` where fewer replicas than were asked for have confirmed what was written. It stands."""
        if (wanted := self._address.wait) and found[-1] < wanted:
            raise Unavailable(f"{self.where}: {found[-1]} of {wanted} replicas have confirmed it (?wait={wanted})")


def _range(kind: str, prefix: str, start: str) -> tuple[str, str, bytes]:
    """What the server is asked for: from where, and up to where."""
    least = f"({kind}/{start}" if start > prefix else f"[{kind}/{prefix}"
    return kind, least, f"({kind}/{prefix}".encode() + b"\xff"


def _record(number: bytes, data: bytes) -> Record:
    return Record(int(number), data)


def _heard(now: int, said: bytes) -> Heard | None:
    if not said:
        return None
    at, _, beat = said.partition(b" ")
    return Heard((now - int(at)) / 1e6, beat.decode())
