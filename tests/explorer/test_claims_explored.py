"""The real claim, release and reap on a scripted filesystem: all interleavings, crashes, and known faults put back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from looop_portable import claims as claims_module
from looop_portable import protocol
from looop_portable.backends.posix import PosixBackend
from looop_portable.claims import Claims
from looop_portable.lease import Lease, decode, encode, number
from looop_portable.ledger import Ledger
from looop_portable.liveness import Holder, Liveness
from looop_portable.outcomes import Released, Renewed, Won
from looop_portable.testing.explorer import Actor, Explorer, Found, Report, run
from looop_portable.testing.scripted import Recorded, ScriptedSessions
from looop_portable.testing.world import GENERATION, OUT_OF_STEP, ROBBED, STUCK, TWO_HOLDERS, Violation, World

NAME = "x"
CORPSE = Holder("w1", "old")
EMPTY = World(dirs=frozenset({"/d", "/d/claims", "/d/claims/.ledger", "/d/sessions"}))


def key(me: Holder) -> str:
    return f"{me.session}/{me.incarnation}"


def claims_of(files: Recorded, keep: int) -> Claims:
    backend = PosixBackend("/d", files=files, keep=keep)
    return Claims(backend, None, ScriptedSessions(files), clock=lambda: "then")  # type: ignore[arg-type]


def claimer(name: str, me: Holder, *, rounds: int = 1, keep: int = 2) -> Actor:
    """Claims and releases, `rounds` times; says so to the oracle while it holds."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, keep)
        for _ in range(rounds):
            outcome = claims.claim(NAME, me)
            if isinstance(outcome, Won | Renewed):
                files.ask("won", key(me), str(outcome.generation))
                files.ask("leaves", key(me))
                if not isinstance(claims.release(NAME, me), Released):
                    files.ask("robbed", key(me))

    return Actor(name, body, (key(me),))


def holder_only(name: str, me: Holder) -> Actor:
    """Claims, and never releases: what it leaves is what a session leaves that dies while it holds."""

    def body(files: Recorded) -> None:
        claims_of(files, 2).claim(NAME, me)

    return Actor(name, body, (key(me),))


def reaper(name: str = "R", *, keep: int = 2) -> Actor:
    """One whole sweep: judging, releasing, sweeping private files, mending."""

    def body(files: Recorded) -> None:
        claims_of(files, keep).reap()

    return Actor(name, body)


CORPSE_HOLDS = run(holder_only("C", CORPSE), EMPTY)
"""The claim is held by a session that has died."""


def nobody_is_stuck(world: World) -> None:
    """When all is over, a new session takes the claim, unless a live one still holds; and a reaper puts all in step."""
    probe = Holder("probe", "1")
    seen: list[object] = []

    def ask(files: Recorded) -> None:
        seen[:] = [claims_of(files, 2).claim(NAME, probe)]

    world = world._replace(alive=world.alive | {key(probe)})
    held = run(Actor("P", ask), world)
    if not isinstance(seen[0], Won):
        raise Violation(STUCK, f"a new session was answered {seen[0]}")
    if seen[0].generation <= world.top:
        raise Violation(GENERATION, f"a new session won generation {seen[0].generation}, after {world.top}")
    swept = run(reaper("S"), held)
    shown = [content for path, content in swept.files if path == f"/d/claims/{NAME}.json"]
    private = [path for path, _ in swept.files if path.startswith(f"/d/claims/.ledger/{NAME}/.")]
    if [number(decode(text.encode()), "generation") for text in shown] != [seen[0].generation] or private:
        raise Violation(OUT_OF_STEP, f"after a sweep there are {shown} and {private}")


A, B, REUSED = Holder("w2", "a"), Holder("w3", "b"), Holder("w1", "new")
PREEMPTIONS = int(os.environ.get("EXPLORER_PREEMPTIONS", "2"))


class Scenario(NamedTuple):
    """Who runs, which sessions are alive, and how many schedules there are at least with two preemptions and a crash."""

    actors: tuple[Actor, ...]
    alive: tuple[Holder, ...]
    schedules: int
    corpse: bool = True

    def explore(self, crashes: int) -> Report:
        world = (CORPSE_HOLDS if self.corpse else EMPTY)._replace(alive=frozenset(map(key, self.alive)))
        return Explorer(self.actors, nobody_is_stuck, PREEMPTIONS).explore(world, crashes)


SCENARIOS = {
    "two claimers, a reaper and a corpse": Scenario((claimer("A", A), claimer("B", B), reaper()), (A, B), 140_000),
    "the corpse's id is used anew": Scenario((claimer("A", REUSED), claimer("B", B), reaper()), (REUSED, B), 140_000),
    "the corpse's shell still runs": Scenario(
        (claimer("A", REUSED), claimer("O", CORPSE), claimer("B", B)), (REUSED, B), 100_000
    ),
    "a slow claimer, and pruning": Scenario((claimer("A", A, rounds=3), claimer("B", B)), (A, B), 15_000),
    "a claim that nobody ever made": Scenario((claimer("A", A), claimer("B", B), reaper()), (A, B), 70_000, corpse=False),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_schedule_and_no_crash_breaks_a_law(scenario: str) -> None:
    report = SCENARIOS[scenario].explore(crashes=1)
    print(f"{scenario}: at most {PREEMPTIONS} preemptions and 1 crash: {report}")
    assert report.schedules >= SCENARIOS[scenario].schedules


def publish_with_replace(self: Ledger, private: str, public: str, data: bytes) -> bool | None:
    try:
        self.files.replace(private, public)
    except FileNotFoundError:
        return None
    return True


def in_place(self: Ledger, key: str, expected: int, record: Mapping[str, object], shown_as: str = "") -> bool:
    """A lease that can be seen before it is complete."""
    target = expected + 1
    try:
        self.files.create(f"{self.root}/{key}/{target}", encode({**record, "generation": target}))
    except FileExistsError:
        return False
    return True


def remove_then_create(self: Ledger, key: str, expected: int, record: Mapping[str, object], shown_as: str = "") -> bool:
    """As looop 0.14.0 reclaims: the stale lease is removed, whoever's it is by then, and its name created anew."""
    path = f"{self.root}/{key}/1"
    self.files.remove(path)
    if "released" in record:
        return True
    private = f"{self.root}/{key}/.1-{self.files.token()}"
    self.files.create(private, encode({**record, "generation": 1}))
    try:
        self.files.link(private, path)
    except FileExistsError:
        return False
    return True


def by_id_alone(lease: Lease | None, me: Holder) -> bool:
    return lease is not None and lease.session == me.session


def cannot_repeat(self: Ledger, key: str, expected: int) -> bool:
    raise PermissionError(1, "scripted")


def orphan_of_ours(lease: Lease | None, me: Holder, liveness: Liveness) -> protocol.Standing:
    if lease and lease.session == me.session and not protocol.is_ours(lease, me):
        return protocol.Standing.ORPHANED
    return protocol.judge(lease, me, liveness)


def vanished_is_published(self: Ledger, private: str, public: str, data: bytes) -> bool:
    try:
        self.files.link(private, public)
    except FileExistsError:
        return False
    except FileNotFoundError:
        return True
    return True


EXCLUSION = {TWO_HOLDERS, ROBBED, GENERATION}

FAULTS: dict[str, tuple[str, list[tuple[object, str, object]]]] = {
    "no second look": ("a slow claimer, and pruning", [(Ledger, "_above", lambda *_: 0)]),
    "publish with replace": (
        "two claimers, a reaper and a corpse",
        [(Ledger, "_publish", publish_with_replace)],
    ),
    "remove, then create": (
        "two claimers, a reaper and a corpse",
        [(Ledger, "advance", remove_then_create), (Ledger, "repeat", cannot_repeat)],
    ),
    "a lease visible before it is complete": (
        "two claimers, a reaper and a corpse",
        [(Ledger, "advance", in_place)],
    ),
    "an id without its incarnation": (
        "the corpse's id is used anew",
        [(claims_module, "is_ours", by_id_alone), (protocol, "is_ours", by_id_alone)],
    ),
    "our own id, alive in another incarnation, taken for an orphan": (
        "the corpse's shell still runs",
        [(claims_module, "judge", orphan_of_ours)],
    ),
    "a private file that vanished taken for a published one": (
        "two claimers, a reaper and a corpse",
        [(Ledger, "_publish", vanished_is_published)],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_known_fault_put_back_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, changes = FAULTS[fault]
    for owner, name, replacement in changes:
        monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(Found) as found:
        SCENARIOS[scenario].explore(crashes=0)
    assert found.value.kind in EXCLUSION, str(found.value)
