"""The real pruning of a name on a scripted filesystem, in all interleavings: no number twice, and no holder vanishes.

The laws, beside those of claims: what a reader is told only grows; a holder's generation is current while it holds; and
after each end a sweep leaves nothing of what was taken away. The floors of single names are not there (see
`Recorded.floor`): the common one has to do alone.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest

from looop_portable.backends.directory import pruning
from looop_portable.errors import Unavailable
from looop_portable.ledger.floors import Floors
from looop_portable.ledger.numbers import highest
from looop_portable.ledger.pruning import ENDS, Common
from looop_portable.protocol.outcomes import Released, Won
from looop_portable.protocol.records import Holder, record_of
from looop_portable.testing.explorer.scripted import Recorded
from looop_portable.testing.explorer.search import Actor, Explorer, Found, Report, run
from looop_portable.testing.explorer.world import GENERATION, OUT_OF_STEP, ROBBED, TWO_HOLDERS, Violation, World

from .test_claims_explored import EMPTY, LOOOP, NAME, A, B, claimer, claims_of, key, looop, nobody_is_stuck, reaper
from .test_waiting_explored import LINED, waiter

PREEMPTIONS = int(os.environ.get("EXPLORER_PREEMPTIONS", "2"))
FINDS = 2
"""How many preemptions find every fault that is put back."""
LEDGER = "/d/claims/.ledger"
C = Holder("w6", "c")
WAYS = ["posix", "advisory in place"]
ALIKE = ["posix, one name", "advisory", "windows", "windows by renaming"]
"""What differs there is how a generation is published and shown, which pruning has no part in: one scenario tries that."""
LESS = {"posix, one name", "advisory", "advisory in place", "windows by renaming"}
"""As of claims: explored with one preemption less in every run."""


def pruner(name: str, way: str) -> Actor:
    """Prunes what is free, however young."""

    def body(files: Recorded) -> None:
        failed = claims_of(files, 2, way).prune(0).failed
        assert not failed, failed

    return Actor(name, body)


def reader(name: str, way: str) -> Actor:
    """Shows the name twice: the number does not go back."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        before = claims.show(NAME).generation
        after = claims_of(files, 2, way).show(NAME).generation
        if after < before:
            raise Violation(GENERATION, f"{name} was shown {before}, and then {after}")

    return Actor(name, body)


def checker(name: str, me: Holder, way: str) -> Actor:
    """Claims, asks whether it still holds, and releases."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        outcome = claims.claim(NAME, me)
        if isinstance(outcome, Won):
            files.ask("won", key(me), str(outcome.generation))
            current = claims_of(files, 2, way).check(NAME, outcome.generation).current
            files.ask("leaves", key(me))
            if not current or not isinstance(claims.release(NAME, me), Released):
                files.ask("robbed", key(me))

    return Actor(name, body, (key(me),))


@functools.cache
def free(way: str) -> World:
    """Three have held it, one after the other; so there are numbers that have been removed."""
    world = EMPTY._replace(alive=frozenset({key(C)}))
    return run(claimer("C", C, way, rounds=3), world)._replace(holders=frozenset())


@functools.cache
def pruned(way: str) -> World:
    """The same, and then it was pruned."""
    world = run(pruner("F", way), free(way))
    assert not [path for path, _ in world.files if path.startswith(f"{LEDGER}/{NAME}")]
    return world


@functools.cache
def left(way: str) -> World:
    """The same, by one that crashed before it took the directory away."""

    def body(files: Recorded) -> None:
        ledger = claims_of(files, 2, way).backend.ledger  # type: ignore[attr-defined]
        generation, common = ledger.head(NAME)[0], ledger.floors.common
        common.rise(generation + 2)
        assert ledger.advance(NAME, generation, {**record_of(None), ENDS: common.announce()})

    return run(Actor("F", body), free(way))


def new(way: str) -> World:
    """It was never claimed."""
    return EMPTY


def slow(actor: Actor) -> Actor:
    """Others come between the looking up of a path in the ledger and its use."""

    def body(files: Recorded) -> None:
        files.slow = LEDGER
        actor.body(files)

    return actor._replace(body=body)


def patient(actor: Actor) -> Actor:
    """One that cannot answer goes home."""

    def body(files: Recorded) -> None:
        with suppress(Unavailable, AssertionError):
            actor.body(files)

    return actor._replace(body=body)


class Scenario(NamedTuple):
    """Who runs, in some way; which sessions are alive; and what there was before. `less`: so many preemptions less."""

    actors: Callable[[str], tuple[Actor, ...]]
    alive: tuple[Holder, ...]
    before: Callable[[str], World] = free
    less: int = 0

    def explore(self, way: str, crashes: int, preemptions: int = PREEMPTIONS, *, broken: bool = False) -> Report:
        """`broken`: who cannot answer goes home."""
        world, actors = self.before(way), tuple(map(slow, self.actors(way)))
        alive = frozenset(map(key, self.alive)) | {f"process {actor.name}" for actor in actors}
        world = world._replace(alive=alive, dirs=world.dirs | LINED.dirs)
        actors = tuple(map(patient, actors)) if broken else actors
        return Explorer(actors, lambda end: nothing_is_left(end, way), preemptions).explore(world, crashes)


def nothing_is_left(world: World, way: str) -> None:
    nobody_is_stuck(world, way)
    swept = run(reaper("S", way), world)
    paths = [path.removeprefix(f"{LEDGER}/") for path in (*swept.dirs, *(path for path, _ in swept.files))]
    if left := [path for path in paths if re.match(r"\.end-|\.dir-|\.pruned/[0-9]+/", path)]:
        raise Violation(OUT_OF_STEP, f"after a sweep there are {left}")


ONE = "one prunes, and one claims"
SLEEPER = "one prunes, and of two that claim one may sleep until its number was removed"
SCENARIOS = {
    ONE: Scenario(lambda way: (pruner("D", way), claimer("A", A, way, rounds=2)), (A,)),
    "one prunes, and two claim": Scenario(
        lambda way: (pruner("D", way), claimer("A", A, way), claimer("B", B, way)), (A, B), less=1
    ),
    SLEEPER: Scenario(lambda way: (claimer("A", A, way), claimer("B", B, way, rounds=2), pruner("D", way)), (A, B), less=1),
    "two prune, and one claims": Scenario(
        lambda way: (pruner("D", way), pruner("E", way), claimer("A", A, way)), (A,), less=1
    ),
    "of a name that nobody ever claimed": Scenario(
        lambda way: (pruner("D", way), claimer("A", A, way), claimer("B", B, way)), (A, B), new, less=1
    ),
    "of a name that was pruned before": Scenario(
        lambda way: (pruner("D", way), claimer("A", A, way), claimer("B", B, way)), (A, B), pruned, less=1
    ),
    "of a name that another was about to prune": Scenario(
        lambda way: (pruner("D", way), claimer("A", A, way), claimer("B", B, way)), (A, B), left, less=1
    ),
    "one prunes, one reaps, and one claims": Scenario(
        lambda way: (pruner("D", way), reaper("R", way), claimer("A", A, way)), (A,), less=1
    ),
    "one prunes, one reads, and one claims": Scenario(
        lambda way: (pruner("D", way), reader("V", way), claimer("A", A, way)), (A,), less=1
    ),
    "one prunes, and one asks whether it holds": Scenario(lambda way: (pruner("D", way), checker("A", A, way)), (A,)),
    "one prunes, one waits, and one claims": Scenario(
        lambda way: (pruner("D", way), waiter("A", A, way), claimer("B", B, way)), (A, B), less=1
    ),
}
SHARED = {
    "looop, one that prunes, and one that claims": Scenario(
        lambda way: (looop("L", LOOOP), pruner("D", way), claimer("A", A, way)), (A, LOOOP), less=1
    ),
}
LEAST = (10, 100, 1_000, 1_000)


@pytest.mark.parametrize(
    ("scenario", "way"), [*((each, way) for each in SCENARIOS for way in WAYS), *((ONE, way) for way in ALIKE)]
)
def test_no_schedule_and_no_crash_breaks_a_law(scenario: str, way: str) -> None:
    preemptions = max(PREEMPTIONS - (way in LESS) - SCENARIOS[scenario].less, 0)
    report = SCENARIOS[scenario].explore(way, 1, preemptions)
    print(f"{scenario}, {way}: at most {preemptions} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(preemptions, 3)]


@pytest.mark.parametrize("way", ["advisory", "advisory in place"])
@pytest.mark.parametrize("scenario", SHARED)
def test_nor_does_one_with_looop_itself(scenario: str, way: str) -> None:
    preemptions = max(PREEMPTIONS - SHARED[scenario].less, 0)
    report = SHARED[scenario].explore(way, 1, preemptions)
    print(f"{scenario}, {way}: at most {preemptions} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(preemptions, 3)]


def taken_then_raised(store: pruning.Store, found: pruning._Found) -> str:
    """The floor is raised after the directory was taken away."""
    common = store.ledger.floors.common
    nonce = common.announce()
    try:
        if not pruning._ends(store.ledger, found, nonce):
            return ""
        common.take_away(found.key, nonce)
    except FileNotFoundError:
        return ""
    common.rise(found.generation + 2)
    return nonce


def taken_as_judged(store: pruning.Store, found: pruning._Found) -> str:
    """By what was seen before: no generation says that the directory ends."""
    common = store.ledger.floors.common
    common.rise(found.generation + 2)
    nonce = common.announce()
    common.take_away(found.key, nonce)
    return nonce


def record_by_record(store: pruning.Store, found: pruning._Found) -> str:
    """The directory is emptied where it stands."""
    common = store.ledger.floors.common
    common.rise(found.generation + 2)
    if pruning._ends(store.ledger, found, common.announce()):
        store.ledger.forget(found.key)
    return ""


def nothing_cleared(self: Common, now: int, least: int) -> None:
    """What was staged by a lower floor can be renamed by whoever has looked its path up."""


def nobody_asked(self: Common, nonce: str) -> bool:
    """What ends is built upon while its directory can be taken away."""
    return True


def not_there(self: Floors, target: int, names: list[str]) -> bool:
    """A directory that is being emptied is taken for one with nothing above."""
    below = any(name.isdecimal() and int(name) < target for name in names)
    return highest(names) == target and (self.on or below)


def in_its_place(self: Floors, key: str, target: int, shared: int) -> None:
    """Whoever misses the directory makes it, whatever he saw."""
    self._files.mkdir(f"{self._root}/{key}", shared=shared)


def by_any_floor(self: Common, floor: int, shared: int) -> str:
    """What is made goes by no floor that may have been raised since."""
    path = f"{self._root}/.dir-{self._files.nonce()}"
    self._files.mkdir(path, shared=shared)
    return path


FAULTS: dict[str, tuple[str, object, str, object]] = {
    "the floor is raised afterwards": ("one prunes, and two claim", pruning, "_prune", taken_then_raised),
    "no last generation": ("one prunes, and two claim", pruning, "_prune", taken_as_judged),
    "what ends is built upon": ("one prunes, and two claim", Common, "void", nobody_asked),
    "what ends is not seen": ("one prunes, and two claim", Floors, "see", lambda *_: None),
    "record by record": ("one prunes, and two claim", pruning, "_prune", record_by_record),
    "made in its place": ("of a name that nobody ever claimed", Floors, "make_directory", in_its_place),
    "what was staged below is left": ("of a name that nobody ever claimed", Common, "_clear_below", nothing_cleared),
    "staged whatever the floor": ("of a name that was pruned before", Common, "stage", by_any_floor),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_put_back_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, owner, name, replacement = FAULTS[fault]
    SCENARIOS[scenario].before("posix")  # By what we ship, before it is broken.
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(Found) as found:
        SCENARIOS[scenario].explore("posix", crashes=1, preemptions=FINDS, broken=True)
    assert found.value.kind in {TWO_HOLDERS, ROBBED, GENERATION}, str(found.value)


def test_a_directory_that_is_being_emptied_is_not_taken_for_one_with_nothing_above(monkeypatch: pytest.MonkeyPatch) -> None:
    free("posix")
    monkeypatch.setattr(Floors, "are_missed", not_there)
    with pytest.raises(Found) as found:
        SCENARIOS[SLEEPER].explore("posix", crashes=0, preemptions=FINDS + 1, broken=True)
    assert found.value.kind in {TWO_HOLDERS, ROBBED, GENERATION}, str(found.value)
