"""Which bucket a URL names, and how it is reached. No credential is in one: clients find those in their own environment."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from looop_portable.errors import UsageError

__all__ = ["SECONDS", "Place", "place_in"]

SECONDS = 4.0
"""Seconds for which one request may last, where the URL does not say."""

_PARAMETERS = {
    "s3": {"endpoint", "region", "timeout"},
    "gs": {"endpoint", "timeout"},
    "az": {"endpoint", "account", "timeout"},
}
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT",),
    "gs": (),
}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}|\$root")
_SEGMENT = re.compile(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]")
_LONGEST_PREFIX = 180
_NAMED = re.compile(r"[A-Za-z0-9-]+")


class Place(NamedTuple):
    """One bucket, and the prefix of all names in it: empty, or with a slash at its end."""

    scheme: str
    bucket: str
    prefix: str
    endpoint: str = ""
    region: str = ""
    account: str = ""
    seconds: float = SECONDS

    @property
    def where(self) -> str:
        at = self.endpoint.partition("://")[2]
        return f"{self.scheme}://{self.bucket}/{self.prefix.removesuffix('/')}" + (f" at {at}" if at else "")


def place_in(url: str) -> Place:
    """Raises `UsageError`, which repeats nothing that could be a secret."""
    try:
        found = urlsplit(url)
        pairs = parse_qsl(found.query, keep_blank_values=True, strict_parsing=bool(found.query))
    except ValueError:
        raise UsageError("the URL of a bucket cannot be read: it is SCHEME://BUCKET/PREFIX?PARAMETER=VALUE") from None
    scheme = found.scheme
    if scheme not in _PARAMETERS or not found.netloc:
        raise UsageError("a bucket is named by a URL: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX")
    if not _BUCKET.fullmatch(found.netloc):
        raise UsageError(
            f"a URL of {scheme}:// has the name of a bucket, and no user, password or port: credentials belong into the "
            f"environment, a server into ?endpoint="
        )
    given = _parameters(scheme, pairs, found.fragment)
    endpoint = given.get("endpoint") or next(filter(None, map(os.environ.get, _ENDPOINTS[scheme])), "")
    return Place(
        scheme,
        found.netloc,
        _prefix(unquote(found.path)),
        _endpoint(endpoint),
        _name("region", given.get("region", "")),
        _name("account", given.get("account", "")),
        _seconds(given.get("timeout", str(SECONDS))),
    )


def _parameters(scheme: str, pairs: list[tuple[str, str]], fragment: str) -> dict[str, str]:
    given = dict(pairs)
    allowed = ", ".join(f"?{name}=" for name in sorted(_PARAMETERS[scheme]))
    if fragment or len(given) < len(pairs) or not all(given.values()) or not given.keys() <= _PARAMETERS[scheme]:
        raise UsageError(f"the parameters of a URL of {scheme}:// are {allowed}: each once, with a value")
    return given


def _prefix(path: str) -> str:
    prefix = path.strip("/")
    if not prefix:
        return ""
    if len(prefix) > _LONGEST_PREFIX or not all(map(_SEGMENT.fullmatch, prefix.split("/"))):
        raise UsageError(
            f"the prefix in a bucket has at most {_LONGEST_PREFIX} characters: letters, digits, `_`, `-`, `.` and `/`; "
            "and no part of it is empty or ends in a dot"
        )
    return f"{prefix}/"


def _endpoint(endpoint: str) -> str:
    if not endpoint:
        return ""
    wrong = UsageError("?endpoint= is http://HOST:PORT or https://HOST:PORT, without a user, a password or a query")
    try:
        found = urlsplit(endpoint)
        if found.scheme not in ("http", "https") or not found.hostname or found.port == 0:
            raise wrong
    except ValueError:
        raise wrong from None
    if "@" in endpoint or found.query or found.fragment or not endpoint.isprintable() or " " in endpoint:
        raise wrong
    return endpoint.rstrip("/")


def _name(what: str, given: str) -> str:
    if given and not _NAMED.fullmatch(given):
        raise UsageError(f"?{what}= is of letters, digits and hyphens")
    return given


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 60.0:
        raise UsageError("?timeout= is a number of seconds, from 0.1 to 60")
    return seconds
