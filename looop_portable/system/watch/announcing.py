"""What the threads and tasks of one process tell each other: that a claim was let go, that a place in a line was given up.

Guarantees: who expects a word, and then looks and finds that it has not happened yet, is rung when it is announced.
Does not guarantee: that there is news for whoever is rung; nor anything of other processes.
How: by word, the bells of those who expect it. They are taken out as they are rung, so each look begins by expecting anew.
There is no lock: a signal handler that takes or lets go of a claim may come at any point. A step of a dictionary is whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol
from weakref import ref


class Rings(Protocol):
    """A bell, as far as it matters here."""

    def ring(self) -> None:
        """From any thread."""


Word = tuple[str, str]
"""A store, and what is told of it."""


class Announcements:
    """Of one store. `store` tells it from all others of this process."""

    def __init__(self, store: str) -> None:
        self._store = store

    def expect(self, bell: Rings, topics: Iterable[str]) -> None:
        """`bell` rings once when one of them is announced."""
        me = ref(bell)  # Weak. Without that, tasks of a loop that was closed would never end.
        for what in topics:
            word = self._store, what
            while True:
                bells = _expected.setdefault(word, set())
                bells.add(me)
                if _expected.get(word) is bells:
                    break  # Else it has been announced in between, to those who were there before.

    def expect_no_more(self, bell: Rings, topics: Iterable[str]) -> None:
        """`bell` is not rung for these any more, but by whoever is about to."""
        me = ref(bell)
        for what in topics:
            word = self._store, what
            bells = _expected.get(word)
            if bells is not None:
                bells.discard(me)
                if not bells:
                    _ring(_expected.pop(word, set()))  # Who has come in between looks, and expects anew.

    def announce(self, what: str) -> None:
        """It has happened."""
        bells = _expected.pop((self._store, what), None)
        if bells:
            _ring(bells)

    def postpone(self, what: str, later: str) -> None:
        """It has happened, but there is nothing to be had before `later` is announced, which nobody else does meanwhile."""
        for each in list(_expected.pop((self._store, what), None) or ()):
            bell = each()
            if bell is not None:
                self.expect(bell, [later])


def _ring(bells: set[ref[Rings]]) -> None:
    for each in list(bells):
        bell = each()
        if bell is not None:
            bell.ring()


_expected: dict[Word, set[ref[Rings]]] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_expected.clear)
