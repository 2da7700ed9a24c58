"""Those who wait, on a scripted filesystem: all interleavings and crashes of the real code, and known faults put back.

Each looks so many times, and then waits no more. Time stands still, so that nobody misses a turn; for the hurried it flies,
so that every turn is missed: whoever is ahead loses its place at the second look that finds the claim free.

The laws, beside those of claims: whoever came when another's ticket was there does not win while that one lives and waits;
nobody removes the ticket of one that lives (the hurried may); and after each end a newcomer who looks once has the claim.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pytest

from looop_portable.backends.directory.tickets import TicketFiles
from looop_portable.claims.gate import Claims
from looop_portable.protocol.codec import encode
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Held, Released, Renewed, Won
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.testing.explorer.scripted import Recorded, ScriptedEvidence
from looop_portable.testing.explorer.search import Actor, Explorer, Found, Report, run
from looop_portable.testing.explorer.world import OVERTAKEN, ROBBED, STUCK, TWO_HOLDERS, Violation, World
from looop_portable.waiting.attempts import claim_any
from looop_portable.waiting.turns import Free, Turns
from looop_portable.waiting.waiter import Waiting
from looop_portable.waiting.waits import Pending

from .test_claims_explored import EMPTY, NAME, claims_of, key

PREEMPTIONS = max(int(os.environ.get("EXPLORER_PREEMPTIONS", "2")) - 1, 0)
"""One less than for claims: a waiter has more steps."""
FINDS = 1
"""How many preemptions find every fault that is put back."""

THIS = sys.modules[__name__]
QUEUE = f"/d/claims/.queue/{NAME}"
LINED = EMPTY._replace(dirs=EMPTY.dirs | {"/d/claims/.queue", QUEUE})
H, A, B, D = Holder("w1", "h"), Holder("w2", "a"), Holder("w3", "b"), Holder("w4", "d")
SLOTS = (f"{NAME}#1", f"{NAME}#2")


class SilentWatcher:
    """Nothing wakes: who looks, and when, is the explorer's."""

    def watch(self, paths: Iterable[str]) -> bool:
        return False

    def follow(self, process: Registration | None) -> bool:
        return False

    def forget(self) -> None:
        """Nothing has woken."""

    def wake(self) -> None:
        """Nobody sleeps."""


def waiting_of(claims: Claims, me: Holder, wanted: tuple[str, ...], hurried: bool) -> Waiting:
    now = [0.0]

    def clock() -> float:
        now[0] += 100.0 * hurried
        return now[0]

    def attempt() -> Won | Renewed | Held:
        return claim_any(claims, wanted, me)

    return Waiting(claims, NAME, wanted, attempt, SilentWatcher(), clock=clock, chance=lambda: 0.5)


def told(claim: str, me: Holder) -> str:
    """The word for a holder: with several claims, of which."""
    return key(me) if claim == NAME else f"{claim}|{key(me)}"


def lives(name: str, me: Holder) -> tuple[str, ...]:
    return (f"process {name}", key(me), *(told(slot, me) for slot in SLOTS))


def waiter(
    name: str, me: Holder, way: str, looks: int = 2, wanted: tuple[str, ...] = (NAME,), hurried: bool = False
) -> Actor:
    """Looks up to `looks` times; holds what it has won, and lets it go; else it leaves the line."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        assert claims.backend.tickets
        before = [] if hurried else [f"{QUEUE}/{ticket}" for ticket in claims.backend.tickets.line(NAME)]
        waiting = waiting_of(claims, me, wanted, hurried)
        for _ in range(looks):
            outcome = waiting.look()
            if isinstance(outcome, Pending):
                continue
            lease = outcome.lease
            files.ask("won", told(lease.name, me), str(lease.generation) if wanted == (NAME,) else "0")
            if before:
                files.ask("overtakes", name, *before)
            files.ask("leaves", told(lease.name, me))
            if not isinstance(claims.release_lease(lease), Released):
                files.ask("robbed", key(me))
            return
        waiting.stop()

    return Actor(name, body, lives(name, me))


def holder(name: str, me: Holder, way: str, claim: str = NAME) -> Actor:
    """It has won, and lets go."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        files.ask("leaves", told(claim, me))
        if not isinstance(claims.release(claim, me), Released):
            files.ask("robbed", key(me))

    return Actor(name, body, lives(name, me))


def reaper(way: str) -> Actor:
    def body(files: Recorded) -> None:
        claims_of(files, 2, way).reap()

    return Actor("R", body)


def claimed(world: World, way: str, me: Holder, claim: str = NAME) -> World:
    world = run(Actor("C", lambda files: claims_of(files, 2, way).claim(claim, me)), world)
    return world._replace(holders=world.holders | {(told(claim, me), 1 if claim == NAME else 0)}, top=1)


def left_by(world: World, way: str, name: str) -> World:
    """The ticket of a process that is gone."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        assert claims.backend.tickets
        claims.backend.tickets.take(NAME, ScriptedEvidence(files).this_process())

    return run(Actor(name, body), world)


def left_by_nobody_knows_whom(world: World, way: str, name: str) -> World:
    """The ticket of one in another container, say, whether it lives or not."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        assert claims.backend.tickets
        claims.backend.tickets.take(NAME, Registration("", "", 0))

    return run(Actor(name, body), world)


def nobody_is_in_the_way(world: World, way: str, wanted: tuple[str, ...]) -> None:
    """When all is over, a newcomer who looks once gets what is free; and a reaper leaves no ticket."""
    probe = Holder("probe", "1")
    seen: list[object] = []

    def look(files: Recorded) -> None:
        seen[:] = [waiting_of(claims_of(files, 2, way), probe, wanted, hurried=False).look()]

    actor = Actor("P", look, lives("P", probe))
    world = world._replace(alive=world.alive | set(actor.lives))
    won = run(actor, world)
    if not isinstance(seen[0], Won):
        raise Violation(STUCK, f"a newcomer was answered {seen[0]}")
    swept = run(reaper(way), won)
    left = [path for path, _ in swept.files if path.startswith("/d/claims/.queue/")]
    if left:
        raise Violation(STUCK, f"after a sweep there are {left}")


class Scenario(NamedTuple):
    """Who runs, in some way, in which world, and who lives."""

    actors: Callable[[str], tuple[Actor, ...]]
    world: Callable[[str], World]
    wanted: tuple[str, ...] = (NAME,)
    patient: bool = True

    def explore(self, way: str, crashes: int, preemptions: int = PREEMPTIONS) -> Report:
        actors = self.actors(way)
        alive = frozenset(word for actor in actors for word in actor.lives)
        world = self.world(way)._replace(alive=alive, patient=self.patient)
        return Explorer(actors, lambda end: nobody_is_in_the_way(end, way, self.wanted), preemptions).explore(
            world, crashes
        )


@functools.cache
def held(way: str) -> World:
    return claimed(LINED, way, H)


@functools.cache
def held_and_a_ticket_of_the_dead(way: str) -> World:
    return left_by(held(way), way, "X")


@functools.cache
def held_by_the_dead(way: str) -> World:
    return run(Actor("C", lambda files: claims_of(files, 2, way).claim(NAME, D)), LINED)


@functools.cache
def a_slot_is_held(way: str) -> World:
    return claimed(LINED, way, H, SLOTS[0])


SCENARIOS = {
    "a holder that lets go, and two waiters": Scenario(
        lambda way: (holder("H", H, way), waiter("A", A, way), waiter("B", B, way)), held
    ),
    "a waiter behind one that is gone, a reaper and a holder": Scenario(
        lambda way: (holder("H", H, way), waiter("A", A, way), reaper(way)), held_and_a_ticket_of_the_dead
    ),
    "two waiters behind one that is gone": Scenario(
        lambda way: (waiter("A", A, way), waiter("B", B, way)), lambda way: left_by(held_by_the_dead(way), way, "X")
    ),
    "the claim of one that is gone, two waiters and a reaper": Scenario(
        lambda way: (waiter("A", A, way), waiter("B", B, way), reaper(way)), held_by_the_dead
    ),
    "a claim and a line that nobody ever made": Scenario(
        lambda way: (waiter("A", A, way, 1), waiter("B", B, way), reaper(way)), lambda way: EMPTY
    ),
    "two in a hurry": Scenario(
        lambda way: (holder("H", H, way), waiter("A", A, way, hurried=True), waiter("B", B, way, hurried=True)),
        held,
        patient=False,
    ),
    "two in a hurry behind two of which nobody can tell": Scenario(
        lambda way: (waiter("A", A, way, hurried=True), waiter("B", B, way, hurried=True)),
        lambda way: left_by_nobody_knows_whom(left_by_nobody_knows_whom(LINED, way, "X"), way, "Y"),
        patient=False,
    ),
    "two that want one of two slots, of which one is held": Scenario(
        lambda way: (holder("H", H, way, SLOTS[0]), waiter("A", A, way, 2, SLOTS), waiter("B", B, way, 2, SLOTS)),
        a_slot_is_held,
        SLOTS,
    ),
}
LEAST = (60, 1_500, 15_000)
"""How many schedules there are at least, with so many preemptions and a crash."""


@pytest.mark.parametrize("way", ["posix", "windows"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_schedule_and_no_crash_breaks_a_law_or_leaves_anybody_in_the_way(scenario: str, way: str) -> None:
    report = SCENARIOS[scenario].explore(way, crashes=1)
    print(f"{scenario}, {way}: at most {PREEMPTIONS} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(PREEMPTIONS, 2)]


def live_ones_are_passed(self: ScriptedEvidence, registration: Registration) -> Verdict:
    return Verdict(Liveness.DEAD, "scripted")


def dead_ones_are_not(self: ScriptedEvidence, registration: Registration) -> Verdict:
    return Verdict(Liveness.ALIVE, "scripted")


def by_position(self: TicketFiles, claim: str, ticket: str) -> None:
    """The first in the line, whoever it is by now."""
    for first in self.line(claim)[:1]:
        self._files.remove(f"{self.directory}/{claim}/{first}")


def seen_before_it_is_complete(self: TicketFiles, claim: str, waiter: Registration) -> str:
    last = max((int(ticket[:12]) for ticket in self.line(claim)), default=0)
    ticket = f"{last + 1:012}-{self._files.nonce()}"
    self._files.create(f"{self.directory}/{claim}/{ticket}", str(waiter._asdict()).replace("'", '"').encode())
    return ticket


def at_the_front(self: TicketFiles, claim: str, waiter: Registration) -> str:
    """With the lowest number instead of the next."""
    ticket = f"{1:012}-{self._files.nonce()}"
    self._files.create(f"{self.directory}/{claim}/.{ticket}", encode(waiter._asdict()))
    self._files.replace(f"{self.directory}/{claim}/.{ticket}", f"{self.directory}/{claim}/{ticket}")
    return ticket


def asks_at_once(self: Waiting) -> tuple[str, Registration | None]:
    assert self._tickets
    self._ticket = self._ticket or self._tickets.take(self._queue, self._evidence.this_process())
    return "", None


def never_misses_its_turn(self: Turns, ours: str, before: Sequence[str], free: Free | None) -> float:
    return 1.0


def stays(self: Waiting, later: str = "") -> None:
    """In the line, when it waits no more."""


def has_it_though_it_is_held(claims: Claims, wanted: tuple[str, ...], me: Holder) -> Won | Renewed | Held:
    """Of slots, the first is taken whoever holds it."""
    head = claims.backend.read(wanted[0])
    lease = Lease(wanted[0], me.session, me.incarnation, head.generation + 1, "then", "host")
    return Won(lease) if claims.backend.advance(wanted[0], head.generation, lease) else claims.claim(wanted[1], me)


TWO, SLOTTED = "a holder that lets go, and two waiters", "two that want one of two slots, of which one is held"
FAULTS: dict[str, tuple[str, int, set[str], object, str, object]] = {
    "a live one ahead is passed, and loses its place": (
        *(TWO, 0, {OVERTAKEN}),
        *(ScriptedEvidence, "examine", live_ones_are_passed),
    ),
    "one that is gone is not passed": (
        *("two waiters behind one that is gone", 0, {STUCK}),
        *(ScriptedEvidence, "examine", dead_ones_are_not),
    ),
    "a place is given back by its number": (TWO, 0, {OVERTAKEN, STUCK}, TicketFiles, "give_back", by_position),
    "a ticket can be seen before it is complete": (TWO, 1, {STUCK}, TicketFiles, "take", seen_before_it_is_complete),
    "whoever comes is the first": (TWO, 0, {OVERTAKEN}, TicketFiles, "take", at_the_front),
    "nobody looks who was before him": (TWO, 0, {OVERTAKEN}, Waiting, "_predecessor", asks_at_once),
    "who stops waiting stays in the line": (TWO, 0, {STUCK}, Waiting, "stop", stays),
    "nobody goes past one that cannot be seen": (
        *("two in a hurry behind two of which nobody can tell", 0, {STUCK}),
        *(Turns, "patience", never_misses_its_turn),
    ),
    "a slot is taken whoever holds it": (SLOTTED, 0, {TWO_HOLDERS, ROBBED}, THIS, "claim_any", has_it_though_it_is_held),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_known_fault_put_back_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, crashes, kinds, owner, name, replacement = FAULTS[fault]
    SCENARIOS[scenario].world("posix")  # By what we ship, before it is broken.
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(Found) as found:
        SCENARIOS[scenario].explore("posix", crashes, FINDS)
    assert found.value.kind in kinds, str(found.value)
