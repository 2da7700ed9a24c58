"""The statistics of the suite. Pure.

Does not guarantee: that two figures of different runs can be compared. What is comparable is what took turns in one run:
so ratios are taken round by round, and their median is told.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Turn(NamedTuple):
    """One member's turn: when it said that it wants it, had it, and began to let go. Nanoseconds of one monotonic clock.

    `released` is 0 while it has not let go.
    """

    member: int
    announced: int
    got: int
    released: int = 0


class Spread(NamedTuple):
    """Of `size` values: the median, that which 99 of 100 do not exceed, and the worst."""

    size: int
    median: float
    most: float
    worst: float


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError for none."""
    if not values:
        raise ValueError("no values: nothing was measured")
    ordered = sorted(values)
    return Spread(len(ordered), statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1], ordered[-1])


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """The median of `times` to `base`, round by round: what disturbs a round disturbs both."""
    return statistics.median(mine / other for mine, other in zip(times, base, strict=True))


def hand_overs(turns: Iterable[Turn]) -> list[float]:
    """Seconds from each release to the next member's having it, in the order of having it.

    A release is counted from its beginning, so that what it costs is in. Where the same member has it again, nothing was
    handed over.
    """
    ordered = sorted(turns, key=lambda turn: turn.got)
    return [
        (after.got - before.released) / 1e9
        for before, after in itertools.pairwise(ordered)
        if before.released and before.member != after.member
    ]


def overtakings(turns: Iterable[Turn], waiting: Iterable[int] = ()) -> list[int]:
    """For each wait, how many came later and had it earlier; first those that had it, in that order.

    `waiting`: when those announced themselves that still wait in the end. Without them, who starves would not count.
    """
    passed: list[int] = []
    had: list[int] = []
    for turn in sorted(turns, key=lambda turn: turn.got):
        passed.append(len(had) - bisect.bisect_right(had, turn.announced))
        bisect.insort(had, turn.announced)
    return passed + [len(had) - bisect.bisect_right(had, announced) for announced in waiting]


def shares(turns: Iterable[Turn], members: int) -> tuple[int, int]:
    """The fewest and the most turns that one of `members` had."""
    counts = [0] * members
    for turn in turns:
        counts[turn.member] += 1
    return min(counts), max(counts)
