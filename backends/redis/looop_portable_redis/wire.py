"""A connection of the client's, to a server or, by way of Sentinels, to the one that they call the master now.

Guarantees: nothing is tried again, and everything ends within the timeout. Each failure is `Unavailable`: one line, without
a credential. What this host has not sent when a connection is closed is thrown away.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from looop_portable.errors import Unavailable
from looop_portable_redis.address import Address

__all__ = ["Command", "Wire", "connect", "failed", "failing", "master_of", "packed", "words"]

Command = tuple[object, ...]

_LOGIN = "log in: USER:PASSWORD@ in the URL, or REDIS_USERNAME and REDIS_PASSWORD in the environment"
_GRANT = "the README of looop-portable-redis has the ACL rule that this user needs"
_REMEDIES = {
    "CERTIFICATE_VERIFY_FAILED": "name the authority's file: ?ssl_ca_certs=FILE",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: redis://",
    "maxmemory": "make room there",
    "Timeout connecting": "nobody answers there, or not by TLS where that was asked for",
    "closed by server": "if it speaks TLS: rediss://",
    "reset by peer": "if it speaks TLS: rediss://",
    "read only replica": "it has become a replica: try again",
}
_IN_SCRIPT = re.compile(r"\.? ?script: [0-9a-f]{40}.*| -? ?@user_script.*")
_NO_LINGER = struct.pack("ii", 1, 0)


class Parser(Protocol):
    """The client's, which knows what kind of error a text is."""

    def parse_error(self, response: str) -> Exception: ...


class Wire(Protocol):
    """What is used of the client's connection, which says no types of its own."""

    host: str
    port: int
    _parser: Parser

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def send_packed_command(self, command: list[bytes]) -> None: ...

    def send_command(self, *words: object) -> None: ...

    def read_response(self, *, timeout: float = ...) -> Any: ...

    def can_read(self, timeout: float) -> bool: ...

    def _get_socket(self) -> socket.socket: ...


def packed(command: Command) -> bytes:
    """As the server reads it, in a third of the client's time: texts, bytes and numbers."""
    return b"*%d\r\n" % len(command) + words(command)


def words(command: Command) -> bytes:
    """The words of a command, or of a part of it."""
    parts = []
    for word in command:
        data = word if type(word) is bytes else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def connect(address: Address) -> Wire:
    """A connection to the server; with Sentinels, to the one that they call the master now."""
    with failing(address.where):
        if not address.master:
            return _connected(address, *address.hosts[0], address.timeout)
    master = master_of(address)
    with failing(f"{address.where}: {master[0]}:{master[1]}"):
        return _connected(address, *master, address.timeout)


def master_of(address: Address) -> tuple[str, int]:
    """Which server the Sentinels call the master now: the first one that answers."""
    failure: Unavailable | None = None
    for host, port in address.hosts:
        try:
            return _ask_sentinel(address, host, port)
        except Unavailable as error:
            failure = error
    raise failure or Unavailable(f"{address.where}: it names no Sentinel")


def _ask_sentinel(address: Address, host: str, port: int) -> tuple[str, int]:
    with failing(f"{address.where}: Sentinel {host}:{port}"):
        sentinel = _connected(address, host, port, address.timeout / len(address.hosts), sentinel=True)
        try:
            sentinel.send_command("SENTINEL", "get-master-addr-by-name", address.master)
            found = sentinel.read_response()
        finally:
            sentinel.disconnect()
    if not found:
        raise Unavailable(f"{address.where}: Sentinel {host}:{port} knows no master '{address.master}'")
    return found[0].decode(), int(found[1])


def _connected(address: Address, host: str, port: int, timeout: float, *, sentinel: bool = False) -> Wire:
    """A silent server would get much later what lingers here when a connection is closed: so nothing does."""
    kind: Any = SSLConnection if address.tls else Connection
    wire: Wire = kind(
        host=host,
        port=port,
        db=0 if sentinel else address.database,
        username=(address.sentinel_user if sentinel else address.user) or None,
        password=(address.sentinel_password if sentinel else address.password) or None,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,
        protocol=2,
        **address.tls_files,
    )
    wire.connect()
    wire._get_socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    return wire


@contextmanager
def failing(about: str) -> Iterator[None]:
    """What the client raises in the block is `Unavailable`: one line that begins with `about`, and says what to do."""
    try:
        yield
    except (RedisError, OSError, UnicodeError) as error:
        raise failed(about, error) from error


def failed(about: str, error: Exception) -> Unavailable:
    """What the client has raised, in one line."""
    text = _IN_SCRIPT.sub("", " ".join(str(error).split())).rstrip(".") or type(error).__name__
    return Unavailable(f"{about}: {text}{_remedy(error, text)}")


def _remedy(error: Exception, text: str) -> str:
    if isinstance(error, AuthenticationError) or text.startswith(("NOAUTH", "Authentication required")):
        return f" ({_LOGIN})"
    if isinstance(error, NoPermissionError):
        return f" ({_GRANT})"
    return next((f" ({what})" for said, what in _REMEDIES.items() if said in text), "")
