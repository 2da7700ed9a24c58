"""The cluster, asked by its JSON gateway: whichever member answers, with a user's token, within one timeout.

Guarantees: the answers are of one member, which began the calls in their order, or it is `Unavailable` within the timeout.
Does not guarantee: that calls without an answer were done once, or never. They may be done twice: each has to be one that
does the same then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from looop_portable.backends.connections import Connections
from looop_portable.errors import CannotExclude, Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_etcd.address import Address, Endpoint
from looop_portable_etcd.wire import BROKEN, Answer, Call, Json, Wire, why

if TYPE_CHECKING:
    import ssl

__all__ = ["Gateway"]

NOT_FOUND, EXISTS, UNAVAILABLE, TIMED_OUT, UNKNOWN_USER = 5, 9, 14, 4, 16
_PAUSE = 0.1
_LEADER = "Grpc-Metadata-hasleader: true\r\n"
"""Asks a member that no leader hears for an error instead of silence."""

_MEANINGS = {
    "user name is empty": "it asks for a user: name one in the URL, or set ETCD_USERNAME and ETCD_PASSWORD",
    "authentication failed": "the user '{user}' or its password is wrong",
    "permission denied": "the user '{user}' may not do that: it needs readwrite for all keys with the prefix '{prefix}/'",
    "space exceeded": "it has no space left (alarm NOSPACE): compact its history, `etcdctl defrag`, `etcdctl alarm disarm`",
    "corrupt": "its members disagree about the data (alarm CORRUPT): mend the cluster before anything is claimed",
}
"""What etcd says, and what it is about."""


class Gateway:
    """`ask` from any thread, also in a forked child, and in a signal's handler. At most three connections at once."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.where = address.where
        self._at = 0
        self._token = ""
        self._tls: ssl.SSLContext | None = None
        self._wires = Connections(self.where, self.wire, Wire.close, seconds=address.timeout)

    def ask(self, *calls: Call, end: float = 0.0, spare: int = 0) -> list[Json]:
        """What each call found. Of one that failed as lease ids do (not there, there already) it is {"code": ...}.

        So it is of the last ones, the `spare` ones, however they failed.
        """
        end = min(end or elapsed() + self.address.timeout, elapsed() + self.address.timeout)
        members, failed, may_log_in = self.address.endpoints, 0, bool(self.address.user)
        while True:
            share = elapsed() + (end - elapsed()) / max(len(members) - failed, 1)
            endpoint = self.endpoint
            try:
                answers = self._asked(endpoint, calls, share)
                needed = answers[: len(calls) - spare]
                refusal = next((each for each in needed if _code(each) not in (0, NOT_FOUND, EXISTS)), None)
                if refusal is None:
                    return [each.found for each in answers]
                if may_log_in and _is_token(refusal):
                    self._token, may_log_in = "", False
                    continue
                if _code(refusal) not in (UNAVAILABLE, TIMED_OUT):
                    raise self._refused(refusal)
                failure, pause = f"it says: {_said(refusal)}", _PAUSE
            except BROKEN as error:
                failure, pause = why(error), 0.0
                if may_log_in and isinstance(error, (ConnectionError, ValueError)):
                    self._token, may_log_in = "", False  # Some versions say so that they know a token no more.
            failed += 1
            self._at += self.endpoint == endpoint
            if elapsed() + pause >= end or (not pause and failed > len(members)):
                raise Unavailable(f"{self.where}: {endpoint}: {failure}")
            time.sleep(pause)

    @property
    def endpoint(self) -> Endpoint:
        """The member that answered last."""
        return self.address.endpoints[self._at % len(self.address.endpoints)]

    def wire(self) -> Wire:
        """A connection of the caller's own, which is not counted."""
        if self.address.is_tls and self._tls is None:
            self._tls = self._context()
        return Wire(self._tls)

    def headers(self) -> str:
        return f"{_LEADER}Authorization: {self._token}\r\n" if self._token else _LEADER

    def login(self, endpoint: Endpoint, wire: Wire, end: float) -> None:
        """Raises `Unavailable` if the user or the password is wrong."""
        if not self.address.user or self._token:
            return
        body = {"name": self.address.user, "password": self.address.password}
        (answer,) = wire.ask(endpoint, [Call("/v3/auth/authenticate", body)], _LEADER, end)
        if _code(answer) in (UNAVAILABLE, TIMED_OUT):
            raise ConnectionAbortedError(0, _said(answer))
        if _code(answer) == EXISTS:
            return  # It has users switched off, and asks for no token.
        if _code(answer):
            raise self._refused(answer)
        self._token = str(answer.found.get("token", ""))

    def text(self, path: str) -> str:
        """What is no JSON."""
        end = elapsed() + self.address.timeout
        try:
            (answer,) = self._asked(self.endpoint, (Call(path, None),), end)
        except BROKEN as error:
            raise Unavailable(f"{self.where}: {self.endpoint}: {why(error)}") from None
        return answer.text if answer.status == 200 else ""

    def answers(self, endpoint: Endpoint) -> bool:
        """Whether that member does, and knows a leader."""
        wire = self.wire()
        end = elapsed() + self.address.timeout / len(self.address.endpoints)
        try:
            self.login(endpoint, wire, end)
            (answer,) = wire.ask(endpoint, [Call("/v3/kv/range", {"key": "AA=="})], self.headers(), end)
        except BROKEN:
            return False
        finally:
            wire.close()
        return _code(answer) not in (UNAVAILABLE, TIMED_OUT)

    @property
    def is_logged_in(self) -> bool:
        return bool(self._token)

    def forget_token(self) -> None:
        """It may be why nothing is answered: whoever asks next logs in."""
        self._token = ""

    def close(self) -> None:
        self._wires.close()

    def _asked(self, endpoint: Endpoint, calls: tuple[Call, ...], end: float) -> list[Answer]:
        with self._wires.one() as wire:
            self.login(endpoint, wire, end)
            return wire.ask(endpoint, calls, self.headers(), end)

    def _context(self) -> ssl.SSLContext:
        import ssl  # Not needed without TLS.

        address = self.address
        try:
            made = ssl.create_default_context(cafile=address.ca or None)
            if address.cert:
                made.load_cert_chain(address.cert, address.key, password="")
        except (OSError, ssl.SSLError) as error:
            said = getattr(error, "strerror", "") or getattr(error, "reason", "") or "they are no certificates"
            raise Unavailable(f"{self.where}: its files for TLS (ca, cert, key) cannot be read: {said}") from None
        return made

    def _refused(self, answer: Answer) -> Unavailable:
        said = _said(answer)
        if answer.status == 404 and not answer.found:
            return CannotExclude(f"{self.where}: what answers is no etcd of 3.4 or later: it has no JSON gateway at /v3")
        if answer.status == 400 and "HTTPS" in answer.text:
            return Unavailable(f"{self.where}: it speaks TLS: its URL has to begin with etcds://")
        for words, meaning in _MEANINGS.items():
            if words in said:
                said = meaning.format(user=self.address.user, prefix=self.address.prefix)
        return Unavailable(f"{self.where}: {said}")


def _code(answer: Answer) -> int:
    """gRPC's code; 0: all is well."""
    code = answer.found.get("code", 0)
    if answer.status == 200 and not code:
        error = answer.found.get("error")  # Of a stream that ends with it.
        return int(error.get("grpc_code", 2)) if isinstance(error, dict) else 0
    if answer.status == 401:
        return UNKNOWN_USER
    return int(code) or 2


def _said(answer: Answer) -> str:
    found = answer.found.get("message") or answer.found.get("error") or answer.text or f"HTTP status {answer.status}"
    if isinstance(found, dict):
        found = found.get("message", found)
    return " ".join(str(found).split())[:200].removeprefix("etcdserver: ")


def _is_token(refusal: Answer) -> bool:
    """Whether a new token may help."""
    said = _said(refusal)
    return (
        _code(refusal) == UNKNOWN_USER
        or "auth token" in said
        or "auth store is old" in said
        or "user name is empty" in said
    )
