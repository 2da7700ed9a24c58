"""What a URL says: libpq's own, and the parameters of ours: `prefix` or `schema`, `timeout`, `longest`, `listen`.

Guarantees: no message has a word of the URL but the names of its parameters, its ports, and what stands where ours do.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from looop_portable.errors import Unavailable, UsageError
from looop_portable.system.clock import elapsed

__all__ = ["Target", "attempts", "target_in"]

Parameters = dict[str, str]

_SCHEMA = re.compile(r"(?!pg_)[A-Za-z_][A-Za-z0-9_.-]{0,62}")
DEFAULT_PORT = "5432"
_OURS = ("prefix", "schema", "timeout", "longest", "listen")
_ALWAYS = {"client_encoding": "UTF8", "fallback_application_name": "looop-portable", "keepalives_idle": "15"}


class Target(NamedTuple):
    """`server` and `listen` are libpq's parameters; `listen` is that of a direct connection, beside a pooler."""

    where: str
    server: Parameters
    listen: Parameters
    schema: str
    timeout: float
    longest: float
    """Seconds of the longest lease, where the store cannot know any more how long they were."""


def target_in(url: str) -> Target:
    """Raises `UsageError`."""
    libpq, own = _parted(url)
    if "prefix" in own and "schema" in own:
        raise UsageError("a URL of PostgreSQL's names the schema once: ?prefix=NAME or ?schema=NAME")
    schema = own.get("prefix", own.get("schema", "looop"))
    if not _SCHEMA.fullmatch(schema):
        raise UsageError(
            f"'{schema[:63]}' cannot be the name of our schema: letters, digits, _ . - and at most 63 of them; it begins"
            " with a letter or _, and not with pg_"
        )
    server = _parameters(libpq, "this URL of PostgreSQL's")
    listen = server
    if "listen" in own:
        other, ours = _parted(own["listen"])
        if ours:
            raise UsageError(f"the URL of ?listen= has no ?{next(iter(ours))}=: it names the same database, directly")
        listen = _parameters(other, "the URL of ?listen=")
    return Target(_where(server, schema), server, listen, schema, *_times(own))


def attempts(target: Target, parameters: Parameters, end: float) -> Iterator[tuple[str, float]]:
    """One address of a server after the other, as libpq has it, and until when it is tried.

    Names are looked up here, as nobody else does that within a time. Raises `Unavailable` where none has an address.
    """
    hosts = [each.strip() for each in parameters.get("host", "").split(",")]
    ports = parameters.get("port", "").split(",")
    if "hostaddr" in parameters or not any(hosts):
        yield make_conninfo("", **{**_ALWAYS, **parameters}), end
        return
    found: list[Parameters] = []
    for at, host in enumerate(hosts):
        port = ports[at] if len(ports) == len(hosts) else ports[0]
        found += [{"host": host, "port": port, **address} for address in _addresses(host, end)]
    if not found:
        raise Unavailable(f"{target.where}: its name has no address, or the look-up takes too long")
    if len(hosts) > 1:
        parameters = {"target_session_attrs": "read-write", **parameters}
    for at, address in enumerate(found):
        now = elapsed()
        own = {**_ALWAYS, **parameters, **address}
        yield (
            make_conninfo("", **{name: value for name, value in own.items() if value}),
            now + (end - now) / (len(found) - at),
        )


def _addresses(host: str, end: float) -> list[Parameters]:
    """Of a socket's directory there are none to be looked up."""
    if not host or host.startswith(("/", "@")):
        return [{"host": host}]
    told: SimpleQueue[list[str]] = SimpleQueue()

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            told.put(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except (OSError, UnicodeError):
            told.put([])

    if re.fullmatch(r"[0-9.]+|.*:.*", host):
        look_up()  # It is an address, and asks nobody.
    else:
        try:
            threading.Thread(target=look_up, daemon=True, name="looop-look-up").start()
        except RuntimeError:
            return []  # No thread can be had.
    try:
        return [{"hostaddr": address} for address in told.get(timeout=max(end - elapsed(), 0.0))]
    except Empty:
        return []


def _parted(url: str) -> tuple[str, Parameters]:
    """The URL as libpq takes it, and our own parameters."""
    place, mark, query = url.partition("?")
    if "#" in url:
        raise UsageError("a URL of PostgreSQL's has no #: write %23 for one in a password")
    pairs = parse_qsl(query, keep_blank_values=True) if mark else []
    own = {name: value for name, value in pairs if name in _OURS}
    if len(own) < sum(name in _OURS for name, _ in pairs):
        raise UsageError(f"a URL of PostgreSQL's has each of ?{', ?'.join(own)} once")
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {"ssl"}
    if unknown := [name for name, _ in pairs if name not in known and name not in _OURS]:
        name = unknown[0] if re.fullmatch("[a-z_]{1,40}", unknown[0]) else "that"
        raise UsageError(
            f"a URL of PostgreSQL's has no parameter ?{name}=: there are ours, ?{', ?'.join(_OURS)}, and libpq's"
        )
    rest = urlencode([pair for pair in pairs if pair[0] not in _OURS], quote_via=quote)
    return place + (f"?{rest}" if rest else ""), own


def _parameters(url: str, what: str) -> Parameters:
    """What libpq makes of the URL and of its environment; it is never told what it does not like in it."""
    if not re.match("postgres(ql)?://", url, re.IGNORECASE):
        raise UsageError(f"{what} begins with postgresql://")
    scheme, _, rest = url.partition("://")
    try:
        found = conninfo_to_dict(f"{scheme.lower()}://{rest}")
    except (Error, ValueError):
        raise UsageError(
            f"{what} cannot be read: write %XX for what is neither a letter nor a digit in a password"
        ) from None
    known = {option.keyword.decode(): option.val.decode() for option in Conninfo.get_defaults() if option.val}
    used = {name: value for name, value in known.items() if name in ("host", "hostaddr", "port", "dbname", "user")}
    used.update({name: str(value) for name, value in found.items()})
    for port in used.get("port", "").split(","):
        if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise UsageError(
                f"{what} has a port that is none: '{port[:10]}'" if port.isalnum() else f"{what} has a bad port"
            )
    return used


def _where(server: Parameters, schema: str) -> str:
    hosts = (server.get("host") or server.get("hostaddr") or "").split(",")
    ports = server.get("port", "").split(",")
    places = [
        f"{f'[{each}]' if ':' in each else quote(each, safe='')}:{ports[at if at < len(ports) else 0] or DEFAULT_PORT}"
        for at, each in enumerate(hosts)
    ]
    return f"postgresql://{','.join(places)}/{quote(server.get('dbname', server.get('user', '')))}?prefix={schema}"


def _times(own: Parameters) -> tuple[float, float]:
    timeout, longest = (_number(own.get(name, usual)) for name, usual in (("timeout", "4"), ("longest", "30")))
    if not 0.1 <= timeout <= 60:
        raise UsageError("?timeout= is the time for one call, in seconds: from 0.1 to 60")
    if not 1 <= longest <= 10**9:
        raise UsageError("?longest= is the longest lease that is used, in seconds: at least 1")
    return timeout, longest


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
