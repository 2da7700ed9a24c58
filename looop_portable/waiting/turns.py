"""For how long a waiter leaves a free claim to the waiters before it. They may be stopped, or dead and not seen to be.

Guarantees: a waiter gets past all idle waiters before it. It takes one turn for each process before it that is seen from
here, or that shows that it lives; and one turn more for all the others together. The turns are counted from the last time
that a waiter before it left the line, or that the one ahead of it noticed that the claim is free.
Does not guarantee: its position to a waiter that does nothing for a turn: stopped, or starved.
How: a waiter behind others that sees a free claim *shows* itself with each look: it touches its ticket. The waiters that
cannot be seen (on other hosts, in other containers) are watched meanwhile: do they show themselves? A waiter may notice a
free claim before the one ahead of it does. So its turns are counted anew when that one shows itself, and when a waiter
before it leaves the line, since another is first then. No clocks are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from looop_portable.backends.base import Tickets
from looop_portable.sessions.evidence import Evidence

TURN, TURN_FAR = 2.0, 6.0
"""Seconds that a claim is free before the first in line has missed its turn; the second, where looks go over a network.

Whoever is behind one that it cannot see looks twice in that time, and more often (`waiter`): it has shown itself by then.
"""

Free = tuple[str, int]
"""A claim that is free, and its generation."""


class Turns:
    """Of one waiter in the line of `queue`."""

    def __init__(self, tickets: Tickets, queue: str, evidence: Evidence, clock: Callable[[], float]) -> None:
        self._tickets = tickets
        self._queue = queue
        self._evidence = evidence
        self._clock = clock
        self._turn = TURN_FAR if tickets.far() else TURN
        self._free: Free | None = None
        self._since = 0.0
        self._unseen: dict[str, int | None] = {}
        self._before: list[str] = []
        """Those before us, when the turns were last counted anew; less those that we have gone past since."""
        self._ahead: tuple[str, int | None] = "", None
        """The ticket of the one ahead of us, and its sign at that time; no ticket: it has shown itself since."""

    def patience(self, ours: str, before: Sequence[str], free: Free | None) -> float:
        """For how many more seconds the waiters `before` our ticket `ours` may leave untaken what is `free`.

        A waiter that is stopped (Ctrl-Z) would otherwise keep a free claim from all behind it. A waiter further behind
        waits longer, so that only one passes the first. At 0 the one ahead is passed.
        """
        if free is None:
            self._free, self._unseen = None, {}
            return len(before) * self._turn
        self._tickets.show(self._queue, ours)
        sign = before[-1], self._tickets.shown(self._queue, before[-1])
        if free != self._free:
            self._free, self._unseen = free, self._signs_of_unseen(before)
            self._count_anew(before, sign)
            return len(before) * self._turn
        if self._before != before:  # Others have left, or have been passed: whoever is the first now has its turn.
            self._count_anew(before, sign)
        elif self._ahead[0] == sign[0] and self._ahead != sign:
            self._count_anew(before, ("", None))
        silent = [ticket for ticket in before if self._is_silent(ticket)]
        turns = len(before) - len(silent) + bool(silent)
        left = turns * self._turn - (self._clock() - self._since)
        if left <= 0:
            self._before = list(before[:-1])
        return left

    def _count_anew(self, before: Sequence[str], ahead: tuple[str, int | None]) -> None:
        self._before, self._ahead, self._since = list(before), ahead, self._clock()

    def _signs_of_unseen(self, before: Sequence[str]) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for ticket in before:
            waiter = self._tickets.waiter(self._queue, ticket)
            if waiter is None or not self._evidence.is_seen(waiter):
                found[ticket] = self._tickets.shown(self._queue, ticket)
        return found

    def _is_silent(self, ticket: str) -> bool:
        return ticket in self._unseen and self._tickets.shown(self._queue, ticket) == self._unseen[ticket]
