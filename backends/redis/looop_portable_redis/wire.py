"""A connection to a server or, by way of Sentinels, to the one that they call the master now.

Guarantees: nothing is tried again, and everything ends within the timeout. Each failure is `Unavailable`: one line, without
a credential. What this host has not sent when a connection is closed is thrown away.
How: by sockets. A client library has its own retries, timeouts and pools, all of which would be off here; and to import the
common one takes longer than a claim.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_redis.address import Address
from looop_portable_redis.replies import Command, Lost, Replies, Said, packed

__all__ = ["Wire", "connect", "failed", "failing", "master_of"]

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


class Wire:
    """One connection, greeted and logged in. Whoever is raised to closes it."""

    def __init__(self, line: socket.socket, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.line = line
        self._replies = Replies(line)

    def say(self, commands: bytes, end: float) -> None:
        """Raises `Lost`, or `OSError`."""
        self.line.settimeout(max(end - elapsed(), 0.001))
        try:
            self.line.sendall(commands)
        except TimeoutError:
            raise Lost("Timeout: it takes nothing") from None

    def reply(self, end: float) -> Any:
        """The next one; an error of the server's is one as well. Raises `Lost`, or `OSError`."""
        return self._replies.next(end)

    @property
    def has_more(self) -> bool:
        """Whether a reply, or its beginning, was read already with the one before it."""
        pending = getattr(self.line, "pending", None)
        return self._replies.has_more or bool(pending and pending())

    def disconnect(self) -> None:
        with suppress(OSError):
            self.line.close()


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
    timeout = address.timeout / len(address.hosts)
    with failing(f"{address.where}: Sentinel {host}:{port}"):
        sentinel = _connected(address, host, port, timeout, sentinel=True)
        try:
            sentinel.say(packed(("SENTINEL", "get-master-addr-by-name", address.master)), elapsed() + timeout)
            found = sentinel.reply(elapsed() + timeout)
        finally:
            sentinel.disconnect()
        if isinstance(found, Said):
            raise found
    if not found:
        raise Unavailable(f"{address.where}: Sentinel {host}:{port} knows no master '{address.master}'")
    return found[0].decode(), int(found[1])


def _connected(address: Address, host: str, port: int, timeout: float, *, sentinel: bool = False) -> Wire:
    """A silent server would get much later what lingers here when a connection is closed: so nothing does."""
    end = elapsed() + timeout
    try:
        name: Any = host.encode() if host.isascii() else host  # Of a text Python would import how to spell it in ASCII.
        line = socket.create_connection((name, port), timeout)
    except TimeoutError:
        raise Lost("Timeout connecting to server") from None
    try:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        if address.tls:
            line.settimeout(max(end - elapsed(), 0.001))
            line = _encrypted(address, line, host)
        wire = Wire(line, host, port)
        user, password = address.user, address.password
        if sentinel:
            user, password = address.sentinel_user, address.sentinel_password
        _greet(wire, user, password, 0 if sentinel else address.database, end)
    except BaseException:
        line.close()
        raise
    return wire


def _encrypted(address: Address, line: socket.socket, host: str) -> socket.socket:
    import ssl  # Who does not encrypt does not import it.

    files = address.tls_files
    context = ssl.create_default_context()
    if authorities := files.get("ssl_ca_certs"):
        context.load_verify_locations(authorities)
    if certificate := files.get("ssl_certfile"):
        context.load_cert_chain(certificate, files.get("ssl_keyfile"))
    try:
        return context.wrap_socket(line, server_hostname=host)
    except TimeoutError:
        raise Lost("Timeout connecting to server") from None


def _greet(wire: Wire, user: str, password: str, database: int, end: float) -> None:
    """Log in, and choose the database."""
    asked: list[Command] = [("AUTH", *([user] if user else []), password)] if user or password else []
    asked += [("SELECT", database)] if database else []
    if not asked:
        return
    wire.say(b"".join(map(packed, asked)), end)
    for reply in [wire.reply(end) for _ in asked]:
        if isinstance(reply, Said):
            raise reply


@contextmanager
def failing(about: str) -> Iterator[None]:
    """What the client raises in the block is `Unavailable`: one line that begins with `about`, and says what to do."""
    try:
        yield
    except (Said, Lost, OSError, UnicodeError) as error:
        raise failed(about, error) from error


def failed(about: str, error: Exception) -> Unavailable:
    """What the client has raised, in one line."""
    text = _IN_SCRIPT.sub("", " ".join(str(error).split())).rstrip(".") or type(error).__name__
    return Unavailable(f"{about}: {text}{_remedy(error, text)}")


def _remedy(error: Exception, text: str) -> str:
    code = error.code if isinstance(error, Said) else ""
    if code in ("NOAUTH", "WRONGPASS") or "AUTH" in text or "invalid password" in text:
        return f" ({_LOGIN})"
    if code == "NOPERM":
        return f" ({_GRANT})"
    return next((f" ({what})" for said, what in _REMEDIES.items() if said in text), "")
