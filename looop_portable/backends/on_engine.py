"""A backend on an engine: claims, sessions, heartbeats and lines of those who wait, as numbered records. Written once.

Guarantees: what every backend does, if the engine keeps the laws of `engine.Engine`. What cannot be told is `Unavailable`.
Does not guarantee: anything where a number is used twice: in a store that was restored from a backup, or that lost what it
had confirmed. Nor a wake-up in other processes: a waiter there looks again and again.
How: a claim's generations are the numbers of its record. A session's registrations are those of another, and its heartbeat
is a word. A ticket is a record whose key nobody ever had; its numbers are its signs. Nothing is remembered here but for how
long a heartbeat was promised, so it is safe among threads, and after a fork, if the engine is.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import sys
from collections.abc import Callable, Iterator

from looop_portable.backends.asking import Store
from looop_portable.backends.base import Backend, SessionHead, SessionStore, Signs, Tickets
from looop_portable.backends.engine import BEAT, CLAIM, NOTHING, SESSION, TICKET, Engine, Record
from looop_portable.errors import InvalidName, Unavailable
from looop_portable.protocol.codec import decode, text
from looop_portable.protocol.liveness import DEFAULT_TTL, Silence, interval
from looop_portable.protocol.names import canonical, excerpt, printable, spelled, unspelled
from looop_portable.protocol.records import (
    Head,
    Lease,
    Registration,
    is_damaged,
    lease_in,
    record_of,
    registration_in,
    waiter_in,
)
from looop_portable.system.clock import elapsed
from looop_portable.system.opening.nonces import nonce

__all__ = ["OnEngine"]

_DIGITS = 12
_MOST = 1000

_lease_in = functools.lru_cache(maxsize=256)(lease_in)
"""What was read once is not decoded again."""


class EngineSigns(Signs):
    """The `Signs` of sessions on an engine. There are no locks; a heartbeat is a word that is said again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._promised: dict[str, int] = {}

    def promise(self, registration: Registration, *, locked: bool) -> Registration:  # noqa: ARG002 (the interface)
        if registration.lease_seconds:
            self._promised[_word(*registration[:2])] = registration.lease_seconds
            self.beat(*registration[:2])
        return registration._replace(disk=self.disk())

    def unpromise(self, registration: Registration) -> None:
        """Do nothing: the store keeps a heartbeat for no longer than was asked for."""
        word = _word(*registration[:2])
        self._promised.pop(word, None)
        with contextlib.suppress(Unavailable):
            self._store.forget("", BEAT, word)

    def beat(self, session: str, incarnation: str) -> None:
        word = _word(session, incarnation)
        lease = self._promised.get(word) or self._promise_of(session, incarnation)
        if not lease:
            raise FileNotFoundError(errno.ENOENT, "it has promised no heartbeat, or has ended", session)
        self._promised[word] = lease  # Whoever beats once beats again: asked once.
        self._store.beat(_about(session), word, lease)

    def has_beat(self, session: str, incarnation: str) -> bool:
        return self._store.heard(_about(session), _word(session, incarnation)) is not None

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        """A clock that can be set is not believed at once: see `SignFiles.silence`, whose sightings are words here.

        A promised heartbeat may be missing in the store. The judge that misses it gives it: the silence begins there, and
        is never overestimated. A session whose heartbeat was lost could otherwise never be judged dead.
        """
        session, lease = registration.session, registration.lease_seconds
        word, about = _word(session, registration.incarnation), _about(session)
        heard = self._store.heard(about, word)
        if heard is None:
            self._store.beat(about, word, lease)
            return Silence(0.0)
        seconds, beat = heard
        if self._store.engine.steady:
            return Silence(seconds, seconds if watched else max(seconds - lease, 0.0))
        if -interval(lease) <= seconds <= lease and not watched:
            return Silence(seconds)
        since = self._store.heard(about, f"{word}/{beat}")
        if since is None or since.seconds < -interval(lease):  # The clock has been set back while it was watched.
            self._store.beat(about, f"{word}/{beat}", lease)
            return Silence(seconds)
        return Silence(seconds, max(since.seconds, 0.0))

    def disk(self) -> str:
        """It begins with the system, as the disks of directories do."""
        return f"{sys.platform} {self._store.engine.where}" if self._store.engine.local else ""

    def _promise_of(self, session: str, incarnation: str) -> int:
        """What another process has promised, for which this one beats: as the keeper of a shell's session does.

        One that is not registered yet, or not any more, has a heartbeat for as long as that is there.
        """
        record = self._store.read(_about(session), SESSION, _key(session))
        own = registration_in(session, record.data)
        if own.incarnation == incarnation and not own.ended:
            return own.lease_seconds
        return DEFAULT_TTL if self.has_beat(session, incarnation) else 0


class EngineSessions(SessionStore):
    """The `SessionStore` on an engine."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.signs = EngineSigns(store)

    def read(self, session: str) -> SessionHead:
        key = _key(session)
        return _session_in(session, self._store.read(_about(session), SESSION, key) if key else NOTHING)

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        fields = registration._asdict()
        if is_damaged(session, fields):
            raise InvalidName(f"session {excerpt(session)}: its registration could not be read by anybody")
        return self._store.advance(_about(session), SESSION, _key(session), expected, fields)

    def forget(self, session: str) -> None:
        about, key = _about(session), _key(session)
        own = registration_in(session, self._store.read(about, SESSION, key).data)
        self._store.forget(about, BEAT, _word(session, own.incarnation))
        self._store.forget(about, SESSION, key)

    def ids(self) -> list[str]:
        return [session for session, _ in self.scan()]

    def scan(self) -> Iterator[tuple[str, SessionHead]]:
        """One scan tells all."""
        scanned = self._store.scan("the sessions cannot be enumerated", SESSION)
        found = ((_name(key, record.data, "session"), record) for key, record in scanned if record.number)
        return iter([(name, _session_in(name, record)) for name, record in sorted(found) if name])


class EngineTickets(Tickets):
    """The `Tickets` on an engine, as at a bakery: one more than the highest number. Who come at once are in any order."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, claim: str, waiter: Registration) -> str:
        line = self.line(claim)
        last = int(line[-1][:_DIGITS]) if line else 0
        ticket = f"{last + 1:0{_DIGITS}}-{self._store.new_nonce()}"
        try:
            if self._store.advance(_of(claim), TICKET, _ticket_key(claim, ticket), 0, {**waiter._asdict(), "line": claim}):
                return ticket
        except Unavailable:
            with contextlib.suppress(Unavailable):
                self.give_back(claim, ticket)  # It may be there all the same, and would be in everybody's way.
            raise
        raise Unavailable(f"{_of(claim)}: somebody else has the ticket {ticket}, which cannot be; try again")

    def give_back(self, claim: str, ticket: str) -> None:
        self._store.forget(_of(claim), TICKET, _ticket_key(claim, ticket))

    def line(self, claim: str) -> list[str]:
        prefix = _ticket_key(claim, "")
        tickets = [key.removeprefix(prefix) for key, _ in self._store.scan(_of(claim), TICKET, prefix)]
        return sorted(each for each in tickets if each[:_DIGITS].isdecimal() and each[_DIGITS : _DIGITS + 1] == "-")

    def waiter(self, claim: str, ticket: str) -> Registration | None:
        number, data = self._store.read(_of(claim), TICKET, _ticket_key(claim, ticket))
        return waiter_in(data) if number else None

    def show(self, claim: str, ticket: str) -> None:
        number, data = self._store.read(_of(claim), TICKET, _ticket_key(claim, ticket))
        if number:  # Else it is gone, and must not come back.
            self._store.advance(_of(claim), TICKET, _ticket_key(claim, ticket), number, decode(data))

    def shown(self, claim: str, ticket: str) -> int | None:
        return self._store.read(_of(claim), TICKET, _ticket_key(claim, ticket)).number or None

    def claims(self) -> list[str]:
        found = self._store.scan("the lines cannot be enumerated", TICKET)
        names = (_name(key.partition("/")[0], record.data, "line") for key, record in found)
        return list(dict.fromkeys(name for name in names if name))

    def far(self) -> bool:
        return not self._store.engine.local


class OnEngine(Backend):
    """The `Backend` called `name` on `engine`."""

    sessions: EngineSessions
    tickets: EngineTickets

    def __init__(
        self, engine: Engine, name: str, clock: Callable[[], float] = elapsed, new_nonce: Callable[[], str] = nonce
    ) -> None:
        self._name = name
        self._released: dict[str, Head] = {}
        self._store = Store(engine, clock, new_nonce)
        self.sessions = EngineSessions(self._store)
        self.tickets = EngineTickets(self._store)

    @property
    def name(self) -> str:
        return self._name

    def read(self, claim: str) -> Head:
        number, data = self._store.read(_of(claim), CLAIM, spelled(claim))
        return Head(number, _lease_in(data, claim, number) if number else None)

    def recall(self, claim: str) -> Head | None:
        """What this process has made of it with its last release, where a step that is lost is cheap."""
        return self._released.pop(claim, None)

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        fields = record_of(lease)
        fields["generation"] = expected + 1
        won = self._store.advance(_of(claim), CLAIM, spelled(claim), expected, fields)
        if won and lease is None and self._store.engine.local:
            if len(self._released) >= _MOST:
                self._released.clear()
            self._released[claim] = Head(expected + 1, None)
        return won

    def scan(self) -> Iterator[tuple[str, Head]]:
        """One scan tells all."""
        for key, (number, data) in self._store.scan("the claims cannot be enumerated", CLAIM):
            name = _name(key, data, "name")
            if name and number and (lease := _lease_in(data, name, number)):
                yield name, Head(number, lease)

    def unavailable(self) -> str | None:
        try:
            self._store.read("", CLAIM, "-")
        except Unavailable as reason:
            return str(reason)
        return None

    def close(self) -> None:
        self._store.engine.close()


def _session_in(session: str, record: Record) -> SessionHead:
    own = registration_in(session, record.data) if record.number else None
    if own is not None and not own.incarnation:
        return SessionHead(record.number, None, damaged=True)
    return SessionHead(record.number, own)


def _of(claim: str) -> str:
    return f"claim {printable(claim)}"


def _about(session: str) -> str:
    return f"session {printable(session)}"


def _key(session: str) -> str:
    """Empty for what cannot be an id: nobody has ever registered it."""
    try:
        return spelled(canonical(session, "session id"))
    except InvalidName:
        return ""


def _word(session: str, incarnation: str) -> str:
    return f"{_key(session)}/{incarnation}"


def _ticket_key(claim: str, ticket: str) -> str:
    return f"{spelled(claim)}/{ticket}"


def _name(key: str, data: bytes, field: str) -> str:
    """The name that is spelled `key`; of a long one what its record says. Empty where neither tells."""
    name = unspelled(key)
    if name is None and (found := text(decode(data), field)) and spelled(found) == key:
        name = found
    return name or ""
