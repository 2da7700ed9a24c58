"""One HTTP connection to one member of the cluster, on which several requests are sent at once.

Guarantees: the member begins them one after the other, in their order, and the answers are as many; or it fails, and the
connection is closed. It fails at the deadline, however slowly the bytes come.
Does not guarantee: that a member which gave no answer has not done what it was asked, or will not.
How: the requests are written together, and the answers are read in turn (HTTP/1.1's pipelining). So what needs several
calls of etcd's needs one trip of the network. No client does that, so this is none's: a socket, and what is needed of HTTP.
"""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from looop_portable.system.clock import elapsed
from looop_portable_etcd.address import Endpoint

if TYPE_CHECKING:
    import ssl

__all__ = ["BROKEN", "Answer", "Call", "Wire", "why"]

BROKEN = (OSError, ValueError)
"""What a connection fails by."""

_LONGEST = 65536
"""Bytes of a line of a header."""

LARGEST = 1 << 28
"""Bytes of an answer: more than any to us. One that has no end would else fill the memory."""

Json = dict[str, Any]


class Call(NamedTuple):
    """One request. Without a body it is a GET."""

    path: str
    body: Json | None


class Answer(NamedTuple):
    """`found`: its JSON; empty where it is none, and then `text` has it."""

    status: int
    found: Json
    text: str = ""


class Wire:
    """A connection, made when it is used first, and again when another member is to be asked. One caller at a time."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._connection: socket.socket | None = None
        self._reader: Reader | None = None
        self.endpoint: Endpoint | None = None

    def ask(self, endpoint: Endpoint, calls: Sequence[Call], headers: str, end: float) -> list[Answer]:
        """What was answered, to each; to fewer, if what answers is no etcd. Raises one of `BROKEN`."""
        reader = self.open(endpoint, end)
        self.send(calls, headers, end)
        answers = []
        for _ in calls:
            status, length, closes = reader.head()
            answers.append(_answer(status, reader.whole() if length < 0 else reader.exactly(length)))
            if closes:
                self.close()
                if len(answers) < len(calls) and (status == 200 or answers[-1].found):
                    raise ConnectionResetError
                break
        return answers

    def open(self, endpoint: Endpoint, end: float) -> Reader:
        """What reads from it, until `end`."""
        if self._reader is None or self.endpoint != endpoint:
            self.close()
            self._connection = self._connect(endpoint, end)
            self._reader = Reader(_Bytes(self._connection))
            self.endpoint = endpoint
        return self._reader.until(end)

    def send(self, calls: Sequence[Call], headers: str, end: float) -> None:
        assert self._connection
        self._connection.settimeout(_left(end))
        self._connection.sendall(b"".join(_request(each, str(self.endpoint), headers) for each in calls))

    def shut(self) -> None:
        """From any thread: whoever reads from it has read all."""
        connection = self._connection
        if connection:
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        connection, self._connection, self._reader = self._connection, None, None
        if connection:
            connection.close()

    def __del__(self) -> None:
        """Of an engine that nobody has closed. The socket of a parent stays open there."""
        self.close()

    def _connect(self, endpoint: Endpoint, end: float) -> socket.socket:
        made = socket.create_connection(endpoint, _left(end))
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
                if hasattr(socket, name):
                    made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if self._tls:
                made.settimeout(_left(end))
                made = self._tls.wrap_socket(made, server_hostname=endpoint.host)
        except BaseException:
            made.close()
            raise
        return made


class _Bytes(io.RawIOBase):
    """The bytes of a socket, which it neither owns nor closes, until `end`."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.end = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_left(self.end) if self.end else None)
        return self._socket.recv_into(buffer)


class Reader(io.BufferedReader):
    """The answers of one connection, one after the other, until `end`; 0: without a deadline."""

    raw: _Bytes

    def until(self, end: float) -> Self:
        self.raw.end = end
        return self

    def head(self) -> tuple[int, int, bool]:
        """The status; how many bytes the body has, or -1 if it comes in chunks; whether the connection ends with it."""
        version, _, rest = self.line().partition(b" ")
        if version != b"HTTP/1.1" or not rest[:3].isdigit():
            raise ValueError(version[:20])
        length, closes = 0, False
        while line := self.line():
            name, _, value = line.lower().partition(b":")
            if name == b"content-length":
                length = max(int(value), 0)
            elif name == b"transfer-encoding":
                length = -1
            elif name == b"connection":
                closes = b"close" in value
        return int(rest[:3]), length, closes

    def chunks(self) -> Iterator[bytes]:
        """The body, as it comes."""
        while size := int(self.line().partition(b";")[0], 16):
            yield self.exactly(size)
            self.line()
        while self.line():
            pass

    def whole(self) -> bytes:
        """The body, which comes in chunks."""
        found, size = [], 0
        for chunk in self.chunks():
            found.append(chunk)
            size += len(chunk)
            if size > LARGEST:
                raise ValueError("its answer has no end")
        return b"".join(found)

    def line(self) -> bytes:
        found = self.readline(_LONGEST)
        if not found.endswith(b"\n"):
            raise ConnectionResetError
        return found.rstrip(b"\r\n")

    def exactly(self, size: int) -> bytes:
        if not 0 <= size <= LARGEST:
            raise ValueError("its answer has no end")
        found = self.read(size)
        if len(found) < size:
            raise ConnectionResetError
        return found


def _left(end: float) -> float:
    left = end - elapsed()
    if left <= 0:
        raise TimeoutError
    return left


def _request(call: Call, host: str, headers: str) -> bytes:
    if call.body is None:
        return f"GET {call.path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode()
    body = json.dumps(call.body, separators=(",", ":")).encode()
    return f"POST {call.path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _answer(status: int, body: bytes) -> Answer:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return Answer(status, found)
    return Answer(status, {}, body.decode(errors="replace"))


def why(error: BaseException) -> str:
    """Why a connection failed, for people."""
    import ssl  # Not needed where there is none.

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS is refused: {(error.reason or str(error)).lower().replace('_', ' ')}"
    for kinds, meaning in _WHY:
        if isinstance(error, kinds):
            return meaning
    return " ".join(str(getattr(error, "strerror", "") or error).split())


_WHY: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror,), "there is no such host"),
    ((TimeoutError,), "no answer in time"),
    ((ConnectionRefusedError,), "nobody listens there"),
    ((ConnectionError,), "it has closed the connection, as one does that speaks TLS (etcds://) or that ends"),
    ((ValueError,), "what answers is no HTTP server"),
)
