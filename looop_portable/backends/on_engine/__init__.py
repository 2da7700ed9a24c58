"""A backend on an engine: claims, sessions, heartbeats and lines of those who wait, as numbered records. Written once.

Guarantees: what every backend does, if the engine keeps the laws of `engine.Engine`. What cannot be told is `Unavailable`.
Does not guarantee: anything where a number is used twice: in a store that was restored from a backup, or that lost what it
had confirmed and did not let its numbers leap. Nor a wake-up in other processes where the engine tells of no changes: a
waiter there looks again and again.
How: a claim's generations are the numbers of its record. A session's registrations are those of another, and its heartbeat
is a word. A ticket is a record whose key nobody ever had; its numbers are its signs. Nothing is remembered here but for how
long a heartbeat was promised, and what was last seen to be released. So it is safe among threads, and after a fork, if the
engine is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from operator import itemgetter

from looop_portable.backends.base import Backend, Fact, HolderSigns
from looop_portable.backends.engine import CLAIM, Engine, Look, Record, word_in
from looop_portable.backends.on_engine.asking import Store
from looop_portable.backends.on_engine.keys import name_in, of_claim, word_of
from looop_portable.backends.on_engine.sessions import EngineSessions, session_in
from looop_portable.backends.on_engine.tickets import EngineTickets
from looop_portable.errors import Unavailable
from looop_portable.protocol.names import spelled
from looop_portable.protocol.records import Head, Holder, Lease, lease_in, record_of
from looop_portable.system.clock import elapsed
from looop_portable.system.opening.nonces import nonce

__all__ = ["OnEngine"]

_MOST = 1000


class OnEngine(Backend):
    """The `Backend` called `name` on `engine`."""

    sessions: EngineSessions
    tickets: EngineTickets | None

    def __init__(
        self, engine: Engine, name: str, clock: Callable[[], float] = elapsed, new_nonce: Callable[[], str] = nonce
    ) -> None:
        self._name = name
        self._released: dict[str, Head] = {}
        self._ended: set[Holder] = set()
        self._store = Store(engine, clock, new_nonce)
        self.sessions = EngineSessions(self._store)
        self.tickets = EngineTickets(self._store, self._note) if engine.has_lines else None

    @property
    def name(self) -> str:
        return self._name

    def read(self, claim: str) -> Head:
        return _head_in(claim, self._store.read(of_claim(claim), CLAIM, spelled(claim)))

    def look(self, claim: str) -> tuple[Head, HolderSigns | None]:
        found = self._store.look(of_claim(claim), spelled(claim))
        head = _head_in(claim, found.claim)
        return head, self._signs(Holder(*head.lease[1:3]), found) if head.lease else None

    def recall(self, claim: str) -> Head | None:
        """What it is known to have become with a release: a step from there that is lost costs one more."""
        return self._released.pop(claim, None)

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        fields = record_of(lease)
        fields["generation"] = expected + 1
        told = None
        if lease and lease.session and not lease.readers:
            holder = Holder(*lease[1:3])
            fields["word"] = word_of(holder)
            told = partial(self._hear_of, holder) if self._store.engine.tells_sessions else None
        won = self._store.advance(of_claim(claim), CLAIM, spelled(claim), expected, fields, told)
        if won and lease is None:
            self._remember(Head(expected + 1, None), claim)
        return won

    def has_told_end(self, holder: Holder) -> bool | None:
        return holder in self._ended if self._store.engine.tells_sessions else None

    def _hear_of(self, holder: Holder, registration: Record) -> None:
        """As `Sessions.has_ended` judges it."""
        own = session_in(holder.session, registration).own
        if (own.ended or own.incarnation != holder.incarnation) if own else not registration.number:
            self._ended.add(holder)

    def _note(self, claim: str, record: Record) -> None:
        """What stands under a number never changes: who is told of a release may go on from there as if it had looked."""
        head = _head_in(claim, record)
        if record.data and not head.lease:
            self._remember(head, claim)

    def _remember(self, head: Head, claim: str) -> None:
        if len(self._released) >= _MOST:
            self._released.clear()
        self._released[claim] = head

    def scan(self) -> Iterator[tuple[str, Head]]:
        """One scan tells all."""
        for key, record in self._store.scan("the claims cannot be enumerated", CLAIM):
            name = name_in(key, record.data, "name")
            if name and (head := _head_in(name, record)).lease:
                yield name, head

    def survey(self) -> Iterator[tuple[str, Head | None, HolderSigns | None]]:
        """One survey tells all."""
        held: list[tuple[str, str, Head, Holder]] = []
        told: dict[Holder, Look] = {}
        for key, found in self._store.survey("the claims cannot be enumerated", CLAIM):
            name = name_in(key, found.claim.data, "name")
            if name and (head := _head_in(name, found.claim)).lease:
                held.append((key, name, head, holder := Holder(*head.lease[1:3])))
                told[holder] = found  # Any: none is of before the first claim that names this very registration.
        signs = {holder: self._signs(holder, found) for holder, found in told.items()}
        for _, name, head, holder in sorted(held, key=itemgetter(0)):
            yield name, head, signs[holder]

    def _signs(self, holder: Holder, found: Look) -> HolderSigns | None:
        """What a look has told of who holds the claim; None, if that was somebody else."""
        if word_in(found.claim.data) != word_of(holder):
            return None
        session = session_in(holder.session, found.session)
        return HolderSigns(holder, session, lambda own: self.sessions.signs.silence_after(found.heard, own))

    def far(self) -> bool:
        return not self._store.engine.local

    def unavailable(self) -> str | None:
        try:
            self._store.read("", CLAIM, "-")
        except Unavailable as reason:
            return str(reason)
        return None

    def verify(self) -> list[Fact]:
        return self._store.verify()

    def close(self) -> None:
        self._store.engine.close()


@lru_cache(maxsize=256)
def _head_in(claim: str, record: Record) -> Head:
    """What was read once is not decoded again."""
    return Head(record.number, lease_in(record.data, claim, record.number) if record.data else None)
