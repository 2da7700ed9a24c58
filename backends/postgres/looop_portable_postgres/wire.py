"""One connection, by libpq's own calls that do not wait: each question is answered within its time, or ends in an error.

Guarantees: nothing here waits beyond its `end`, whatever the server does: not in connecting, not in the negotiation of TLS,
not for an answer. A statement is told as done when the server is ready for the next one: after its commit, not before.
Does not guarantee: that a statement whose answer did not come has done nothing. libpq alone has no such time: psycopg's own
cursors wait for a server that is stopped, and `statement_timeout` is the server's.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg import Error
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PollingStatus
from psycopg.pq import PGconn as Libpq
from psycopg.pq.abc import PGconn, PGresult

from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed

__all__ = ["IN", "Refused", "Wire", "one_line", "ready"]

Value = bytes | str | int | float

IN, OUT = 1, 4
"""What a socket is waited for: as poll(2) has it, here also where there is no poll."""


def _number(layout: str) -> Callable[[bytes], Any]:
    of = struct.Struct(layout)

    def decode(raw: bytes) -> Any:
        if len(raw) != of.size:
            raise ValueError(f"a number of {len(raw)} bytes where {of.size} belong")
        return of.unpack(raw)[0]

    return decode


_DECODE: dict[int, Callable[[bytes], Any]] = {
    16: lambda raw: raw != b"\0",
    17: bytes,
    20: _number(">q"),
    23: _number(">i"),
    25: lambda raw: raw.decode(),
    701: _number(">d"),
    2278: bytes,
}
"""By the numbers of PostgreSQL's types, in binary: bool, bytea, bigint, integer, text, double precision, record, void."""


_ENCODE: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    bytes: (17, bytes),
    str: (25, str.encode),
    int: (20, struct.Struct(">q").pack),
    float: (701, struct.Struct(">d").pack),
}

_COLUMN = struct.Struct(">ii")


class Refused(Unavailable):
    """The server has said no. `state`: its SQLSTATE, which tells why."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class Wire:
    """A connection to the first of those that `attempts` yields which takes it. It is not open yet."""

    def __init__(self, where: str, attempts: Callable[[float], Iterable[tuple[str, float]]]) -> None:
        self._where = where
        self._attempts = attempts
        self._connection: PGconn | None = None
        self.clock, self.asked = 0.0, float("-inf")
        """The server's clock as it was no later than `asked`, by our own."""

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def connection(self) -> PGconn:
        assert self._connection
        return self._connection

    def open(self, end: float) -> None:
        failure: Unavailable | None = None
        for conninfo, until in self._attempts(end):
            try:
                self._connection = self._connected(conninfo, min(until, end))
                self._connection.nonblocking = 1
            except Unavailable as error:
                failure = failure or error
            else:
                return
        raise failure or Unavailable(f"{self._where}: there is no address to connect to")

    def ask(self, statement: bytes, values: Sequence[Value] = (), *, end: float) -> list[tuple[Any, ...]]:
        """The rows of one statement. Raises `Refused` for what the server says no to, and for a commit that it warns of."""
        connection, warned = self.connection, list[bytes]()
        connection.notice_handler = lambda notice: warned.extend(_warning(notice))
        types = [_ENCODE[type(value)][0] for value in values]
        encoded = [_ENCODE[type(value)][1](value) for value in values]
        try:
            connection.send_query_params(statement, encoded, types, [1] * len(types), 1)
            while connection.flush():
                self._wait(IN | OUT, end)
                connection.consume_input()
            results: list[PGresult] = []
            while (result := self._result(end)) is not None:
                results.append(result)  # The last comes after the commit, which may have failed.
            rows = [row for each in results for row in self._rows(each)]
        except Error as error:
            raise self._failed(error) from None
        if warned:
            raise Refused(f"{self._where}: {_text(warned[0])}", "01000")
        return rows

    def notified(self, wake: socket.socket, end: float) -> list[tuple[str, str]]:
        """The channels and payloads of what has come; nothing, if `wake` has something to read, or `end` has come."""
        connection = self.connection
        try:
            found = self._came()
            if not found and connection.socket in ready({connection.socket: IN, wake.fileno(): IN}, end):
                connection.consume_input()
                found = self._came()
        except Error as error:
            raise self._failed(error) from None
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.finish()

    def _came(self) -> list[tuple[str, str]]:
        found = []
        while (each := self.connection.notifies()) is not None:
            found.append((_text(each.relname), _text(each.extra)))
        return found

    def _connected(self, conninfo: str, end: float) -> PGconn:
        connection: PGconn = Libpq.connect_start(conninfo.encode())
        try:
            while connection.status != ConnStatus.BAD:
                state = connection.connect_poll()
                if state == PollingStatus.OK:
                    return connection
                if state == PollingStatus.FAILED:
                    break
                wanted = IN if state == PollingStatus.READING else OUT
                if not ready({connection.socket: wanted}, end):
                    raise Unavailable(f"{self._where}: it cannot be connected to in time: no answer")
            raise Unavailable(f"{self._where}: {one_line(connection.get_error_message())}")
        except BaseException:
            connection.finish()
            raise

    def _result(self, end: float) -> PGresult | None:
        connection = self.connection
        while connection.is_busy():
            self._wait(IN, end)
            connection.consume_input()
        return connection.get_result()

    def _rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        if result.status == ExecStatus.TUPLES_OK:
            columns = [(each, _DECODE[result.ftype(each)]) for each in range(result.nfields)]
            return [tuple(_value(result, row, *column) for column in columns) for row in range(result.ntuples)]
        if result.status == ExecStatus.COMMAND_OK:
            return []
        state = result.error_field(DiagnosticField.SQLSTATE)
        said = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or self.connection.get_error_message().encode()
        raise Refused(f"{self._where}: {one_line(_text(said))}", _text(state or b""))

    def _wait(self, events: int, end: float) -> None:
        if not ready({self.connection.socket: events}, end):
            raise Unavailable(f"{self._where}: no answer in time")

    def _failed(self, error: Error) -> Unavailable:
        return Unavailable(f"{self._where}: {one_line(self.connection.get_error_message() or str(error))}")


def one_line(text: str) -> str:
    """What libpq says, each line of it once: it says the same again for TLS and without, and for each address."""
    return "; ".join(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())) or "no reason was given"


def ready(wanted: dict[int, int], end: float) -> list[int]:
    """The descriptors that can be read or written as wanted; none, when `end` has come. Signals' handlers run meanwhile."""
    left = end - elapsed()
    if left <= 0:
        return []
    if not hasattr(select, "poll"):
        readable, writable, _ = select.select(
            [each for each in wanted if wanted[each] & IN], [each for each in wanted if wanted[each] & OUT], [], left
        )
        return [*readable, *writable]
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return [descriptor for descriptor, _ in poll.poll(left * 1000)]


def _row(raw: bytes) -> tuple[Any, ...]:
    """A row in one value: how many columns, and of each its type, its length, and what it is."""
    at, columns = 4, []
    for _ in range(int.from_bytes(raw[:4], "big")):
        if len(raw) < at + 8:
            raise ValueError("a row ends in the middle of a column")
        kind, length = _COLUMN.unpack_from(raw, at)
        at += 8 + max(length, 0)
        columns.append(None if length < 0 else _DECODE[kind](raw[at - length : at]))
    return tuple(columns)


_DECODE[2249] = _row


def _value(result: PGresult, row: int, column: int, decode: Callable[[bytes], Any]) -> Any:
    raw = result.get_value(row, column)
    return None if raw is None else decode(raw)


def _warning(notice: PGresult) -> list[bytes]:
    """What is committed here, and not where `synchronous_standby_names` wants it too, is told by a warning alone."""
    severity = notice.error_field(DiagnosticField.SEVERITY_NONLOCALIZED)
    return [notice.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""] if severity == b"WARNING" else []


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
