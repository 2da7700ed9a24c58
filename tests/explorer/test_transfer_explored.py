"""The real transfer on a scripted filesystem, in all interleavings: one holder at most, and no free moment in between."""

from __future__ import annotations

import os

import pytest

from looop_portable.claims.gate import Claims
from looop_portable.protocol.outcomes import Released, Renewed, Won
from looop_portable.protocol.records import Holder
from looop_portable.sessions import receiving
from looop_portable.sessions.registrar import Sessions
from looop_portable.testing.explorer.scripted import Recorded
from looop_portable.testing.explorer.search import Actor, Explorer, Found
from looop_portable.testing.explorer.world import GENERATION, ROBBED, TWO_HOLDERS

from .test_claims_explored import (
    EMPTY,
    LEAST,
    NAME,
    WAYS,
    A,
    B,
    claimer,
    claims_of,
    held_by_a_corpse,
    key,
    nobody_is_stuck,
    reaper,
)

PREEMPTIONS = max(int(os.environ.get("EXPLORER_PREEMPTIONS", "2")) - 1, 0)
"""One less than for claims: who transfers one looks more often."""
OTHER = Holder("w7", "other")


def as_scripted(sessions: Sessions, to: Holder) -> tuple[Holder, str]:
    """Whether it lives is one step, and it does."""
    assert not sessions.verdict(*to).dead
    return to, ""


def giver(name: str, me: Holder, to: Holder, way: str) -> Actor:
    """Claims, and hands it over; then the other releases it. Nobody wins it before that: the other has the next number."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        outcome = claims.claim(NAME, me)
        if not isinstance(outcome, Won | Renewed):
            return
        files.ask("won", key(me), str(outcome.generation))
        files.ask("leaves", key(me))
        handed = claims.transfer(NAME, to, me)
        if not isinstance(handed, Won) or handed.generation != outcome.generation + 1:
            files.ask("robbed", key(me))
            return
        files.ask("won", key(to), str(handed.generation))
        files.ask("leaves", key(to))
        if not isinstance(claims.release(NAME, to), Released):
            files.ask("robbed", key(to))

    return Actor(name, body, (key(me), key(to)))


def explore(way: str, preemptions: int, crashes: int = 1, *, corpse: bool = True) -> int:
    world = (held_by_a_corpse(way) if corpse else EMPTY)._replace(alive=frozenset(map(key, (A, B, OTHER))))
    actors = (giver("G", A, OTHER, way), claimer("B", B, way), reaper("R", way))
    report = Explorer(actors, lambda end: nobody_is_stuck(end, way), preemptions).explore(world, crashes)
    print(f"{way}: at most {preemptions} preemptions and {crashes} crashes: {report}")
    return report.schedules


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "receiver", as_scripted)


@pytest.mark.parametrize("way", WAYS)
def test_no_schedule_and_no_crash_breaks_a_law(way: str) -> None:
    assert explore(way, PREEMPTIONS) >= LEAST[min(PREEMPTIONS, 3)] // 2


def in_two_steps(self: Claims, name: str, to: Holder, me: Holder) -> object:
    """Released first, then claimed for the other: free in between."""
    self.release(name, me)
    return self.claim(name, to)


def test_a_transfer_in_two_steps_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    held_by_a_corpse("posix")
    monkeypatch.setattr(Claims, "transfer", in_two_steps)
    with pytest.raises(Found) as found:
        explore("posix", 2, crashes=0)
    assert found.value.kind in {TWO_HOLDERS, ROBBED, GENERATION}, str(found.value)
