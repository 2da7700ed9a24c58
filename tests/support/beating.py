"""Backends of dictionaries, honest, without heartbeats and with: what liars are made from (`contract/test_liars.py`)."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable, Iterator

from looop_portable.backends.base import Backend, Found, SessionHead, SessionStore, Signs, Tickets
from looop_portable.protocol.liveness import Lock, Silence
from looop_portable.protocol.records import Head, Holder, Lease, Registration
from looop_portable.system.clock import elapsed


class NoSigns(Signs):
    """The `Signs` of sessions in memory: whoever could ask is the process that would give them."""

    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        return registration._replace(disk=self.disk())

    def unpromise(self, registration: Registration) -> None:
        """Nothing was made."""

    def beat(self, session: str, incarnation: str) -> None:
        """Whoever could hear it runs only while this process does."""

    def has_beat(self, session: str, incarnation: str) -> bool:
        return False

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        return Silence(0.0)

    def lock(self, registration: Registration) -> Lock:
        return Lock.HELD

    def disk(self) -> str:
        """This process's memory: no other kernel has it."""
        return f"{sys.platform} memory"


class DictSessions(SessionStore):
    """The `SessionStore` of `DictBackend`. Its guard may be taken again by a signal's handler in the same thread."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._heads: dict[str, SessionHead] = {}
        self.signs = NoSigns()

    def read(self, session: str) -> SessionHead:
        return self._heads.get(session, SessionHead(0, None))

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        heads, new = self._heads, SessionHead(expected + 1, registration)
        with self._guard:
            heads.setdefault(session, SessionHead(0, None))
            if heads[session].generation != expected:
                return False
            heads[session] = new  # No call since the comparison: a signal's handler, which may advance it, cannot come in.
            return True

    def forget(self, session: str) -> None:
        with self._guard:
            self._heads.pop(session, None)

    def ids(self) -> list[str]:
        return sorted(session for session, head in self._heads.copy().items() if head.generation)


class DictTickets(Tickets):
    """The `Tickets` of `DictBackend`. Nobody tells of changes: whoever waits looks again and again."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._last = 0
        self._lines: dict[str, dict[str, Registration]] = {}

    def take(self, claim: str, waiter: Registration) -> str:
        with self._guard:
            self._last += 1
            ticket = f"{self._last:012}"
            self._lines.setdefault(claim, {})[ticket] = waiter
            return ticket

    def give_back(self, claim: str, ticket: str) -> None:
        with self._guard:
            self._lines.get(claim, {}).pop(ticket, None)

    def line(self, claim: str) -> list[str]:
        with self._guard:
            return sorted(self._lines.get(claim, {}))

    def waiter(self, claim: str, ticket: str) -> Registration | None:
        return self._lines.get(claim, {}).get(ticket)

    def show(self, claim: str, ticket: str) -> None:
        """All that wait are of this process, and seen."""

    def shown(self, claim: str, ticket: str) -> int | None:
        return None

    def claims(self) -> list[str]:
        return list(self._lines)


class DictBackend(Backend):
    """A `Backend` in this process's memory."""

    name = "memory"

    def __init__(self) -> None:
        self.sessions = DictSessions()
        self.tickets = DictTickets()
        self._guard = threading.RLock()
        self._heads: dict[str, Head] = {}

    def read(self, claim: str) -> Head:
        return self._heads.get(claim, Head(0, None))

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        heads, new = self._heads, Head(expected + 1, lease._replace(generation=expected + 1) if lease else None)
        with self._guard:
            heads.setdefault(claim, Head(0, None))
            if heads[claim].generation != expected:
                return False
            heads[claim] = new  # As above.
            return True

    def scan(self) -> Iterator[Found]:
        yield from sorted((name, head) for name, head in self._heads.copy().items() if head.lease)


class BeatingSigns(NoSigns):
    """Heartbeats by one clock, which nobody sets."""

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self.clock = clock
        self.beats: dict[Holder, float] = {}
        self.looks: dict[tuple[Holder, float], float] = {}
        """When a heartbeat was first seen by somebody who watches."""

    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        self.beats[registration.holder] = self.clock()
        return super().promise(registration, locked=locked)

    def unpromise(self, registration: Registration) -> None:
        self.beats.pop(registration.holder, None)

    def beat(self, session: str, incarnation: str) -> None:
        if Holder(session, incarnation) not in self.beats:
            raise FileNotFoundError(errno.ENOENT, "its heartbeat is missing", session)
        self.beats[Holder(session, incarnation)] = self.clock()

    def has_beat(self, session: str, incarnation: str) -> bool:
        return Holder(session, incarnation) in self.beats

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        holder, now = registration.holder, self.clock()
        if holder not in self.beats:
            raise FileNotFoundError(errno.ENOENT, "its heartbeat is missing", registration.session)
        beat = self.beats[holder]
        if not watched and now - beat <= registration.lease_seconds:
            return Silence(now - beat)
        return Silence(now - beat, now - self.looks.setdefault((holder, beat), now))


class BeatingSessions(DictSessions):
    signs: BeatingSigns

    def __init__(self, signs: BeatingSigns) -> None:
        super().__init__()
        self.signs = signs

    def forget(self, session: str) -> None:
        super().forget(session)
        for holder in [holder for holder in self.signs.beats if holder.session == session]:
            del self.signs.beats[holder]


class BeatingBackend(DictBackend):
    """What is to lie is given instead: signs, or sessions with theirs."""

    sessions: BeatingSessions

    def __init__(self, signs: BeatingSigns | None = None, sessions: BeatingSessions | None = None) -> None:
        super().__init__()
        self.sessions = sessions or BeatingSessions(signs or BeatingSigns())
