"""Claims among the threads of one process, for programs under test. Nothing is shared with any other process.

Guarantees: the same laws as every backend. Does not guarantee: anything beyond this process.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

from looop_portable.backends.base import SessionHead
from looop_portable.protocol.lease import Head, Lease
from looop_portable.protocol.liveness import Lock, Registration, Silence


class NoSigns:
    """The `Signs` of sessions in memory: whoever could ask is the process that would give them."""

    def promise(self, registration: Registration, *, locked: bool) -> Registration:  # noqa: ARG002 (the interface)
        return registration._replace(disk=self.disk())

    def unpromise(self, registration: Registration) -> None:
        """Nothing was made."""

    def beat(self, session: str, incarnation: str) -> None:
        """Whoever could hear it runs only while this process does."""

    def has_beat(self, session: str, incarnation: str) -> bool:  # noqa: ARG002 (the interface)
        return False

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:  # noqa: ARG002 (the interface)
        return Silence(0.0)

    def lock(self, registration: Registration) -> Lock:  # noqa: ARG002 (the interface)
        return Lock.HELD

    def lock_path(self, registration: Registration) -> str:  # noqa: ARG002 (the interface)
        return ""

    def disk(self) -> str:
        """This process's memory: no other kernel has it."""
        return f"{sys.platform} memory"


class MemorySessions:
    """The `SessionStore` of `MemoryBackend`. Its guard may be taken again by a signal's handler in the same thread."""

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

    def absent(self, session: str) -> bool:
        return session not in self._heads or not self._heads[session].generation

    def forget(self, session: str) -> None:
        with self._guard:
            self._heads.pop(session, None)

    def tidy(self) -> None:
        """A crash leaves nothing in memory."""

    def ids(self) -> list[str]:
        return sorted(session for session, head in self._heads.copy().items() if head.generation)


class MemoryTickets:
    """The `Tickets` of `MemoryBackend`. Nobody tells of changes: whoever waits looks again and again."""

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

    def shown(self, claim: str, ticket: str) -> int | None:  # noqa: ARG002 (the interface)
        return None

    def claims(self) -> list[str]:
        return list(self._lines)

    def paths(self, claim: str, ticket: str = "", *, foreign: bool = False) -> tuple[str, ...]:  # noqa: ARG002 (the interface)
        return ()

    def far(self) -> bool:
        return False

    def tidy(self) -> None:
        """A crash leaves nothing in memory."""


class MemoryBackend:
    """A `Backend` in this process's memory."""

    name = "memory"

    def __init__(self) -> None:
        self.sessions = MemorySessions()
        self.tickets = MemoryTickets()
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

    def claims(self) -> Iterator[str]:
        yield from sorted(name for name, head in self._heads.copy().items() if head.lease)

    def tidy(self) -> list[tuple[str, str]]:
        """A crash leaves nothing in memory."""
        return []

    def unavailable(self) -> str | None:
        return None


def open_memory(data_dir: str) -> MemoryBackend:  # noqa: ARG001 (the interface)
    """As every backend is opened; `data_dir` has no meaning here."""
    return MemoryBackend()
