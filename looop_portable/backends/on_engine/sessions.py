"""Registrations on an engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from operator import itemgetter

from looop_portable.backends.base import HolderSigns, SessionHead, SessionStore
from looop_portable.backends.engine import BEAT, NOTHING, SESSION, Record, word_in
from looop_portable.backends.on_engine.asking import Store
from looop_portable.backends.on_engine.keys import key_of, name_in, of_session, word_of
from looop_portable.backends.on_engine.signs import EngineSigns
from looop_portable.errors import InvalidName
from looop_portable.protocol.names import excerpt
from looop_portable.protocol.records import Registration, is_damaged, registration_in

_MOST = 1000


class EngineSessions(SessionStore):
    """The `SessionStore` on an engine."""

    signs: EngineSigns

    def __init__(self, store: Store) -> None:
        self._store = store
        self.signs = EngineSigns(store)
        self._published: dict[str, SessionHead] = {}

    def read(self, session: str) -> SessionHead:
        key = key_of(session)
        return session_in(session, self._store.read(of_session(session), SESSION, key) if key else NOTHING)

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        fields = registration._asdict()
        if is_damaged(session, fields):
            raise InvalidName(f"session {excerpt(session)}: its registration could not be read by anybody")
        if registration.lease_seconds and not registration.ended:
            fields["word"] = word_of(registration.holder)
        self._published.pop(session, None)
        won = self._store.advance(of_session(session), SESSION, key_of(session), expected, fields)
        if won and not registration.ended:
            if len(self._published) >= _MOST:
                self._published.clear()
            self._published[session] = SessionHead(expected + 1, registration)
        return won

    def recall(self, session: str) -> SessionHead | None:
        """A step from there that is lost costs one more."""
        return self._published.pop(session, None)

    def begin(self, registration: Registration) -> SessionHead:
        """With the first heartbeat, if it promises any."""
        session = registration.session
        return session_in(session, self.signs.begin(registration)) if registration.lease_seconds else self.read(session)

    def renew(self, session: str, incarnation: str) -> SessionHead:
        return session_in(session, self.signs.report(session, incarnation))

    def forget(self, session: str) -> None:
        about, key = of_session(session), key_of(session)
        own = registration_in(session, self._store.read(about, SESSION, key).data)
        self._store.forget(about, BEAT, word_of(own.holder))
        self._store.forget(about, SESSION, key)

    def ids(self) -> list[str]:
        return [session for session, _ in self.scan()]

    def scan(self) -> Iterator[tuple[str, SessionHead]]:
        """One scan tells all."""
        scanned = self._store.scan("the sessions cannot be enumerated", SESSION)
        found = ((name_in(key, record.data, "session"), record) for key, record in scanned if record.data)
        return iter([(name, session_in(name, record)) for name, record in sorted(found) if name])

    def survey(self) -> Iterator[tuple[str, SessionHead, HolderSigns | None]]:
        """One survey tells all, but for what was registered by who does not put the word into it."""
        looked = self._store.survey("the sessions cannot be enumerated", SESSION)
        looks = ((name_in(key, found.session.data, "session"), found) for key, found in looked if found.session.data)
        named = [(name, found) for name, found in looks if name]
        for name, found in sorted(named, key=itemgetter(0)):
            head = session_in(name, found.session)
            if head.own and word_in(found.session.data) == word_of(head.own.holder):
                yield name, head, HolderSigns(head.own.holder, head, partial(self.signs.silence_after, found.heard))
            else:
                yield name, head, None


@lru_cache(maxsize=256)
def session_in(session: str, record: Record) -> SessionHead:
    own = registration_in(session, record.data) if record.data else None
    if own is not None and not own.incarnation:
        return SessionHead(record.number, None, damaged=True)
    return SessionHead(record.number, own)
