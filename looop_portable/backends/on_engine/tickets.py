"""The lines of those who wait, on an engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial

from looop_portable.backends.base import Tickets
from looop_portable.backends.engine import CLAIM, TICKET, Record
from looop_portable.backends.on_engine.asking import Store
from looop_portable.backends.on_engine.keys import name_in, of_claim, ticket_key
from looop_portable.errors import Unavailable
from looop_portable.protocol.codec import decode
from looop_portable.protocol.names import spelled
from looop_portable.protocol.records import Registration, waiter_in
from looop_portable.system.watch.waking import Watcher
from looop_portable.typed import NamedTuple

_DIGITS = 12
_MOST = 10**_DIGITS - 1
"""Whoever comes after such a ticket has that number too: a longer one would be in no line."""


class _Subscribed(NamedTuple):
    """The topics of `watcher`, what ends each, and in which process. While it is known here, no other has its id."""

    watcher: Watcher
    topics: list[tuple[str, str]]
    ends: list[Callable[[], None]]
    pid: int


class _Wakes:
    """What an engine rings for a claim."""

    def __init__(self, watcher: Watcher, told: Callable[[Record], object]) -> None:
        self._watcher = watcher
        self.told = told

    def __call__(self) -> None:
        self._watcher.wake()


class EngineTickets(Tickets):
    """The `Tickets` on an engine, as at a bakery: one more than the highest number. Who come at once are in any order."""

    keeps = True

    def __init__(self, store: Store, note: Callable[[str, Record], object]) -> None:
        """`note` is called with what a claim has become, as the engine tells it."""
        self._store = store
        self._note = note
        self._subscribed: dict[int, _Subscribed] = {}
        """By the watcher."""

    def take(self, claim: str, waiter: Registration) -> str:
        line = self.line(claim)
        last = int(line[-1][:_DIGITS]) if line else 0
        ticket = f"{min(last + 1, _MOST):0{_DIGITS}}-{self._store.new_nonce()}"
        try:
            if self._store.advance(
                of_claim(claim), TICKET, ticket_key(claim, ticket), 0, {**waiter._asdict(), "line": claim}
            ):
                return ticket
        except Unavailable:
            with contextlib.suppress(Unavailable):
                self.give_back(claim, ticket)  # It may be there all the same, and would be in everybody's way.
            raise
        raise Unavailable(f"{of_claim(claim)}: somebody else has the ticket {ticket}, which cannot be; try again")

    def give_back(self, claim: str, ticket: str) -> None:
        self._store.forget(of_claim(claim), TICKET, ticket_key(claim, ticket))

    def line(self, claim: str) -> list[str]:
        self._store.settle()
        prefix = ticket_key(claim, "")
        tickets = [key.removeprefix(prefix) for key, _ in self._store.scan(of_claim(claim), TICKET, prefix)]
        return sorted(each for each in tickets if each[:_DIGITS].isdecimal() and each[_DIGITS : _DIGITS + 1] == "-")

    def waiter(self, claim: str, ticket: str) -> Registration | None:
        number, data = self._store.read(of_claim(claim), TICKET, ticket_key(claim, ticket))
        return waiter_in(data) if number else None

    def show(self, claim: str, ticket: str) -> None:
        number, data = self._store.read(of_claim(claim), TICKET, ticket_key(claim, ticket))
        if number:  # Else it is gone, and must not come back.
            self._store.advance(of_claim(claim), TICKET, ticket_key(claim, ticket), number, decode(data))

    def shown(self, claim: str, ticket: str) -> int | None:
        return self._store.read(of_claim(claim), TICKET, ticket_key(claim, ticket)).number or None

    def claims(self) -> list[str]:
        found = self._store.scan("the lines cannot be enumerated", TICKET)
        names = (name_in(key.partition("/")[0], record.data, "line") for key, record in found)
        return list(dict.fromkeys(name for name in names if name))

    def subscribe(self, watcher: Watcher, claims: Sequence[str], ticket: str = "", *, foreign: bool = False) -> bool:  # noqa: ARG002 (looop claims nothing here)
        """What is subscribed to already is left as it is: whatever may have hidden a change has rung."""
        kind, keys = (TICKET, [ticket_key(claims[0], ticket)]) if ticket else (CLAIM, [spelled(name) for name in claims])
        topics = [(kind, key) for key in keys]
        known = self._subscribed.get(id(watcher))
        if known and (known.topics, known.pid) == (topics, os.getpid()):
            return True
        self._end(watcher)
        if not topics:
            return watcher.watch(())
        found = self._subscribed[id(watcher)] = _Subscribed(watcher, [], [], os.getpid())
        for name, topic in zip(claims, topics, strict=False):
            ring = watcher.wake if ticket else _Wakes(watcher, partial(self._note, name))
            end = self._store.subscribe(of_claim(name), *topic, ring)
            if end is None:
                self._end(watcher)
                return watcher.watch(())
            found.ends.append(end)
            found.topics.append(topic)
        return True

    def _end(self, watcher: Watcher) -> None:
        known = self._subscribed.pop(id(watcher), None)
        for end in known.ends if known else ():
            end()

    def far(self) -> bool:
        return not self._store.engine.local
