"""An engine, asked: each failure says in one line what it is about, and a reply that was lost is never guessed.

Guarantees: whoever is told that he has published, or lost, has. Whoever is told neither gets `Unavailable`: then his record
stands, or it never will once `WITHIN` is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from looop_portable.backends.engine import Engine, Heard, Record
from looop_portable.errors import CannotExclude, Unavailable, describe_error
from looop_portable.protocol.lease import encode

WITHIN = 5.0
"""Seconds in which the store has to begin what it is asked to change: see `Engine.advance`."""

MOST = 2**63 - 1
"""The greatest number of a record: as great as what a lease is read with."""

_TRIES = 2
_PAGE = 1000

_T = TypeVar("_T")


class Store:
    """The engine, asked by whoever says what it is `about`: that is how an error begins."""

    def __init__(self, engine: Engine, clock: Callable[[], float], new_nonce: Callable[[], str]) -> None:
        self.engine = engine
        self.new_nonce = new_nonce
        self._clock = clock

    def read(self, about: str, kind: str, key: str) -> Record:
        return _answered(about, lambda: self.engine.read(kind, key))

    def scan(self, about: str, kind: str, prefix: str = "") -> list[tuple[str, Record]]:
        """All of them, by key."""
        found = page = self._page(about, kind, prefix, "")
        while len(page) == _PAGE:
            page = self._page(about, kind, prefix, page[-1][0])
            found = found + page
        return sorted(found)

    def _page(self, about: str, kind: str, prefix: str, start: str) -> list[tuple[str, Record]]:
        return _answered(about, lambda: self.engine.scan(kind, prefix, start, _PAGE))

    def forget(self, about: str, kind: str, key: str) -> None:
        _answered(about, lambda: self.engine.forget(kind, key))

    def beat(self, about: str, word: str, keep: float) -> None:
        _answered(about, lambda: self.engine.beat(word, keep))

    def heard(self, about: str, word: str) -> Heard | None:
        return _answered(about, lambda: self.engine.heard(word))

    def advance(self, about: str, kind: str, key: str, after: int, fields: Mapping[str, object]) -> bool:
        """Publish `fields` as number `after` + 1, or lose to another (False). Raises `Unavailable` if it cannot be told.

        The nonce makes the record one that nobody else has: that is how one's own is known after a reply that was lost.
        """
        if not 0 <= after < MOST:
            return False  # Nobody ever had it.
        ours = Record(after + 1, encode({**fields, "token": self.new_nonce()}))
        not_after = self._clock() + WITHIN
        unanswered: Unavailable | None = None
        for _ in range(_TRIES):
            try:
                won, now = _answered(
                    about, lambda: self.engine.advance(kind, key, int(after), ours.data, not_after=not_after)
                )
            except CannotExclude:
                raise
            except Unavailable as error:
                unanswered = error
                continue
            if won or now == ours:
                return True
            if now.number == after:
                raise Unavailable(f"{about}: the store was reached too late, so nothing was changed: try again")
            if unanswered and now.number > ours.number:
                raise Unavailable(f"{about}: others went on before it could be told what came of it: {unanswered}")
            return False
        assert unanswered
        raise unanswered


def _answered(about: str, call: Callable[[], _T]) -> _T:
    """What an engine answers; every failure of it is one line, and says what it is about."""
    try:
        return call()
    except CannotExclude:
        raise
    except Unavailable as error:
        raise Unavailable(_line(about, str(error)), error.path) from error
    except OSError as error:
        raise Unavailable(_line(about, describe_error(error))) from error


def _line(about: str, why: str) -> str:
    return ": ".join(filter(None, (about, " ".join(why.split()))))
