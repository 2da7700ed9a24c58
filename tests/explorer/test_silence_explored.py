"""A holder on another kernel that comes back from a long silence, while others take it for dead: all interleavings.

Time stands still: the holder has been silent for longer than its lease, and watched for an interval. What it believes
counts from when `resume` has said that it goes on: until then it has stopped itself (see `heartbeats`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.backends.directory.policies import POSIX
from looop_portable.backends.directory.signs import SignFiles
from looop_portable.claims.gate import Claims
from looop_portable.errors import SessionAlive
from looop_portable.protocol.outcomes import Released, Renewed, Won
from looop_portable.protocol.records import Holder
from looop_portable.sessions.registrar import Sessions
from looop_portable.testing.explorer.scripted import Recorded, ScriptedProcesses, word
from looop_portable.testing.explorer.search import Actor, Explorer, Found, Report, run
from looop_portable.testing.explorer.world import GENERATION, ROBBED, STUCK, TWO_HOLDERS, Violation, World

NAME, LEASE, LATER = "x", 30, 1_000
PREEMPTIONS = int(os.environ.get("EXPLORER_PREEMPTIONS", "2"))
EMPTY = World(dirs=frozenset({"/d", "/d/claims", "/d/claims/.ledger", "/d/sessions", "/d/sessions/.ledger"}))


def claims_of(files: Recorded, time: int = LATER, boot: str = "here") -> Claims:
    files.time = time
    backend = DirectoryBackend("/d", POSIX, files)
    backend.sessions._clock = lambda: "then"
    sessions = Sessions(backend.sessions, ScriptedProcesses(files, boot), nonce=files.nonce, clock=lambda: "then")
    return Claims(backend, None, sessions, clock=lambda: "then")


def silent_holder(files: Recorded) -> None:
    """On another kernel, at the beginning of time. Then somebody has watched it."""
    claims = claims_of(files, 0, "there")
    holder = claims.sessions.register("h", pid=1, lease_seconds=LEASE).holder
    claims.claim(NAME, holder)
    claims_of(files, LATER - 20).sessions.verdict(*holder)


SILENT = run(Actor("H", silent_holder), EMPTY._replace(alive=frozenset({"pid 1"})))
HOLDER = Holder("h", word("H", 1))


def key(holder: Holder) -> str:
    return f"{holder.session}/{holder.incarnation}"


def holds(files: Recorded, claims: Claims, me: Holder, generation: int) -> None:
    files.ask("won", key(me), str(generation))
    files.ask("leaves", key(me))
    if not isinstance(claims.release(NAME, me), Released):
        files.ask("robbed", key(me))


def comes_back(name: str = "H") -> Actor:
    """The holder: if it may go on, it holds what it held."""

    def body(files: Recorded) -> None:
        claims = claims_of(files, boot="there")
        if claims.sessions.resume(HOLDER):
            holds(files, claims, HOLDER, 1)

    return Actor(name, body, (key(HOLDER),))


def claimer(name: str, session: str, pid: int) -> Actor:
    """Registers, as `h` in its stead perhaps, and claims."""

    def body(files: Recorded) -> None:
        claims = claims_of(files)
        try:
            me = claims.sessions.register(session, pid=pid, lease_seconds=LEASE).holder
        except SessionAlive:
            return
        outcome = claims.claim(NAME, me)
        if isinstance(outcome, Won | Renewed):
            holds(files, claims, me, outcome.generation)

    return Actor(name, body, (f"pid {pid}", f"{session}/{word(name, 1)}"))


def reaper(name: str = "R") -> Actor:
    return Actor(name, lambda files: claims_of(files).reap())


def nobody_is_stuck(world: World) -> None:
    """When all are dead, or silent, a new session takes the claim after a while."""
    seen: list[object] = []

    def probe(files: Recorded) -> None:
        me = Holder("p", "1")
        claims_of(files, 2 * LATER).claim(NAME, me)  # What is silent is watched from then on.
        seen[:] = [claims_of(files, 2 * LATER + LEASE).claim(NAME, me)]

    run(Actor("P", probe), world._replace(alive=frozenset()))
    if not isinstance(seen[0], Won | Renewed):
        raise Violation(STUCK, f"a new session was answered {seen[0]}")


ALIVE = frozenset({key(HOLDER), *(f"{session}/{word(name, 1)}" for session, name in (("w", "A"), ("v", "B"), ("h", "A")))})
SCENARIOS: dict[str, Callable[[], tuple[Actor, ...]]] = {
    "two claimers": lambda: (comes_back(), claimer("A", "w", 2), claimer("B", "v", 3)),
    "a claimer and a reaper": lambda: (comes_back(), claimer("A", "w", 2), reaper()),
    "its id is registered anew, and a claimer": lambda: (comes_back(), claimer("A", "h", 2), claimer("B", "v", 3)),
}


def explore(scenario: str, crashes: int, preemptions: int = PREEMPTIONS) -> Report:
    world = SILENT._replace(alive=ALIVE | {"pid 2", "pid 3"}, holders=frozenset(), top=0)
    return Explorer(SCENARIOS[scenario](), nobody_is_stuck, preemptions).explore(world, crashes)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_session_that_comes_back_and_one_that_takes_over_never_hold_both(scenario: str) -> None:
    report = explore(scenario, 1, max(PREEMPTIONS - 1, 0))
    print(f"{scenario}: at most {max(PREEMPTIONS - 1, 0)} preemptions and 1 crash: {report}")
    assert report.schedules >= {0: 100, 1: 100}.get(PREEMPTIONS, 1_000)


def resume_by_a_beat_alone(self: Sessions, holder: Holder) -> bool:
    return self.renew(holder)


def beat_afterwards(self: Sessions, holder: Holder) -> bool:
    """The registration first, the beat afterwards."""
    head = self._read(holder.session)
    if not (head.own and head.own.holder == holder and not head.own.ended):
        return False
    return self._advance(holder.session, head.generation, head.own) and self.renew(holder)


def act_on_silence_alone(self: Sessions, holder: Holder) -> bool:
    return True


FAULTS = {  # And how many preemptions find it.
    "resuming by a beat alone": ("resume", resume_by_a_beat_alone, 2),
    "beating after having said that it goes on": ("resume", beat_afterwards, 3),
    "acting on silence alone": ("conclude", act_on_silence_alone, 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_put_in_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, replacement, preemptions = FAULTS[fault]
    monkeypatch.setattr(Sessions, name, replacement)
    with pytest.raises(Found) as found:
        explore("a claimer and a reaper", crashes=0, preemptions=preemptions)
    assert found.value.kind in {TWO_HOLDERS, ROBBED, GENERATION}, str(found.value)


def test_without_a_watch_there_would_be_no_takeover_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `nobody_is_stuck` is worth: were a silent session never dead, the claim would be stuck."""
    monkeypatch.setattr(SignFiles, "_sight", lambda *_: None)
    with pytest.raises(Found) as found:
        explore("two claimers", crashes=1, preemptions=0)
    assert found.value.kind == STUCK
