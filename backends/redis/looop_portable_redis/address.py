"""The URL of a store: which server, which database, which prefix; and how long to wait for it.

Guarantees: what is wrong with a URL is a `UsageError` that repeats nothing of it, as it may hold a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from looop_portable.errors import UsageError

__all__ = ["Address", "read_url"]

SENTINEL = "redis+sentinel"
TLS = ("rediss", "valkeys")
SCHEMES = ("redis", "valkey", *TLS, SENTINEL)
FORM = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=NAME]"
OF_SENTINEL = "redis+sentinel://HOST[:PORT],HOST[:PORT]/MASTER[/DATABASE][?prefix=NAME]"

_HOST = re.compile(r"\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+)")
_PREFIX = re.compile(r"[\w.:/+~-]{1,100}")
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_KNOWN = ("prefix", "timeout", "wait", "longest", *_TLS_FILES)


@dataclass(frozen=True)
class Address:
    """What a URL says, and the client's environment where that says nothing."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """The server; or the Sentinels that know it."""
    master: str
    """How the Sentinels call it. Empty: there are none."""
    database: int
    user: str
    password: str
    sentinel_user: str
    sentinel_password: str
    prefix: str
    timeout: float
    """Seconds for a call."""
    wait: int
    """How many replicas have to confirm each transition and each heartbeat."""
    longest: float
    """Seconds of the longest lease, as far as the store does not know of a longer one."""
    tls_files: Mapping[str, str]

    @property
    def tls(self) -> bool:
        return self.scheme in TLS

    @property
    def where(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        master = f"/{self.master}" if self.master else ""
        return f"{self.scheme}://{hosts}{master}/{self.database}?prefix={self.prefix}"


def read_url(url: str, environment: Mapping[str, str] = os.environ) -> Address:
    """Raises `UsageError`."""
    try:
        found = urlsplit(url)
    except ValueError:
        raise UsageError(f"this is no URL of Redis's: {FORM}") from None
    scheme = found.scheme or "redis"
    if scheme not in SCHEMES or found.fragment or "#" in url:
        raise UsageError(f"a URL of Redis's is {FORM}, and has no fragment (for a # in a password write %23)")
    sentinel = scheme == SENTINEL
    master, database = _path(found.path, sentinel=sentinel)
    info, _, hosts = found.netloc.rpartition("@")
    user, _, password = info.partition(":")
    options = _options(found)
    files = [name for name in _TLS_FILES if name in options]
    if files and scheme not in TLS:
        raise UsageError(f"{files[0]} is for TLS: rediss://")
    return Address(
        scheme=scheme,
        hosts=tuple(_host(each, 26379 if sentinel else 6379) for each in _each(hosts, sentinel=sentinel)),
        master=master,
        database=database,
        user=unquote(user) or environment.get("REDIS_USERNAME", ""),
        password=unquote(password) or _first(environment, "REDIS_PASSWORD", "REDISCLI_AUTH", "VALKEYCLI_AUTH"),
        sentinel_user=environment.get("REDIS_SENTINEL_USERNAME", ""),
        sentinel_password=environment.get("REDIS_SENTINEL_PASSWORD", ""),
        prefix=_prefix(options.get("prefix", "looop")),
        timeout=_number(options, "timeout", 4.0, 0.05, 60.0),
        wait=int(_number(options, "wait", 0, 0, 100, whole=True)),
        longest=_number(options, "longest", 30.0, 1.0, 7 * 86400.0),
        tls_files={name: options[name] for name in files},
    )


def _first(environment: Mapping[str, str], *names: str) -> str:
    return next((found for name in names if (found := environment.get(name))), "")


def _each(hosts: str, *, sentinel: bool) -> list[str]:
    if "," in hosts and not sentinel:
        raise UsageError(f"a URL of Redis's names one server, or Sentinels: {OF_SENTINEL}")
    return hosts.split(",")


def _host(text: str, port: int) -> tuple[str, int]:
    name, colon, number = (text, "", "") if text.endswith("]") else text.rpartition(":")
    if not colon:
        name = text
    found = _HOST.fullmatch(name or "localhost")
    if not found:
        raise UsageError(f"a URL of Redis's names a host: {FORM} (in a password write %40 for @, %2F for /, %3F for ?)")
    if colon:
        port = int(number) if number.isascii() and number.isdecimal() and len(number) <= 5 else 0
    if not 0 < port < 65536:
        raise UsageError(f"a port is a number from 1 to 65535: {FORM} (in a password write %2F for /)")
    return found[1] or found[2], port


def _path(path: str, *, sentinel: bool) -> tuple[str, int]:
    """The master's name, and the database."""
    parts = path.removeprefix("/").split("/") if path.strip("/") else []
    master = unquote(parts.pop(0)) if sentinel and parts else ""
    if sentinel and not _PREFIX.fullmatch(master):
        raise UsageError(f"this URL does not say how the Sentinels call the master: {OF_SENTINEL}")
    number = parts[0] if parts else "0"
    if len(parts) > 1 or not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise UsageError(f"a database of Redis's is a number: {OF_SENTINEL if sentinel else FORM}")
    return master, int(number)


def _options(found: SplitResult) -> dict[str, str]:
    try:
        pairs = parse_qsl(found.query, keep_blank_values=True, strict_parsing=bool(found.query), errors="strict")
    except ValueError:
        pairs = [("", "")]
    if len({name for name, _ in pairs}) < len(pairs) or not {name for name, _ in pairs} <= set(_KNOWN):
        raise UsageError(f"a URL of Redis's has these parameters, each once: {', '.join(_KNOWN)}")
    if empty := [name for name, value in pairs if not value]:
        raise UsageError(f"{empty[0]} is empty: {empty[0]}=VALUE")
    return dict(pairs)


def _prefix(name: str) -> str:
    if not _PREFIX.fullmatch(name):
        raise UsageError("a prefix has letters, digits and . : / + ~ - _, at most 100 of them: ?prefix=ci")
    return name


def _number(
    options: Mapping[str, str], name: str, unless: float, least: float, most: float, *, whole: bool = False
) -> float:
    try:
        found = float(int(options[name]) if whole else options[name]) if name in options else unless
    except ValueError:
        found = -1.0
    if not least <= found <= most:
        raise UsageError(
            f"{name} is {'a whole number' if whole else 'a number'} from {least:g} to {most:g}: ?{name}={unless:g}"
        )
    return found
