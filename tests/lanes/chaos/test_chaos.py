"""A few seconds of chaos: nobody is ever let in beside a living holder, and no name is left stuck. See run.py."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from looop_portable.testing import without_links

from .harness import there

TESTS = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("fcntl") is None, reason="fcntl.flock is missing: the oracle rests on it"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing"),
    pytest.mark.skipif(not hasattr(os, "waitid"), reason="os.waitid is missing: a zombie cannot be waited for and left"),
]


@pytest.fixture
def chaos() -> ModuleType:
    return importlib.import_module("lanes.chaos.run")


@pytest.mark.parametrize("backends", ["posix", "posix,advisory", "auto,advisory --without-links"])
def test_a_few_seconds_of_chaos_see_no_overlap_and_no_stuck_name(backends: str) -> None:
    if "--without-links" in backends and not without_links.possible():
        pytest.skip("a seccomp filter that denies hard links: not on this system")
    names, *without = backends.split()
    options = ("--processes", "4", "--seconds", "5", "--names", "4", "--reapers", "2", "--backends", names, *without)
    deeds = ["acquisitions", "takeovers", "recoveries", "refusals", "kills", "stops"]
    saw_no_fault_in("lanes.chaos.run", options, [*deeds, *(f"by {backend}" for backend in names.split(","))])


@pytest.mark.parametrize("backends", ["posix", "posix,advisory"])
def test_a_few_seconds_of_chaos_among_those_who_wait_leave_nobody_waiting_and_no_ticket(backends: str) -> None:
    options = ("--processes", "6", "--seconds", "8", "--names", "2", "--reapers", "1", "--backends", backends)
    deeds = ["acquisitions", "takeovers", "kills", "stops", "waits", "timeouts", "in slots", "several", "passers-by"]
    saw_no_fault_in("lanes.chaos.waiters", options, [*deeds, *(f"by {backend}" for backend in backends.split(","))])


def saw_no_fault_in(program: str, options: tuple[str, ...], deeds: list[str]) -> None:
    """And all of `deeds` were done, else it would have seen nothing."""
    command = [sys.executable, "-m", program, *options]
    done = subprocess.run(command, cwd=TESTS, env=there(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line[0] not in " -" and " " in line)
    assert (found["overlaps"], found["stuck"], found["failed"]) == ("0", "0", "0")
    idle = [what for what in deeds if int(found.get(what, 0)) == 0]
    assert idle == [], done.stdout


@pytest.mark.parametrize("lie", ["two holders", "an old generation", "a lost claim"])
def test_the_oracle_sees_what_it_is_there_to_see(chaos: ModuleType, tmp_path: Path, lie: str) -> None:
    """Each violation once, with two workers of this process: their flocks are of two open files, so they exclude."""
    options = chaos.Options(2, 0, str(tmp_path / "claims"), str(tmp_path), 1, 0, 1)
    shared = chaos.Shared(2, 1)
    first, second = chaos.Worker(options, shared, 0), chaos.Worker(options, shared, 1)
    first.enrol()
    second.me = first.me
    won = first.claims.claim("name-0", first.me)
    second.stops = second.began = 0
    second.random = SimpleNamespace(random=lambda: 0.4)  # It holds, and releases by name.
    if lie == "two holders":
        assert first.oracle.take("name-0")
    elif lie == "an old generation":
        second.oracle.write("name-0", chaos.Record(won.generation, 7, 0))
    else:
        first.claims.break_claim("name-0", won.generation, "to see")
    second.hold(0, "name-0", won)
    seen = {kind: shared.total(kind) for kind in chaos.VIOLATIONS if shared.total(kind)}
    assert set(seen) == {{"two holders": "overlap", "an old generation": "generation", "a lost claim": "lost"}[lie]}
    assert (tmp_path / "violations").read_text().count("\n") == sum(seen.values())


def test_the_oracle_sees_a_stuck_name_and_excuses_a_living_and_a_stopped_holder(chaos: ModuleType, tmp_path: Path) -> None:
    options = chaos.Options(2, 0, str(tmp_path / "claims"), str(tmp_path), 1, 0, 1)
    shared = chaos.Shared(2, 1)
    holder, asker = chaos.Worker(options, shared, 0), chaos.Worker(options, shared, 1)
    holder.enrol()
    asker.enrol()
    holder.claims.claim("name-0", holder.me)
    for fate, phase in ((chaos.RUNNING, chaos.HOLDING), (chaos.STOPPED, chaos.TRYING), (chaos.STOPPED, chaos.LEAVING)):
        shared.put(0, "fate", fate)
        holder.say(phase, 0)
        assert asker.insist(0, "name-0") is None
        assert shared.total("stuck") == 0
    shared.put(0, "fate", chaos.KILLED)
    assert asker.insist(0, "name-0") is None
    assert shared.total("stuck") == 1


@pytest.fixture
def waiters() -> ModuleType:
    return importlib.import_module("lanes.chaos.waiters")


def test_the_siege_sees_a_ticket_that_is_left_behind(waiters: ModuleType, tmp_path: Path) -> None:
    siege = waiters.Siege(waiters.Options(1, 0, str(tmp_path / "claims"), str(tmp_path), 1, 0, 1))
    backend = siege.observer(0).claims.backend
    me = siege.observer(0).claims.sessions.evidence.this_process()
    backend.tickets.take("name-0", me._replace(start="another"))  # Of one that has ended: the reaper removes it.
    siege.look_at_the_lines()
    assert siege.shared.total("ticket") == 0
    backend.tickets.take("name-0", me)
    siege.look_at_the_lines()
    assert siege.shared.total("ticket") == 2


def test_the_siege_sees_who_waits_for_ever_and_what_is_no_slot(
    waiters: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "LONG", 0)
    siege = waiters.Siege(waiters.Options(2, 0, str(tmp_path / "claims"), str(tmp_path), 1, 0, 1))
    siege.shared.put(0, "done", 1)
    siege.calm()
    assert siege.shared.total("stuck") == 1
    waiter = waiters.Waiter(siege.options, siege.shared, 0)
    waiter.enrol()
    waiter.began = waiter.stops = 0
    waiter.hold_all([waiter.claims.claim("wide#3", waiter.me)])
    assert siege.shared.total("overlap") == 1
