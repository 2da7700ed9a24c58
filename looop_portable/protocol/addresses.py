"""The address of a backend: a URL, which may hold a password, and what may be said of it.

Guarantees: `str`, `repr` and every message that is made with an `Address` have the user, the host, the path and harmless
parameters, and no password. What cannot be told from a password is taken for one.
Does not guarantee: anything of what is in no URL, such as a password that a client finds in its own environment.
"""

from __future__ import annotations

import re

from looop_portable.errors import UsageError

__all__ = ["FILE", "HIDDEN", "Address", "chosen", "in_files", "may_be_one"]

FILE = "file"
"""The scheme of a directory, whose claims are files in it."""

HIDDEN = "***"

_NAME = re.compile(r"[\w.+-]+")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^\x00-\x20\x7f]*)")
_HOSTS = re.compile(r"(\[[^\]@]*\]|[^:\[\]@,]*)(:\d*)?(,(\[[^\]@]*\]|[^:\[\]@,]*)(:\d*)?)*")
_SECRET_NAMES = re.compile("pass|pwd|^pw|secret|token|key|auth|cred|sig|sas|otp|pin$|jwt|bearer|cert|dsn", re.IGNORECASE)
_HARMLESS = re.compile(r"(?!.*://)[\w.,:/+~-]*")
_DRIVE = re.compile(r"/[A-Za-z]:(/|$)")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*):?(\d*)")
_PORTS = {"etcd": "2379", "etcds": "2379", "redis": "6379", "rediss": "6379", "postgresql": "5432", "postgres": "5432"}
_PORTS |= {"http": "80", "https": "443", "mysql": "3306", "mongodb": "27017", "consul": "8500", "zookeeper": "2181"}
_FIRST = {"redis": "/0", "rediss": "/0"}
"""The path that is meant where there is none."""
_HERE = ("127.0.0.1", "[::1]", "")
"""Other names of localhost."""
_PLACES = re.compile(
    "host|port|prefix|root|path|name_?space|ns|db|db_?name|database|schema|table|collection|keyspace|bucket|container|account",
    re.IGNORECASE,
)
"""The parameters that say where something is. The others say how it is reached."""
_SHORT = 4
"""Characters. What is shorter is hidden in a message only where it is a word of its own."""
_NOT_REPEATED = "it is not repeated here, as it may hold a password"


class Address:
    """A URL. `reveal` has all of it: for a client, for the environment of a child, and for nothing that people see.

    Raises `UsageError`, which does not repeat what was given.
    """

    __slots__ = ("_secrets", "_shown", "_url", "scheme")

    def __init__(self, url: str) -> None:
        found = _URL.fullmatch(url)
        if found is None:
            raise UsageError(f"the backend is neither a name nor a URL (SCHEME://HOST/...): {_NOT_REPEATED}")
        self.scheme = found[1].lower()
        self._url = url
        shown, secrets = _parted(found[2])
        self._shown = f"{self.scheme}://{shown}"
        self._secrets = _pattern(secrets)

    def reveal(self) -> str:
        return self._url

    def hide(self, text: str) -> str:
        """`text`, a message say, without the passwords of this address, in whatever spelling it has them."""
        if self._secrets is None:
            return text
        return self._secrets.sub(HIDDEN, text.replace(self._url, self._shown))

    @property
    def has_secrets(self) -> bool:
        return self._secrets is not None

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Address({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)


def chosen(given: str) -> str | Address:
    """The name of a backend, or its address. Raises `UsageError` for what is neither."""
    return given if _NAME.fullmatch(given) else Address(given)


def in_files(address: Address, *, windows: bool) -> tuple[str, str]:
    """The directory that a `file://` address names, and the backend there (`?backend=`). Raises `UsageError`."""
    rest = address.reveal().partition("://")[2]
    place, _, query = rest.partition("?")
    host, slash, path = place.partition("/")
    path = decoded(slash + path)
    if windows and _DRIVE.match(path):
        path = path[1:]
    if host.lower() not in ("", "localhost"):
        if not windows or "@" in host or ":" in host:
            raise UsageError(f"{address}: a directory's URL has no host: file:///DIRECTORY")
        path = f"//{host}{path}"
    if "#" in rest or not path.strip("/"):
        raise UsageError(f"{address}: this URL names no directory: file:///DIRECTORY (for a # in its name write %23)")
    name, _, backend = query.partition("=")
    if query and (name != "backend" or not backend.isidentifier()):
        raise UsageError(f"{address}: a directory's URL has no parameter but ?backend=NAME")
    return path, backend


def decoded(text: str) -> str:
    """`text` with its percent-encoded bytes, which are UTF-8."""
    parts = re.split("((?:%[0-9A-Fa-f]{2})+)", text)
    parts[1::2] = [bytes.fromhex(each.replace("%", "")).decode("utf-8", "surrogateescape") for each in parts[1::2]]
    return "".join(parts)


def may_be_one(one: str, other: str) -> bool:
    """Whether two addresses of one scheme, as they are shown, may name one store: by hosts, ports, path and prefix.

    Of several hosts one in common is enough. Credentials do not count, nor what says how the store is reached; nor does
    what is hidden. Does not guarantee: that two names of one host are known for that.
    """
    first, second = _place(one), _place(other)
    if first is None or second is None:
        return True
    (hosts, path, found), (others, their_path, theirs) = first, second
    known = [name for name in found.keys() | theirs.keys() if HIDDEN not in (found.get(name), theirs.get(name))]
    return bool(hosts & others) and path == their_path and all(found.get(name) == theirs.get(name) for name in known)


def _place(shown: str) -> tuple[set[tuple[str, str]], str, dict[str, str]] | None:
    """Hosts with ports, path, and the parameters that name a place. None: too much of it is hidden."""
    scheme, _, rest = shown.partition("://")
    place, query = _split(rest)
    place = place if place.startswith("/") else place.rpartition("@")[2]
    if HIDDEN in place:
        return None
    authority, slash, path = place.partition("/")
    path = "/".join(["", *filter(None, decoded(slash + path).split("/"))])
    hosts = set[tuple[str, str]]()
    for each in authority.split(","):
        found = _HOST.match(each)
        host = decoded(found[1]).lower().rstrip(".") if found else each
        hosts.add(("localhost" if host in _HERE else host, (found and found[2]) or _PORTS.get(scheme, "")))
    parts = [part.partition("=") for part in re.split("[&;]", query.partition("#")[0][1:])]
    parameters = {decoded(name).lower(): decoded(value) for name, _, value in parts if _PLACES.fullmatch(decoded(name))}
    return hosts, path or _FIRST.get(scheme, ""), parameters


def _parted(rest: str) -> tuple[str, list[str]]:
    """What follows the scheme, as it may be shown; and what is hidden of it."""
    place, query = _split(rest)
    info, at, host = ("", "", place) if place.startswith("/") else place.rpartition("@")
    astray = [part for part in re.split("[&;]", query[1:]) if "@" in part.partition("#")[0].partition("=")[0]]
    if astray or not (at or _HOSTS.fullmatch(host.partition("/")[0])):  # A password that has ? or #, or no @ behind it.
        user, colon, secret = rest.partition(":")
        user, secret = (f"{user}:", secret) if colon else ("", rest)
        password = secret.rpartition("@")[0] or secret
        return f"{user}{HIDDEN}", [secret, password, *_pieces(password)]
    user, colon, password = info.partition(":")
    shown, secrets = _query(query)
    return f"{user}{colon}{HIDDEN if password else ''}{at}{host}{shown}", [password, *_pieces(password), *secrets]


def _pieces(password: str) -> list[str]:
    """What a client takes for a host, a port or a path that a password has been cut into."""
    pieces = re.split("[/?#@:]", password)
    return pieces if len(pieces) > 1 else []


def _split(rest: str) -> tuple[str, str]:
    end = re.search("[?#]", rest)
    return (rest[: end.start()], rest[end.start() :]) if end else (rest, "")


def _query(query: str) -> tuple[str, list[str]]:
    """The parameters as they may be shown, and what is hidden of them. Of a fragment, which no client takes, all is."""
    parameters, mark, fragment = query.partition("#")
    shown, secrets = parameters[:1], [fragment]
    for part in re.split("([&;])", parameters[1:]):
        name, equals, value = part.partition("=")
        if part in ("", "&", ";") or (equals and _is_harmless(name, value)):
            shown += part
            continue
        secrets += _hidden_in(value if equals else part)
        shown += f"{name}={HIDDEN}" if equals and _HARMLESS.fullmatch(decoded(name)) else HIDDEN
    return shown + (f"#{HIDDEN}" if mark else ""), secrets


def _is_harmless(name: str, value: str) -> bool:
    name = decoded(name)
    return not _SECRET_NAMES.search(name) and bool(_HARMLESS.fullmatch(name) and _HARMLESS.fullmatch(decoded(value)))


def _hidden_in(value: str) -> list[str]:
    """What is secret in a value that is hidden: all of it, and the password of a URL in it."""
    found = _URL.fullmatch(decoded(value))
    return [value, *(_parted(found[2])[1] if found else ())]


def _pattern(secrets: list[str]) -> re.Pattern[str] | None:
    """What finds them in a text; None: there are none."""
    found = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
    words = [re.escape(each) if len(each) >= _SHORT else rf"(?<!\w){re.escape(each)}(?!\w)" for each in found]
    return re.compile("|".join(sorted(words, key=len, reverse=True))) if words else None


def _spellings(secret: str) -> set[str]:
    """As it was typed, as it is meant, and as clients print what is meant."""
    plain = decoded(secret)
    return {secret, plain, repr(plain)[1:-1], _encoded(plain, "-._~"), _encoded(plain, "-._~/"), _encoded(plain, "-._~:@/")}


def _encoded(text: str, safe: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return "".join(
        chr(each) if chr(each).isascii() and (chr(each).isalnum() or chr(each) in safe) else f"%{each:02X}" for each in data
    )
