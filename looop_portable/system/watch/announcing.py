"""What the threads and tasks of one process announce to each other: a claim was released, a ticket was given back.

Guarantees: a waiter that expects a word, and then looks and finds nothing, is woken when the word is announced.
Does not guarantee: that a waiter which is woken finds something; nor anything of other processes.
How: by word, the watchers of those who expect it. A watcher is taken out as it is woken; each look expects anew.
There is no lock: a signal handler that takes or releases a claim may come at any point. A step of a dictionary is whole.
"""

from __future__ import annotations

import os
from _weakref import ref
from collections.abc import Iterable

from looop_portable.typed import Protocol


class Wakeable(Protocol):
    """A watcher, as far as it matters here."""

    def wake(self) -> None:
        """From any thread."""


Word = tuple[str, str]
"""A store, and what is told of it."""


class Announcements:
    """Of one store. `store` tells it from all others of this process."""

    def __init__(self, store: str) -> None:
        self._store = store

    def expect(self, watcher: Wakeable, topics: Iterable[str]) -> None:
        """Wake `watcher` once, when one of these topics is announced."""
        me = ref(watcher)  # Weak. Without that, tasks of a loop that was closed would never end.
        for what in topics:
            word = self._store, what
            while True:
                watchers = _expected.setdefault(word, set())
                watchers.add(me)
                if _expected.get(word) is watchers:
                    break  # Else it has been announced in between, to those who were there before.

    def expect_no_more(self, watcher: Wakeable, topics: Iterable[str]) -> None:
        """Wake `watcher` for these no more. An announcement that is under way may still wake it."""
        me = ref(watcher)
        for what in topics:
            word = self._store, what
            watchers = _expected.get(word)
            if watchers is not None:
                watchers.discard(me)
                if not watchers:
                    _wake(_expected.pop(word, set()))  # Who has come in between looks, and expects anew.

    def announce(self, what: str) -> None:
        """It has happened."""
        watchers = _expected.pop((self._store, what), None)
        if watchers:
            _wake(watchers)

    def postpone(self, what: str, later: str) -> None:
        """As `announce`, but wake the waiters at the announcement of `later`: until then they would find nothing."""
        for each in list(_expected.pop((self._store, what), None) or ()):
            watcher = each()
            if watcher is not None:
                self.expect(watcher, [later])


def _wake(watchers: set[ref[Wakeable]]) -> None:
    for each in list(watchers):
        watcher = each()
        if watcher is not None:
            watcher.wake()


_expected: dict[Word, set[ref[Wakeable]]] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_expected.clear)
