"""What is said to a server and what it replies, by its protocol (RESP 2): the little of it that is used here.

Guarantees: a reply is whole, or there is an error, within the time, and it is no larger than `_LARGEST`. What follows an
error is not to be read: its caller closes the connection.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from looop_portable.system.clock import elapsed

__all__ = ["Command", "Lost", "Replies", "Said", "packed", "words"]

Command = tuple[object, ...]

_MOST = 1 << 16
_ERROR, _ARRAY, _BULK, _STATUS, _NUMBER = b"-*$+:"
_ENDS = {"LOADING", "MASTERDOWN"}
_LINE = 1 << 16
_LARGEST = 1 << 28
"""Bytes: more than any answer to us. A server that never ends its answer would else fill the memory."""
_DEEPEST = 8
_TRIMMED = 1 << 20
_STRANGER = "it does not speak Redis's protocol"


class Said(Exception):
    """An error of the server's: its `code`, the first word if that is in capitals, and the text without it."""

    def __init__(self, line: str) -> None:
        code, _, rest = line.partition(" ")
        self.code = code if code.isupper() else ""
        super().__init__(rest if self.code and rest else line)


class Lost(Exception):
    """The connection is of no use any more."""


def packed(command: Command) -> bytes:
    """As the server reads it: texts, bytes and numbers."""
    return b"*%d\r\n" % len(command) + words(command)


def words(command: Sequence[object]) -> bytes:
    """The words of a command, or of a part of it."""
    parts = [word if type(word) is bytes else str(word).encode() for word in command]
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


class Replies:
    """Those that come by `line`, one after the other."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._data = b""
        self._at = 0
        self._end = 0.0
        self._is_late = False

    @property
    def has_more(self) -> bool:
        """Whether something has come already that was not asked for."""
        return self._at < len(self._data)

    def next(self, end: float) -> Any:
        """The next one, if it comes until `end`. An error of the server's is one too, unless it ends the connection.

        Raises `Lost`, or `OSError`.
        """
        self._end, self._is_late = end, False
        if self._at >= len(self._data) or self._at > _TRIMMED:
            self._data, self._at = self._data[self._at :], 0
        try:
            return self._next(_DEEPEST)
        except ValueError:  # What is no number.
            raise Lost(_STRANGER) from None

    def _next(self, deepest: int) -> Any:
        """One function for all that usually comes: this is run for each word of a reply."""
        start = self._at
        while (stop := self._data.find(b"\r\n", start)) < 0:
            if len(self._data) - start > _LINE:
                raise Lost(_STRANGER)
            self._receive()
        data = self._data
        self._at = begin = stop + 2
        kind = data[start]
        if kind == _BULK:
            end = begin + int(data[start + 1 : stop])
            if begin <= end <= len(data) - 2:
                self._at = end + 2
                return data[begin:end]
            return None if end < begin else self._bulk(end - begin)
        if kind == _NUMBER:
            return int(data[start + 1 : stop])
        if kind == _ARRAY:
            length = int(data[start + 1 : stop])
            if length > _LARGEST or not deepest:
                raise Lost(_STRANGER)
            return None if length < 0 else [self._next(deepest - 1) for _ in range(length)]
        return self._status(kind, data[start + 1 : stop])

    def _status(self, kind: int, said: bytes) -> bytes | Said:
        if kind == _STATUS:
            return said
        if kind != _ERROR:
            raise Lost(_STRANGER)
        error = Said(said.decode("utf-8", "replace"))
        if error.code in _ENDS or "max number of clients" in str(error):
            raise Lost(str(error))
        return error

    def _bulk(self, length: int) -> bytes:
        if length > _LARGEST:
            raise Lost(_STRANGER)
        start = self._at
        while len(self._data) < start + length + 2:
            self._receive()
        self._at = start + length + 2
        return self._data[start : start + length]

    def _receive(self) -> None:
        """What has come already is read once after the time is over: this process may have been stopped meanwhile."""
        left = self._end - elapsed()
        if left <= 0 and self._is_late:
            raise Lost("Timeout: its answer has no end")
        self._is_late = left <= 0
        self._line.settimeout(max(left, 0.001))
        try:
            more = self._line.recv(_MOST)
        except TimeoutError:
            raise Lost("Timeout: it has not answered in time") from None
        if not more:
            raise Lost("Connection closed by server.")
        self._data += more
        if len(self._data) > _LARGEST:
            raise Lost("its answer has no end")
