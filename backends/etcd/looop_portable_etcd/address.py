"""Where an etcd is: etcd://USER:PASSWORD@HOST:PORT,HOST:PORT/PREFIX?timeout=4, or etcds:// with ca=, cert= and key=.

What a URL leaves out is taken from the environment, as etcdctl does: users from ETCDCTL_USER and ETCDCTL_PASSWORD, or from
ETCD_USERNAME and ETCD_PASSWORD; files from ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from looop_portable.errors import UsageError

__all__ = ["Address", "Endpoint", "by_environment"]

PORT = 2379
TIMEOUT = 4.0
PREFIX = "looop"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]@/?#\s,]+)(?::(\d{1,5}))?")
_KINDS = {"claim", "session", "ticket", "beat", "lease", "until"}
"""What the keys of a prefix begin with. A prefix with such a word would be in the middle of another one's."""

_FILES = ("ca", "cert", "key")
_SHAPE = "etcd://HOST:2379/PREFIX, or etcd://HOST:2379,HOST:2379/PREFIX"


class Endpoint(NamedTuple):
    """One member of the cluster, as clients reach it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Address:
    """What a URL says, and the environment. `where` has no credential. Raises `UsageError`, which repeats none either."""

    def __init__(self, url: str, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        try:
            found = urlsplit(url)
        except ValueError:  # Which would repeat what may be a password.
            raise UsageError(f"that is no URL of an etcd: {_SHAPE}") from None
        self.scheme = found.scheme
        login, _, hosts = found.netloc.rpartition("@")
        self.endpoints = tuple(_endpoint(each) for each in hosts.split(","))
        self.prefix = unquote(found.path).strip("/") or PREFIX
        if not self.prefix.isprintable() or found.fragment:
            raise UsageError(f"the prefix of an etcd is a word or some, without control characters and '#': {_SHAPE}")
        if not _KINDS.isdisjoint(self.prefix.split("/")[1:]):
            raise UsageError(f"the words of a prefix behind its first '/' are none of {', '.join(sorted(_KINDS))}")
        self.user, self.password = _login(login, given)
        options = _options(found.query)
        self.timeout = _seconds(options.get("timeout", str(TIMEOUT)))
        self.is_tls = self.scheme == "etcds"
        if not self.is_tls and any(name in options for name in _FILES):
            raise UsageError("the parameters ca, cert and key of an etcd are for TLS: its URL begins with etcds://")
        self.ca, self.cert, self.key = (
            options.get(name) or given.get(variable, "")
            for name, variable in zip(_FILES, ("ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"), strict=True)
        )
        if self.is_tls and bool(self.cert) != bool(self.key):
            raise UsageError(
                "a certificate of an etcd's client needs its key, and the other way round: ?cert=FILE&key=FILE"
            )
        self.where = f"{self.scheme}://{','.join(map(str, self.endpoints))}/{self.prefix}"


def by_environment() -> str:
    """The URL of what etcdctl would ask. Raises `UsageError` where that is not said."""
    named = [each.strip() for each in os.environ.get("ETCDCTL_ENDPOINTS", "").split(",") if each.strip()]
    if not named:
        raise UsageError(f"no etcd was named: say --backend {_SHAPE}, or set ETCDCTL_ENDPOINTS")
    scheme = "etcds" if all(each.startswith("https://") for each in named) else "etcd"
    return f"{scheme}://{','.join(each.partition('://')[2] or each for each in named)}"


def _endpoint(host: str) -> Endpoint:
    found = _HOST.fullmatch(host)
    if not found or not 0 < int(found[2] or PORT) < 65536:
        raise UsageError(f"a host of an etcd is a name or an address, and a port from 1 to 65535 if it has one: {_SHAPE}")
    return Endpoint(found[1].strip("[]"), int(found[2] or PORT))


def _login(login: str, given: Mapping[str, str]) -> tuple[str, str]:
    """A user and a password; two empty texts: none."""
    user, _, password = login.partition(":")
    user, password = unquote(user), unquote(password)
    if not user:
        user, _, password = given.get("ETCDCTL_USER", "").partition(":")
        user = user or given.get("ETCD_USERNAME", "")
    if user and not password:
        password = given.get("ETCDCTL_PASSWORD", "") or given.get("ETCD_PASSWORD", "")
    return user, password


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("timeout", *_FILES):
            raise UsageError("the URL of an etcd has a parameter that nobody knows: there are timeout, ca, cert and key")
        if name in options:
            raise UsageError(f"the URL of an etcd has a parameter that is said twice: {name}")
        options[name] = value
    return options


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 60:
        raise UsageError("the timeout of an etcd is in seconds, from 0.1 to 60: ?timeout=4")
    return seconds
