"""An engine, asked: each failure says in one line what it is about, and a reply that was lost is never guessed.

Guarantees: an answer that a record was published, or lost, is true. Without an answer the caller gets `Unavailable`: then
its record stands, or never will once `WITHIN` is over. So it does where a server answers what makes no sense.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from looop_portable.backends.engine import NONSENSE, SESSION, Engine, Fact, Heard, Known, Look, Record, Ring, Told, word_in
from looop_portable.errors import CannotExclude, LooopError, Settling, Unavailable, unavailable
from looop_portable.protocol.codec import encode
from looop_portable.system.clock import elapsed

WITHIN = 5.0
"""Seconds in which the store has to begin what it is asked to change: see `Engine.advance`."""

MOST = 2**63 - 1
"""The greatest number of a record: as great as what a lease is read with."""

_TRIES = 2
_AT_ONCE = 1.0
_PAGE = 1000
_LONGEST = 100

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Store:
    """The engine. Each call says what it is `about`: errors begin with that."""

    def __init__(self, engine: Engine, clock: Callable[[], float], new_nonce: Callable[[], str]) -> None:
        self.engine = engine
        self.new_nonce = new_nonce
        self._clock = clock
        self._owed: set[tuple[str, str, str]] = set()
        """What was to be forgotten, and could not be: in the way of others for as long as this process lives."""

    def read(self, about: str, kind: str, key: str) -> Record:
        return _answered(about, self.engine.read, kind, key)

    def scan(self, about: str, kind: str, prefix: str = "") -> list[tuple[str, Record]]:
        """All of them, by key."""
        page = self._page(about, kind, prefix, "")
        found = list(page)
        while len(page) == _PAGE:
            page = self._page(about, kind, prefix, page[-1][0])
            found += page
        return sorted(found)

    def survey(self, about: str, kind: str) -> list[tuple[str, Look]]:
        """All of this kind, each with what is known of who is named in it."""
        known: Known = {}
        page = _answered(about, self.engine.survey, kind, "", _PAGE, known)
        found = list(page)
        while len(page) == _PAGE:
            page = _answered(about, self.engine.survey, kind, page[-1][0], _PAGE, known)
            found += page
        return found

    def report(self, about: str, key: str, word: str, lease: float) -> Record:
        found = _answered(about, self.engine.report, key, word, lease)
        self.settle()
        return found

    def _page(self, about: str, kind: str, prefix: str, start: str) -> list[tuple[str, Record]]:
        return _answered(about, self.engine.scan, kind, prefix, start, _PAGE)

    def forget(self, about: str, kind: str, key: str) -> None:
        """What fails is done later: with the next beat, or when somebody lines up. Only what is never used again."""
        owed = about, kind, key
        self._owed.add(owed)
        _answered(about, self.engine.forget, kind, key)
        self._owed.discard(owed)

    def settle(self) -> None:
        """Forget what could not be forgotten before. What cannot be now stays owed."""
        for owed in list(self._owed):
            try:
                self.forget(*owed)
            except Unavailable:
                return

    def beat(self, about: str, word: str, lease: float) -> None:
        _answered(about, self.engine.beat, word, lease)
        self.settle()

    def heard(self, about: str, word: str) -> Heard | None:
        return _answered(about, self.engine.heard, word)

    def verify(self) -> list[Fact]:
        return _answered("", self.engine.verify)

    def look(self, about: str, key: str) -> Look:
        return _answered(about, self.engine.look, key)

    def subscribe(self, about: str, kind: str, key: str, ring: Ring) -> Callable[[], None] | None:
        return _answered(about, self.engine.subscribe, kind, key, ring)

    def advance(
        self,
        about: str,
        kind: str,
        key: str,
        after: int,
        fields: dict[str, object],
        told: Callable[[Record], object] | None = None,
    ) -> bool:
        """Publish `fields` as number `after` + 1, or lose to another (False). Raises `Unavailable` if it cannot be told.

        The token, which is added to them, makes the record one that nobody else has: that is how one's own is known after a
        reply that was lost. `told` is called with the registration of who has won, where the engine tells it.
        """
        if not 0 <= after < MOST:
            return False  # Nobody ever had it.
        fields["token"] = self.new_nonce()
        data, number, not_after = encode(fields), int(after) + 1, self._clock() + WITHIN
        unanswered: Unavailable | None = None
        for _ in range(_TRIES):
            try:
                step = self.engine.advance(kind, key, number - 1, data, not_after=not_after)
            except CannotExclude:
                raise
            except Settling as error:
                raise Settling(f"{about}: {' '.join(str(error).split())}", error.seconds) from error
            except (OSError, Unavailable, *NONSENSE) as error:
                unanswered = _failed(about, error)
                continue
            won, now = step
            if won or (now.number == number and now.data == data):
                if told:
                    told(
                        step.session
                        if isinstance(step, Told)
                        else self.read(about, SESSION, word_in(data).partition("/")[0])
                    )
                return True
            if now.number == after:
                raise Unavailable(f"{about}: the store was reached too late, so nothing was changed: try again")
            if unanswered and now.number > number:
                raise Unavailable(f"{about}: others went on before it could be told what came of it: {unanswered}")
            return False
        assert unanswered
        raise unanswered


def _answered(about: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What an engine answers; every failure of it is one line, and says what it is about.

    What fails at once is asked once more, as to do it twice is to do it once: a connection that was idle, and that the
    server has ended meanwhile, says so when it is used.
    """
    began = elapsed()
    while True:
        try:
            return call(*args, **kwargs)
        except CannotExclude:
            raise
        except (OSError, Unavailable) as error:
            if elapsed() - began < _AT_ONCE:
                began -= _AT_ONCE
                continue
            raise _failed(about, error) from error
        except NONSENSE as error:
            raise _failed(about, error) from error


def _failed(about: str, error: Exception) -> Unavailable:
    """A server that is hostile, or broken, is trouble of the store, and not a fault of looop itself."""
    if isinstance(error, OSError):
        known = unavailable(error)
    elif isinstance(error, Unavailable):
        known = error
    elif isinstance(error, LooopError):
        raise error
    else:
        said = " ".join(str(error).split())[:_LONGEST]
        known = Unavailable(f"the store's answer makes no sense ({type(error).__name__}: {said})")
    found = Unavailable(": ".join(filter(None, (about, " ".join(str(known).split())))), known.path)
    found.__cause__ = error
    return found
