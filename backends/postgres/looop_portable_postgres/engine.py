"""The engine on PostgreSQL 13 or newer: one statement a transition, in a transaction of its own, on the primary.

Guarantees: what was told as won survives a crash of the server, whatever `synchronous_commit` it, the database or the role
has; also behind a pooler in transaction mode: no statement needs another's connection. What the server reaches after the
deadline changes nothing: it compares with its own clock. Each call ends within `?timeout=` (4 s), whatever the server
does. A server that was promoted from a standby, or restored to a point in time, is known by its timeline. One that was
started anew with fsync = off is known by that start. They may have lost what they had confirmed: so the numbers of claims
and sessions leap to one that was never used, older claims hold nothing, and for 4/3 of the longest lease nobody claims.
Does not guarantee: anything beside a primary that was replaced and still runs: it grants claims to all who still reach it.
That the old one is stopped first is the affair of what promotes the new one. Nor anything after a restore from a copy of
the files that was made without the server's knowledge: that has the timeline which it had. A deadline is too late by as
much as the server's clock was set back within the last minute. That clock is its host's: it is not `steady`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, cast

from looop_portable.backends.connections import Connections
from looop_portable.backends.engine import (
    BEAT,
    NOTHING,
    TICKET,
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
from looop_portable.errors import CannotExclude, Settling, Unavailable, UnknownProtocol
from looop_portable.protocol.codec import text_to_be
from looop_portable.system.clock import elapsed
from looop_portable_postgres.address import Target, attempts
from looop_portable_postgres.facts import found
from looop_portable_postgres.listening import Listener
from looop_portable_postgres.schema import VERSION, make, replica
from looop_portable_postgres.statements import text_of
from looop_portable_postgres.wire import Refused, Value, Wire

__all__ = ["PostgresEngine"]

_FRESH = 60.0
"""Seconds for which it is believed how far the server's clock is from ours: it may be set, and every clock drifts."""

_DRIFT = 0.001
"""Seconds a second: what two clocks that nobody sets may drift apart, with room to spare."""

_LAST = b"\xff"
"""What no UTF-8 has: behind each key that begins with what stands before it."""

_READ_ONLY, _NO_SCHEMA, _NO_FUNCTION, _NO_TABLE = "25006", "3F000", "42883", "42P01"

_WHY = {
    "promoted": "the server was promoted from a standby, or restored, and may have lost claims that it had confirmed",
    "restarted": "the server has fsync = off (set it to on), was restarted, and may have lost claims that it had confirmed",
    "dropped": "the schema was dropped while it was in use",
    "made": "the server was once promoted or restored, or has fsync = off, and had no schema of ours: it may have lost one",
}


class PostgresEngine(Engine):
    """At most three connections of a process, made when they are needed; see `listening` for the fourth."""

    tells_sessions = True

    def __init__(self, target: Target) -> None:
        self.where = target.where
        self._target = target
        self._has_met = False
        self._statements: dict[str, bytes] = {}
        self._listeners: dict[int, Listener] = {}
        open_wire = partial(Wire, self.where, partial(attempts, target, target.server))
        self._connections = Connections(self.where, open_wire, Wire.close, seconds=target.timeout)

    def read(self, kind: str, key: str) -> Record:
        _, number, data = self._one("read", kind, key.encode())
        return Record(number, data)

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        word = b"" if kind == TICKET else text_to_be(data, "word").encode(errors="replace")
        values = (kind, key.encode(), after, data, word, self._channel(kind, key))
        _, won, number, stands, settling, why, *session = self._one("advance", *values, not_after=not_after)
        if settling is not None and settling > 0 and number == after:  # Else it is lost, whatever may come.
            raise self._settling(settling, why)
        if not won:
            return Step(False, Record(number, stands))
        new = Record(after + 1, data)
        return Step(True, new) if session[:1] in ([], [None]) else Told(new, Record(*session))

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        first = prefix.encode()
        found = self._ask("scan", kind, first, first + _LAST, start.encode(), limit)
        return [(key.decode(), Record(number, data)) for key, number, data in found]

    def forget(self, kind: str, key: str) -> None:
        self._ask("forget", kind, key.encode(), "" if kind == BEAT else self._channel(kind, key))

    def beat(self, word: str, lease: float) -> None:
        self._ask("beat", word.encode(), float(lease), kept(lease))

    def heard(self, word: str) -> Heard | None:
        _, seconds, beat = self._one("heard", word.encode())
        return None if beat is None else Heard(seconds, beat)

    def look(self, key: str) -> Look:
        _, number, data, registered, registration, seconds, beat = self._one("look", key.encode())
        session = NOTHING if registered is None else Record(registered, registration)
        return Look(Record(number, data), session, None if beat is None else Heard(seconds, beat))

    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        found = self._ask("survey", kind, start.encode(), limit)
        page = [(key.decode(), Record(number, data)) for key, number, data, *_ in found]
        words = [(word or b"").decode() for _, _, _, word, *_ in found]
        if words != [word_in(record.data) for _, record in page]:
            return super().survey(kind, start, limit, known)
        told: Known = {}
        for word, (*_, registered, registration, seconds, beat) in zip(words, found, strict=True):
            if word:
                told[word] = Record(registered, registration), None if beat is None else Heard(seconds, beat)
        return surveyed(kind, page, words, told)

    def report(self, key: str, word: str, lease: float) -> Record:
        ((_, found),) = self._ask("report", word.encode(), float(lease), kept(lease), key.encode())
        return Record(*found[1:])

    def subscribe(self, kind: str, key: str, ring: Ring) -> Callable[[], None] | None:
        return self._listener().subscribe(self._channel(kind, key), ring)

    def verify(self) -> list[Fact]:
        return found(self._target)

    def close(self) -> None:
        self._connections.close()
        if listener := self._listeners.get(os.getpid()):
            listener.close()

    def _listener(self) -> Listener:
        """That of this process: a forked child has none of its parent's threads, and leaves its connection alone."""
        known = self._listeners.get(os.getpid())
        return known or self._listeners.setdefault(os.getpid(), Listener(self._target, self._ask))

    def _channel(self, kind: str, key: str) -> str:
        """A name for NOTIFY: those of one database are shared by all its schemas."""
        return "looop_" + blake2b(f"{self._target.schema}\0{kind}\0{key}".encode(), digest_size=16).hexdigest()

    def _settling(self, seconds: float, why: str) -> Settling:
        lost = f"{self.where}: {_WHY.get(why, why)}: for {seconds:.0f} s more nothing is claimed"
        return Settling(f"{lost}, until all who held something know it", seconds)

    def _one(self, function: str, *values: Value, not_after: float | None = None) -> tuple[Any, ...]:
        """The one row that it answers. It begins with the server's clock."""
        return cast("tuple[Any, ...]", self._ask(function, *values, not_after=not_after)[0][0])

    def _ask(self, function: str, *values: Value, not_after: float | None = None) -> list[tuple[Any, ...]]:
        """The rows that one of our functions answers, or one of the statements in `statements`, in one round trip.

        `not_after`: what the server begins after that, or when nobody waits for it any more, changes nothing.
        """
        now = elapsed()
        end = now + self._target.timeout
        if not_after is not None:
            if not_after <= now:
                raise Unavailable(f"{self.where}: it is too late to begin that")
            end = min(end, not_after)
        with self._connections.one() as wire:
            try:
                if not wire.is_open:
                    wire.open(end)
                    self._greet(wire, end)
                if not_after is not None:
                    if elapsed() - wire.asked > _FRESH:
                        self._greet(wire, end)
                    values = (*values, wire.clock + (1 - _DRIFT) * (end - wire.asked))
                return self._called(wire, function, values, end)
            except Refused as error:
                if error.state == _READ_ONLY:
                    raise CannotExclude(f"{self.where}: it is read-only for us, and claims have to be written") from error
                raise

    def _called(self, wire: Wire, function: str, values: tuple[Value, ...], end: float) -> list[tuple[Any, ...]]:
        statement = self._statements.get(function)
        if statement is None:
            statement = self._statements[function] = text_of(function, len(values), self._target.schema)
        rows = wire.ask(statement, values, end=end)
        if rows and isinstance(rows[0][0], tuple):
            wire.clock, wire.asked = rows[0][0][0], elapsed()
        return rows

    def _greet(self, wire: Wire, end: float) -> None:
        """What the server is, and its clock; the schema is made where there is none."""
        try:
            (((_, version, recovering),),) = self._called(wire, "hello", (), end)
        except Refused as error:
            if error.state not in (_NO_SCHEMA, _NO_FUNCTION, _NO_TABLE):
                raise
            make(wire, self._target, end, lost=self._has_met)
            (((_, version, recovering),),) = self._called(wire, "hello", (), end)
        if recovering:
            raise CannotExclude(replica(self.where))
        if version > VERSION:
            raise UnknownProtocol(f"{self.where}: a newer looop-portable-postgres has made it ({version}): install that")
        self._has_met = True
