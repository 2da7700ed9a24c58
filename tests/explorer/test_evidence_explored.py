"""Kernels that take each other's processes for gone, while the holders live and beat: all interleavings.

Three environments, each of which makes a hint of a living process: two kernels of one identity on a share (each sees that
the other's process is gone); containers with boot identities of their own on a local disk; containers of one kernel, in
which a session has dropped its own lock. Time stands still in each run, and differs between what was before and what runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.backends.directory.policies import POSIX
from looop_portable.backends.directory.signs import SignFiles
from looop_portable.claims.gate import Claims
from looop_portable.protocol.inquiry import WORTH, Seen, Worth
from looop_portable.protocol.liveness import Here, Lock, ProcessState
from looop_portable.protocol.outcomes import Released, Renewed, Won
from looop_portable.protocol.records import Holder
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.mounts.mount import Mount
from looop_portable.testing.explorer.scripted import Recorded, ScriptedProcesses, word
from looop_portable.testing.explorer.search import Actor, Explorer, Found, Report, run
from looop_portable.testing.explorer.world import GENERATION, ROBBED, STUCK, TWO_HOLDERS, Violation, World

NAME, LEASE, NOW = "x", 30, 1_000
PREEMPTIONS = int(os.environ.get("EXPLORER_PREEMPTIONS", "2"))
EMPTY = World(dirs=frozenset({"/d", "/d/claims", "/d/claims/.ledger", "/d/sessions", "/d/sessions/.ledger"}))
DISK = Mount("/", "ext4", "disk", ())


class Environment(NamedTuple):
    """What two kernels, or containers, see of each other. `boots` and `namespaces`: one of each."""

    mount: Mount | None
    lock: Lock | None
    boots: tuple[str, str]
    namespaces: tuple[str, str]
    seen: Seen
    late: int = 17
    """Seconds without a heartbeat after which the hint is believed."""


ENVIRONMENTS = {
    "twin kernels on a share": Environment(None, None, ("boot", "boot"), ("pid:[1]", "pid:[1]"), Seen.GONE, 33),
    "boot identities of their own": Environment(DISK, None, ("a", "b"), ("pid:[1]", "pid:[2]"), Seen.ANOTHER_BOOT),
    "locks that were dropped": Environment(DISK, Lock.FREE, ("boot", "boot"), ("pid:[1]", "pid:[2]"), Seen.LOCK_FREE),
}


class Kernel(ScriptedProcesses):
    """The processes of one of the two: those with an even pid, or with an odd one. The others are not there."""

    def __init__(self, files: Recorded, environment: Environment, which: int) -> None:
        super().__init__(files)
        self._environment = environment
        self._which = which

    def here(self) -> Here:
        return Here(self._environment.boots[self._which], self._environment.namespaces[self._which])

    def state(self, pid: int, start: str) -> ProcessState:
        return super().state(pid, start) if pid % 2 == self._which else ProcessState.GONE


def claims_of(files: Recorded, environment: Environment, which: int, time: int = NOW) -> Claims:
    files.time, files.mount, files.lock = time, environment.mount, environment.lock
    backend = DirectoryBackend("/d", POSIX, files)
    backend.sessions._clock = lambda: "then"
    kernel = Kernel(files, environment, which)
    return Claims(
        backend, None, Sessions(backend.sessions, kernel, nonce=files.nonce, clock=lambda: "then"), clock=lambda: "then"
    )


HOLDER = Holder("h", word("H", 1))


def held(environment: str, ago: int) -> World:
    """`h`, with pid 3, holds since it was heard for the last time, `ago` seconds before now; the other has seen that."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, ENVIRONMENTS[environment], 1, NOW - ago)
        holder = claims.sessions.register("h", pid=3, lease_seconds=LEASE, locked=True).holder
        claims.claim(NAME, holder)
        claims_of(files, ENVIRONMENTS[environment], 0, NOW - ago).sessions.verdict(*holder)

    return run(Actor("H", body), EMPTY._replace(alive=frozenset({"pid 3"})))


IN_TIME, LATE, SILENT = 12, 0, 2 * LEASE
"""Seconds ago. A session says that it goes on after 12.5 s; what is late depends on the environment."""
HELD = {
    (environment, ago): held(environment, ago or ENVIRONMENTS[environment].late)
    for environment in ENVIRONMENTS
    for ago in (IN_TIME, LATE, SILENT)
}


def key(holder: Holder) -> str:
    return f"{holder.session}/{holder.incarnation}"


def holds(files: Recorded, claims: Claims, me: Holder, generation: int) -> None:
    files.ask("won", key(me), str(generation))
    files.ask("leaves", key(me))
    if not isinstance(claims.release(NAME, me), Released):
        files.ask("robbed", key(me))


def holder(environment: str, verb: str) -> Actor:
    """It gives a heartbeat, or says that it goes on; if it may, it holds what it held."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, ENVIRONMENTS[environment], 1)
        if getattr(claims.sessions, verb)(HOLDER):
            holds(files, claims, HOLDER, 1)

    return Actor("H", body, (key(HOLDER), "pid 3"))


def claimer(environment: str, name: str, session: str, pid: int) -> Actor:
    def body(files: Recorded) -> None:
        claims = claims_of(files, ENVIRONMENTS[environment], pid % 2)
        me = claims.sessions.register(session, pid=pid, lease_seconds=LEASE, locked=True).holder
        outcome = claims.claim(NAME, me)
        if isinstance(outcome, Won | Renewed):
            holds(files, claims, me, outcome.generation)

    return Actor(name, body, (f"pid {pid}", f"{session}/{word(name, 1)}"))


def reaper(environment: str) -> Actor:
    return Actor("R", lambda files: claims_of(files, ENVIRONMENTS[environment], 0).reap())


def nobody_is_stuck(environment: str) -> Callable[[World], None]:
    """When all are dead, or silent, a new session takes the claim after a while."""

    def check(world: World) -> None:
        seen: list[object] = []

        def probe(files: Recorded) -> None:
            me = Holder("p", "1")
            for later in (0, LEASE):  # What is silent is watched from the first of them on.
                seen[:] = [claims_of(files, ENVIRONMENTS[environment], 0, 2 * NOW + later).claim(NAME, me)]

        run(Actor("P", probe), world._replace(alive=frozenset()))
        if not isinstance(seen[0], Won | Renewed):
            raise Violation(STUCK, f"a new session was answered {seen[0]}")

    return check


ALIVE = frozenset({key(HOLDER), "pid 3", f"w/{word('A', 1)}", "pid 2", f"v/{word('B', 1)}", "pid 5"})
SCENARIOS: dict[str, tuple[int, Callable[[str], tuple[Actor, ...]]]] = {
    "a holder that beats in time, a claimer and a reaper": (
        IN_TIME,
        lambda where: (holder(where, "renew"), claimer(where, "A", "w", 2), reaper(where)),
    ),
    "a holder that was late, and a claimer": (
        LATE,
        lambda where: (holder(where, "resume"), claimer(where, "A", "w", 2)),
    ),
    "a holder that was late, and a reaper": (LATE, lambda where: (holder(where, "resume"), reaper(where))),
    "two claimers that take each other for gone": (
        SILENT,
        lambda where: (claimer(where, "A", "w", 2), claimer(where, "B", "v", 5)),
    ),
}
"""With how long ago the holder was heard for the last time."""


def explore(scenario: str, environment: str, crashes: int, preemptions: int) -> Report:
    ago, actors = SCENARIOS[scenario]
    world = HELD[environment, ago]._replace(alive=ALIVE, holders=frozenset(), top=0)
    return Explorer(actors(environment), nobody_is_stuck(environment), preemptions).explore(world, crashes)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_holder_that_lives_and_those_who_take_it_for_gone_never_hold_both(scenario: str, environment: str) -> None:
    preemptions = max(PREEMPTIONS - 1, 0)
    report = explore(scenario, environment, 1, preemptions)
    print(f"{scenario}, {environment}: at most {preemptions} preemptions and 1 crash: {report}")
    assert report.schedules >= {0: 20, 1: 100}.get(preemptions, 1_000)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if "claimer" in scenario])
def test_a_hint_taken_for_a_proof_is_found(scenario: str, environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORTH, ENVIRONMENTS[environment].seen, Worth.PROOF)
    with pytest.raises(Found) as found:
        explore(scenario, environment, crashes=0, preemptions=2)
    assert found.value.kind in {TWO_HOLDERS, ROBBED, GENERATION}, str(found.value)


def act_on_a_hint_alone(self: Sessions, holder: Holder) -> bool:
    return True


def resume_by_a_beat_alone(self: Sessions, holder: Holder) -> bool:
    return self.renew(holder)


FAULTS = {
    "a death that is no whole proof is acted upon at once": (Sessions, "conclude", act_on_a_hint_alone),
    "a holder that was late only beats": (Sessions, "resume", resume_by_a_beat_alone),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_put_in_is_found(fault: str, environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, replacement = FAULTS[fault]
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(Found) as found:
        explore("a holder that was late, and a claimer", environment, crashes=0, preemptions=2)
    assert found.value.kind in {TWO_HOLDERS, ROBBED, GENERATION}, str(found.value)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_holder_that_beats_as_late_as_one_who_must_say_so_is_found(
    environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why `resumes_after` is less than `suspicion`: were it more, a beat alone could come too late to be seen."""
    late = (LATE, lambda where: (holder(where, "renew"), claimer(where, "A", "w", 2)))
    monkeypatch.setitem(SCENARIOS, "a holder that is too late", late)
    with pytest.raises(Found) as found:
        explore("a holder that is too late", environment, crashes=0, preemptions=2)
    assert found.value.kind in {TWO_HOLDERS, ROBBED, GENERATION}, str(found.value)


def test_without_a_watch_nobody_would_ever_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `nobody_is_stuck` is worth."""
    monkeypatch.setattr(SignFiles, "_sight", lambda *_: None)
    with pytest.raises(Found) as found:
        explore("two claimers that take each other for gone", "twin kernels on a share", crashes=1, preemptions=0)
    assert found.value.kind == STUCK
