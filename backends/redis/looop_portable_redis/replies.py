"""What a server replies, by its protocol (RESP 2), out of a connection of the client's: in a fifth of the client's time.

Guarantees: a reply is whole, or there is an error, within the time. What follows an error is not to be read: its caller
closes the connection (`Connections`).
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError as Lost
from redis.exceptions import TimeoutError as Late

from looop_portable.system.clock import elapsed
from looop_portable_redis.wire import Wire

__all__ = ["Replies"]

_MOST = 1 << 16
_ERROR, _ARRAY, _BULK, _STATUS, _NUMBER = b"-*$+:"


class Replies:
    """Those that come on `wire` until `end`. An error of the server's is a reply too, unless it ends the connection."""

    def __init__(self, wire: Wire, end: float) -> None:
        self._wire = wire
        self._socket = wire._get_socket()
        self._end = end
        self._data = b""
        self._at = 0

    def next(self) -> Any:
        """Raises `redis.RedisError`, or `OSError`."""
        start = self._at
        while (stop := self._data.find(b"\r\n", start)) < 0:
            self._receive()
        data = self._data
        self._at = stop + 2
        kind = data[start]
        if kind == _BULK:
            length = int(data[start + 1 : stop])
            return None if length < 0 else self._bulk(length)
        if kind == _NUMBER:
            return int(data[start + 1 : stop])
        if kind == _ARRAY:
            count = int(data[start + 1 : stop])
            return None if count < 0 else [self.next() for _ in range(count)]
        if kind == _STATUS:
            return data[start + 1 : stop]
        if kind == _ERROR:
            return self._error(data[start + 1 : stop].decode("utf-8", "replace"))
        raise Lost(f"it does not speak Redis's protocol: {data[start:stop][:20]!r}")

    def _bulk(self, length: int) -> bytes:
        start = self._at
        while len(self._data) < start + length + 2:
            self._receive()
        self._at = start + length + 2
        return self._data[start : start + length]

    def _error(self, text: str) -> Exception:
        error = self._wire._parser.parse_error(text)
        if isinstance(error, Lost):
            raise error
        return error

    def _receive(self) -> None:
        left = self._end - elapsed()
        self._socket.settimeout(max(left, 0.001))
        try:
            more = self._socket.recv(_MOST)
        except TimeoutError:
            raise Late(f"Timeout reading from {self._wire.host}:{self._wire.port}") from None
        if not more:
            raise Lost("Connection closed by server.")
        self._data += more
