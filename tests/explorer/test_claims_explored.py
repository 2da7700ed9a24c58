"""The real claim, release and reap on a scripted filesystem: all interleavings, crashes, and known faults put back."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import pytest

from looop_portable.backends.directory.adoption import Adoption, Seen
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.backends.directory.policies import ADVISORY, POSIX, WINDOWS
from looop_portable.claims import judging as claims_module
from looop_portable.claims.gate import Claims
from looop_portable.ledger.ledger import NOTHING, Ledger
from looop_portable.ledger.publishing import Publisher
from looop_portable.ledger.stamp import Policy
from looop_portable.protocol import standings
from looop_portable.protocol.codec import decode, encode, number, whole
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.outcomes import Released, Renewed, Won
from looop_portable.protocol.records import Holder, Lease
from looop_portable.testing.explorer.scripted import Recorded, ScriptedSessions
from looop_portable.testing.explorer.search import Actor, Explorer, Found, Report, run
from looop_portable.testing.explorer.world import GENERATION, OUT_OF_STEP, ROBBED, STUCK, TWO_HOLDERS, Violation, World

from .looop_actor import LooopActor

NAME = "x"
CORPSE = Holder("w1", "old")
EMPTY = World(dirs=frozenset({"/d", "/d/claims", "/d/claims/.ledger", "/d/sessions"}))


SHOWN = f"/d/claims/{NAME}.json"


class Way(NamedTuple):
    """What a backend can do, and what the directory's stamp says."""

    policy: Policy
    stamp: bytes


WAYS = {
    "posix": Way(POSIX, b'{"protocol": 1, "links": true, "guard": null}\n'),
    "posix, one name": Way(POSIX, b'{"protocol": 1, "links": true, "guard": null, "aliases": false}\n'),
    "advisory": Way(ADVISORY, b'{"protocol": 1, "links": true, "guard": "flock"}\n'),
    "advisory in place": Way(ADVISORY, b'{"protocol": 1, "links": false, "guard": "flock"}\n'),
    "windows": Way(WINDOWS, b'{"protocol": 1, "links": true, "guard": null}\n'),
    "windows by renaming": Way(WINDOWS, b'{"protocol": 1, "links": false, "guard": "windows"}\n'),
}


def key(me: Holder) -> str:
    return f"{me.session}/{me.incarnation}"


def claims_of(files: Recorded, keep: int, way: str) -> Claims:
    files.stamp = WAYS[way].stamp
    backend = DirectoryBackend("/d", WAYS[way].policy, files, keep)
    return Claims(backend, None, ScriptedSessions(files), clock=lambda: "then")  # type: ignore[arg-type]


def claimer(name: str, me: Holder, way: str = "posix", *, rounds: int = 1) -> Actor:
    """Claims and releases, `rounds` times; says so to the oracle while it holds."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, 2, way)
        for _ in range(rounds):
            outcome = claims.claim(NAME, me)
            if isinstance(outcome, Won | Renewed):
                files.ask("won", key(me), str(outcome.generation))
                files.ask("leaves", key(me))
                if not isinstance(claims.release(NAME, me), Released):
                    files.ask("robbed", key(me))

    return Actor(name, body, (key(me),))


def holder_only(name: str, me: Holder, way: str = "posix") -> Actor:
    """Claims, and never releases: what it leaves is what a session leaves that dies while it holds."""

    def body(files: Recorded) -> None:
        claims_of(files, 2, way).claim(NAME, me)

    return Actor(name, body, (key(me),))


def reaper(name: str = "R", way: str = "posix") -> Actor:
    """One whole sweep: judging, releasing, sweeping private files, mending."""

    def body(files: Recorded) -> None:
        claims_of(files, 2, way).reap()

    return Actor(name, body)


def looop(name: str, me: Holder) -> Actor:
    return LooopActor(NAME, me).actor(name)


@functools.cache
def held_by_a_corpse(way: str) -> World:
    """The claim is held by a session that has died."""
    return run(holder_only("C", CORPSE, way), EMPTY)


def nobody_is_stuck(world: World, way: str = "posix") -> None:
    """When all is over, a new session takes the claim, unless a live one still holds; and a reaper puts all in step."""
    probe = Holder("probe", "1")
    seen: list[object] = []

    def ask(files: Recorded) -> None:
        seen[:] = [claims_of(files, 2, way).claim(NAME, probe)]

    world = world._replace(alive=world.alive | {key(probe)})
    held = run(Actor("P", ask), world)
    if not isinstance(seen[0], Won):
        raise Violation(STUCK, f"a new session was answered {seen[0]}")
    if seen[0].generation <= world.top:
        raise Violation(GENERATION, f"a new session won generation {seen[0].generation}, after {world.top}")
    swept = run(reaper("S", way), held)
    shown = [content for path, content in swept.files if path == SHOWN]
    private = [path for path, _ in swept.files if path.startswith(f"/d/claims/.ledger/{NAME}/.")]
    if [number(decode(text.encode()), "generation") for text in shown] != [seen[0].generation] or private:
        raise Violation(OUT_OF_STEP, f"after a sweep there are {shown} and {private}")


A, B, REUSED = Holder("w2", "a"), Holder("w3", "b"), Holder("w1", "new")
PREEMPTIONS = int(os.environ.get("EXPLORER_PREEMPTIONS", "2"))
FINDS = 2
"""How many preemptions find every fault that is put back."""


class Scenario(NamedTuple):
    """Who runs, in some way, and which sessions are alive."""

    actors: Callable[[str], tuple[Actor, ...]]
    alive: tuple[Holder, ...]
    corpse: bool = True

    def explore(self, way: str, crashes: int, preemptions: int = PREEMPTIONS) -> Report:
        world = (held_by_a_corpse(way) if self.corpse else EMPTY)._replace(alive=frozenset(map(key, self.alive)))
        return Explorer(self.actors(way), lambda end: nobody_is_stuck(end, way), preemptions).explore(world, crashes)


SCENARIOS = {
    "two claimers, a reaper and a corpse": Scenario(
        lambda way: (claimer("A", A, way), claimer("B", B, way), reaper("R", way)), (A, B)
    ),
    "the corpse's id is used anew": Scenario(
        lambda way: (claimer("A", REUSED, way), claimer("B", B, way), reaper("R", way)), (REUSED, B)
    ),
    "the corpse's shell still runs": Scenario(
        lambda way: (claimer("A", REUSED, way), claimer("O", CORPSE, way), claimer("B", B, way)), (REUSED, B)
    ),
    "a slow claimer, and pruning": Scenario(lambda way: (claimer("A", A, way, rounds=3), claimer("B", B, way)), (A, B)),
    "one that recalls what it has let go, and another": Scenario(
        lambda way: (claimer("A", A, way, rounds=3), claimer("B", B, way, rounds=2)), (A, B)
    ),
    "a claim that nobody ever made": Scenario(
        lambda way: (claimer("A", A, way), claimer("B", B, way), reaper("R", way)), (A, B), corpse=False
    ),
}
LOOOP = Holder("w4", "")
SHARED = {
    "looop, a claimer, a reaper and a corpse": Scenario(
        lambda way: (looop("L", LOOOP), claimer("A", A, way), reaper("R", way)), (A, LOOOP)
    ),
    "looop, two claimers and a corpse": Scenario(
        lambda way: (looop("L", LOOOP), claimer("A", A, way), claimer("B", B, way)), (A, B, LOOOP)
    ),
    "looop of a dead session, and two claimers": Scenario(
        lambda way: (looop("L", LOOOP), claimer("A", A, way), claimer("B", B, way)), (A, B)
    ),
    "two of looop, and a claimer": Scenario(
        lambda way: (looop("L", LOOOP), looop("M", Holder("w5", "")), claimer("A", A, way)), (A, LOOOP, Holder("w5", ""))
    ),
}
"""With looop itself, which knows the projection and its guard, and nothing else."""

MIXED = {
    "a slow claimer on posix, and pruning on windows": Scenario(
        lambda way: (claimer("A", A, "posix", rounds=3), claimer("B", B, "windows")), (A, B)
    ),
    "one on posix, one on windows, a reaper and a corpse": Scenario(
        lambda way: (claimer("A", A, "posix"), claimer("B", B, "windows"), reaper("R", "posix")), (A, B)
    ),
}
LESS = {"posix, one name", "advisory", "advisory in place", "windows", "windows by renaming"}
"""Ways that are explored with one preemption less in every run: they have more steps, or a guard makes one of most, or the
steps of posix."""
LEAST = (100, 1_000, 10_000, 10_000)
"""How many schedules there are at least, with so many preemptions and a crash."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_schedule_and_no_crash_breaks_a_law(scenario: str, way: str) -> None:
    preemptions = max(PREEMPTIONS - (way in LESS), 0)
    report = SCENARIOS[scenario].explore(way, 1, preemptions)
    print(f"{scenario}, {way}: at most {preemptions} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(preemptions, 3)]


@pytest.mark.parametrize("way", ["advisory", "advisory in place"])
@pytest.mark.parametrize("scenario", SHARED)
def test_nor_does_one_with_looop_itself(scenario: str, way: str) -> None:
    preemptions = max(PREEMPTIONS - (way != "advisory"), 0)
    report = SHARED[scenario].explore(way, 1, preemptions)
    print(f"{scenario}, {way}: at most {preemptions} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(preemptions, 3)]


@pytest.mark.parametrize("scenario", MIXED)
def test_nor_does_one_of_two_backends_on_one_directory(scenario: str) -> None:
    report = MIXED[scenario].explore("posix", crashes=1)
    print(f"{scenario}: at most {PREEMPTIONS} preemptions and 1 crash: {report}")
    assert report.schedules >= LEAST[min(PREEMPTIONS, 3)]


def publish_with_replace(self: Publisher, written: list[str], public: str, data: bytes, private: str) -> str:
    self._files.replace(private, public)
    return private


def in_place(
    self: Ledger, key: str, expected: int, record: Mapping[str, object], shown_as: str = "", first: bool = False
) -> bool:
    """A lease that can be seen before it is complete."""
    target = expected + 1
    try:
        self.files.create(f"{self.root}/{key}/{target}", encode({**record, "generation": target}))
    except FileExistsError:
        return False
    return True


def remove_then_create(
    self: Ledger, key: str, expected: int, record: Mapping[str, object], shown_as: str = "", first: bool = False
) -> bool:
    """As looop 0.14.0 reclaims: the stale lease is removed, whoever's it is by then, and its name created anew."""
    path = f"{self.root}/{key}/1"
    self.files.remove(path)
    if "released" in record:
        return True
    private = f"{self.root}/{key}/.1-{self.files.nonce()}"
    self.files.create(private, encode({**record, "generation": 1}))
    try:
        self.files.link(private, path)
    except FileExistsError:
        return False
    return True


def by_id_alone(lease: Lease | None, me: Holder) -> bool:
    return lease is not None and lease.session == me.session


def cannot_release(self: Ledger, key: str, expected: int, *, moves: bool = False) -> bool:
    raise PermissionError(1, "scripted")


def orphan_of_ours(lease: Lease | None, me: Holder, liveness: Liveness) -> standings.Standing:
    if lease and lease.session == me.session and not standings.is_ours(lease, me):
        return standings.Standing.ORPHANED
    return standings.judge(lease, me, liveness)


def vanished_is_published(self: Publisher, written: list[str], public: str, data: bytes, private: str) -> str:
    with suppress(FileNotFoundError):
        self._files.link(private, public)
    return private


EXCLUSION = {TWO_HOLDERS, ROBBED, GENERATION}

Changes = list[tuple[object, str, object]]

FAULTS: dict[str, tuple[str, Changes]] = {
    "no second look": ("a slow claimer, and pruning", [(Ledger, "_above", lambda *_: 0)]),
    "no second look at what is recalled": (
        "one that recalls what it has let go, and another",
        [(Ledger, "_above", lambda *_: 0)],
    ),
    "publish with replace": (
        "two claimers, a reaper and a corpse",
        [(Publisher, "_publish", publish_with_replace)],
    ),
    "remove, then create": (
        "two claimers, a reaper and a corpse",
        [(Ledger, "advance", remove_then_create), (Ledger, "release", cannot_release)],
    ),
    "a lease visible before it is complete": (
        "two claimers, a reaper and a corpse",
        [(Ledger, "advance", in_place)],
    ),
    "an id without its incarnation": (
        "the corpse's id is used anew",
        [(claims_module, "is_ours", by_id_alone), (standings, "is_ours", by_id_alone)],
    ),
    "our own id, alive in another incarnation, taken for an orphan": (
        "the corpse's shell still runs",
        [(claims_module, "judge", orphan_of_ours)],
    ),
    "a private file that vanished taken for a published one": (
        "two claimers, a reaper and a corpse",
        [(Publisher, "_publish", vanished_is_published)],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_known_fault_put_back_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, changes = FAULTS[fault]
    held_by_a_corpse("posix")  # By what we ship, before it is broken.
    for owner, name, replacement in changes:
        monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(Found) as found:
        SCENARIOS[scenario].explore("posix", crashes=0, preemptions=FINDS)
    assert found.value.kind in EXCLUSION, str(found.value)


def empty_is_a_corpses(self: Ledger, key: str) -> tuple[int, bytes]:
    """As `Ledger.head` in place, and without the guard."""
    top, data = below, found = self._head(key)
    while below and not whole(found):
        below -= 1
        found = self.files.read(f"{self.root}/{key}/{below}") or b"" if below else NOTHING
    return top, found if top else data


def test_an_empty_generation_is_a_corpses_only_for_who_holds_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    held_by_a_corpse("advisory in place")
    monkeypatch.setattr(Ledger, "head", empty_is_a_corpses)
    with pytest.raises(Found) as found:
        SCENARIOS["two claimers, a reaper and a corpse"].explore("advisory in place", crashes=0, preemptions=FINDS)
    assert found.value.kind in EXCLUSION, str(found.value)


def test_what_looop_did_since_we_looked_is_looked_at_under_its_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    held_by_a_corpse("advisory")
    monkeypatch.setattr(Adoption, "seen", lambda *_: Seen())
    with pytest.raises(Found) as found:
        SHARED["looop, two claimers and a corpse"].explore("advisory", crashes=0, preemptions=FINDS)
    assert found.value.kind in EXCLUSION, str(found.value)
