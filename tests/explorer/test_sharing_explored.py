"""Claims that several share, on a scripted filesystem: all interleavings and crashes of the real code, and faults put back.

The laws, beside those of claims: nobody shares while another holds alone, and the other way round; who shares keeps his
generation until he leaves, and nobody else ever has it; a waiter who wants it alone is not passed by those who would join;
and when all is over a newcomer has the claim, whoever has died while he shared it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable

import pytest

from looop_portable.claims.judging import Judging, Verdicts
from looop_portable.claims.sharing import Share, Sharing
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Held, Released, Renewed, Won
from looop_portable.protocol.records import Holder, Judged, Lease, Registration, shared_lease
from looop_portable.protocol.shares import Reader
from looop_portable.protocol.standings import Standing
from looop_portable.testing.explorer.scripted import Recorded
from looop_portable.testing.explorer.search import Actor, Explorer, Found, Report, run
from looop_portable.testing.explorer.world import GENERATION, OVERTAKEN, ROBBED, STUCK, TWO_HOLDERS, World

from .test_claims_explored import EMPTY, FINDS, NAME, WAYS, A, B, claimer, claims_of, key, nobody_is_stuck, reaper
from .test_waiting_explored import LINED, QUEUE, lives, waiter

PREEMPTIONS = max(int(os.environ.get("EXPLORER_PREEMPTIONS", "2")) - 1, 0)
"""One less than for claims: who shares one looks more often."""
CORPSE, W, L = Holder("w1", "old"), Holder("w4", "w"), Holder("w5", "l")
LEAST = (20, 200, 1_000, 1_000)


def reader(name: str, me: Holder, way: str = "posix", *, rounds: int = 1, share: str = "") -> Actor:
    """Joins and leaves, `rounds` times; says so to the oracle while it shares the claim."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        for _ in range(rounds):
            outcome = claims.claim(NAME, me, shared=Share(share))
            if isinstance(outcome, Held):
                continue
            lease = outcome.lease
            files.ask("shares", key(me), str(lease.generation))
            if not claims.check(NAME, lease.generation, me).is_still(lease):
                files.ask("robbed", key(me))
            files.ask("shares no more", key(me), str(lease.generation))
            if not isinstance(claims.release_lease(lease), Released):
                files.ask("robbed", key(me))

    return Actor(name, body, (key(me),))


def joiner(name: str, me: Holder, way: str) -> Actor:
    """Joins who shares it, without waiting, and passes nobody by who waits to have it alone."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        assert claims.backend.tickets
        before = [f"{QUEUE}/{ticket}" for ticket in claims.backend.tickets.line(NAME)]
        outcome = claims.claim(NAME, me, shared=True)
        if isinstance(outcome, Won | Renewed):
            files.ask("overtakes", name, *before)
            files.ask("shares", key(me), str(outcome.generation))
            files.ask("shares no more", key(me), str(outcome.generation))
            claims.release_lease(outcome.lease)

    return Actor(name, body, lives(name, me))


@functools.cache
def shared_by(way: str, *who: Holder, lined: bool = False) -> World:
    """The claim is shared, by sessions that are alive or not."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        for each in who:
            claims.claim(NAME, each, shared=True)

    alive = frozenset(map(key, who))
    world = run(Actor("C", body), (LINED if lined else EMPTY)._replace(alive=alive))
    return world._replace(alive=frozenset())


def explore(
    world: World, actors: tuple[Actor, ...], way: str, alive: Iterable[Holder], crashes: int, preemptions: int
) -> Report:
    names = {f"process {actor.name}" for actor in actors}
    world = world._replace(alive=frozenset(map(key, alive)) | names)
    return Explorer(actors, lambda end: nobody_is_stuck(end, way), preemptions).explore(world, crashes)


Start = Callable[[str], World]
Actors = Callable[[str], tuple[Actor, ...]]

SCENARIOS: dict[str, tuple[Start, Actors, tuple[Holder, ...]]] = {
    "two who share it, and one who wants it alone": (
        lambda _: EMPTY,
        lambda way: (reader("A", A, way), reader("B", B, way), claimer("W", W, way)),
        (A, B, W),
    ),
    "one who has died while he shared it": (
        lambda way: shared_by(way, CORPSE),
        lambda way: (reader("A", A, way), claimer("W", W, way), reaper("R", way)),
        (A, W),
    ),
    "two who want it alone, and one who has died while he shared it": (
        lambda way: shared_by(way, CORPSE),
        lambda way: (claimer("B", B, way), claimer("W", W, way)),
        (B, W),
    ),
    "one of two has died": (
        lambda way: shared_by(way, CORPSE, L),
        lambda way: (reader("A", A, way), reaper("R", way), reader("L", L, way)),
        (A, L),
    ),
    "one who joins again and again": (
        lambda _: EMPTY,
        lambda way: (reader("A", A, way, rounds=3), reader("B", B, way), claimer("W", W, way)),
        (A, B, W),
    ),
    "two threads of one session": (
        lambda _: EMPTY,
        lambda way: (reader("A", A, way, share="s1"), reader("B", A, way, share="s2"), claimer("W", W, way)),
        (A, W),
    ),
}
LESS = {"posix, one name", "advisory", "advisory in place", "windows", "windows by renaming"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_schedule_and_no_crash_breaks_a_law(scenario: str, way: str) -> None:
    start, actors, alive = SCENARIOS[scenario]
    preemptions = max(PREEMPTIONS - (way in LESS), 0)
    report = explore(start(way), actors(way), way, alive, 1, preemptions)
    print(f"{scenario}, {way}: at most {preemptions} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(preemptions, 3)] // 2


def starving(way: str, crashes: int, preemptions: int) -> Report:
    """One shares it and stays; one waits to have it alone; another would join."""
    actors = (waiter("W", W, way), joiner("A", A, way), joiner("B", B, way))
    world = shared_by(way, L, lined=True)
    names = {f"process {actor.name}" for actor in actors}
    world = world._replace(alive=frozenset(map(key, (W, A, B, L))) | names, readers=frozenset({(key(L), 1)}), top=1)
    return Explorer(actors, lambda _: None, preemptions).explore(world, crashes)


@pytest.mark.parametrize("way", ["posix", "advisory"])
def test_who_waits_to_have_it_alone_is_not_passed_by(way: str) -> None:
    preemptions = max(PREEMPTIONS - 1, 0)
    report = starving(way, 1, preemptions)
    print(f"{way}: at most {preemptions} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(preemptions, 3)] // 2


def joins_whoever_holds(self: Sharing, name: str, me: Holder, note: str, share: Share) -> Won | Held:
    """Without a look at who holds it: whoever does is left out."""
    head = self.backend.read(name)
    kept = head.lease.readers if head.lease else ()
    mine = Reader(*me, head.generation + 1, share=share.word)
    new = shared_lease(name, (*kept, mine), len(kept))
    if self._publish(head.generation, head.lease, new, me):
        return Won(new)
    return Held(new, Verdict(Liveness.ALIVE, "lost"))


def the_dead_live(self: Judging, lease: Lease, me: Holder, verdicts: Verdicts | None) -> tuple[Lease, Standing, Verdict]:
    mine = Holder(*lease[1:3]) == me
    return lease, Standing.OURS if mine else Standing.HELD, Verdict(Liveness.ALIVE, "it is shared")


def leaves_by_what_was_read_before(self: Sharing, name: str, leaves: Callable[[Reader], bool]) -> Released | None:
    """Who joined between the two looks is left out with him who leaves."""
    old = self.backend.read(name).lease
    head = self.backend.read(name)
    if old is None or head.lease is None:
        return None
    rest = tuple(each for each in old.readers if not leaves(each))
    after = shared_lease(name, rest) if rest else None
    return Released(name, 1) if self.backend.advance(name, Judged(head.generation, head.lease), after) else None


def never_leaves(self: Sharing, name: str, leaves: Callable[[Reader], bool]) -> Released:
    return Released(name, self.backend.read(name).generation)


def nobody_waits(self: Sharing, name: str) -> Registration | None:
    return None


FAULTS: dict[str, tuple[str, object, str, object, set[str]]] = {
    "one joins beside one who holds it alone": (
        "two who share it, and one who wants it alone",
        *(Sharing, "_claim_shared", joins_whoever_holds, {TWO_HOLDERS, ROBBED, GENERATION}),
    ),
    "one who is dead keeps others out": (
        "two who want it alone, and one who has died while he shared it",
        *(Judging, "_judge_shared", the_dead_live, {STUCK}),
    ),
    "one who leaves takes another along": (
        "two who share it, and one who wants it alone",
        *(Sharing, "_leave", leaves_by_what_was_read_before, {TWO_HOLDERS, ROBBED, STUCK}),
    ),
    "a leave is lost": ("two threads of one session", *(Sharing, "_leave", never_leaves, {STUCK})),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_known_fault_put_back_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, owner, name, replacement, kinds = FAULTS[fault]
    start, actors, alive = SCENARIOS[scenario]
    world = start("posix")  # By what we ship, before it is broken.
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(Found) as found:
        explore(world, actors("posix"), "posix", alive, 0, FINDS)
    assert found.value.kind in kinds, str(found.value)


def test_that_who_waits_is_passed_by_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_by("posix", L, lined=True)
    monkeypatch.setattr(Sharing, "_first_alone", nobody_waits)
    with pytest.raises(Found) as found:
        starving("posix", 0, FINDS - 1)
    assert found.value.kind == OVERTAKEN, str(found.value)
