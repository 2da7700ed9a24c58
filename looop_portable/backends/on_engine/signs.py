"""Signs of life on an engine: a heartbeat is a word that is said again and again. There are no locks."""

from __future__ import annotations

import contextlib
import errno
import sys

from looop_portable.backends.base import Signs
from looop_portable.backends.engine import BEAT, SESSION, Heard, Record
from looop_portable.backends.on_engine.asking import Store
from looop_portable.backends.on_engine.keys import key_of, of_session, word_of
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import DEFAULT_TTL, Silence, interval
from looop_portable.protocol.records import Holder, Registration, registration_in


class EngineSigns(Signs):
    """The `Signs` of sessions on an engine. There are no locks; a heartbeat is a word that is said again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._promised: dict[str, int] = {}
        self._begun: set[str] = set()
        """Of those the first heartbeat is given, and they are not registered yet."""

    def promise(self, registration: Registration, *, locked: bool) -> Registration:  # noqa: ARG002 (the interface)
        if (lease := registration.lease_seconds) and (word := word_of(registration.holder)) not in self._begun:
            self._promised[word] = lease
            self.beat(*registration[:2])
        self._begun.discard(word_of(registration.holder))
        return registration._replace(disk=self.disk())

    def begin(self, registration: Registration) -> Record:
        """Give the first heartbeat, and read the registration of its id on the way."""
        session, lease = registration.session, registration.lease_seconds
        word = word_of(registration.holder)
        found = self._store.report(of_session(session), key_of(session), word, lease)
        self._promised[word] = lease
        self._begun.add(word)
        return found

    def unpromise(self, registration: Registration) -> None:
        """What fails does no harm: the store keeps a heartbeat for no longer than was asked for."""
        word = word_of(registration.holder)
        self._promised.pop(word, None)
        self._begun.discard(word)
        with contextlib.suppress(Unavailable):
            self._store.forget("", BEAT, word)

    def beat(self, session: str, incarnation: str) -> None:
        self._store.beat(of_session(session), *self._promise(session, incarnation))

    def report(self, session: str, incarnation: str) -> Record:
        """As `beat`, and its registration."""
        return self._store.report(of_session(session), key_of(session), *self._promise(session, incarnation))

    def has_beat(self, session: str, incarnation: str) -> bool:
        return self._store.heard(of_session(session), word_of(Holder(session, incarnation))) is not None

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        word = word_of(registration.holder)
        return self.silence_after(self._store.heard(of_session(registration.session), word), registration, watched=watched)

    def silence_after(self, heard: Heard | None, registration: Registration, *, watched: bool = False) -> Silence:
        """A clock that can be set is not believed at once: see `SignFiles.silence`, whose sightings are words here.

        A promised heartbeat may be missing in the store. The judge that misses it gives it: the silence begins there, and
        is never overestimated. A session whose heartbeat was lost could otherwise never be judged dead.
        """
        lease = registration.lease_seconds
        if heard and not watched and -interval(lease) <= heard.seconds <= lease:
            return Silence(heard.seconds)  # Of most: young by any clock.
        word, about = word_of(registration.holder), of_session(registration.session)
        if heard is None:
            self._store.beat(about, word, lease)
            return Silence(0.0)
        seconds, beat = heard
        if self._store.engine.steady:
            return Silence(seconds, seconds if watched else max(seconds - lease, 0.0))
        since = self._store.heard(about, f"{word}/{beat}")
        if since is None or since.seconds < -interval(lease):  # The clock has been set back while it was watched.
            self._store.beat(about, f"{word}/{beat}", lease)
            return Silence(seconds)
        return Silence(seconds, max(since.seconds, 0.0))

    def disk(self) -> str:
        """It begins with the system, as the disks of directories do."""
        return f"{sys.platform} {self._store.engine.where}" if self._store.engine.local else ""

    def _promise(self, session: str, incarnation: str) -> tuple[str, int]:
        """Its word, and within how many seconds it is said again."""
        word = word_of(Holder(session, incarnation))
        lease = self._promised.get(word) or self._promise_of(session, incarnation)
        if not lease:
            raise FileNotFoundError(errno.ENOENT, "it has promised no heartbeat, or has ended", session)
        self._promised[word] = lease  # Whoever beats once beats again: asked once.
        return word, lease

    def _promise_of(self, session: str, incarnation: str) -> int:
        """What another process has promised, for which this one beats: as the keeper of a shell's session does.

        One that is not registered yet, or not any more, has a heartbeat for as long as that is there.
        """
        record = self._store.read(of_session(session), SESSION, key_of(session))
        own = registration_in(session, record.data)
        if own.incarnation == incarnation and not own.ended:
            return own.lease_seconds
        return DEFAULT_TTL if self.has_beat(session, incarnation) else 0
