"""Real processes that wait: they are served in the order in which they came, whoever of them is killed or stopped.

A waiter has come when its ticket is seen on the disk: nothing is taken for having happened because time has passed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.capabilities import FILE_BACKENDS, needs_stopping, open_or_skip
from support.crew import Crew, crew_of, holder_of, register, until
from support.waiters import Line, blocks_of, waiter_of

from looop_portable import Claims, Held, Won
from looop_portable.protocol.records import Holder
from looop_portable.protocol.shares import line_for

NAME = "repo-x"


@pytest.fixture(params=[name for name in FILE_BACKENDS if name != "auto"])  # Which is one of the others, once it writes.
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    open_or_skip(request.param, tmp_path)
    return str(request.param)


class Scene:
    """A claim that is held, and processes that come to wait for it, one after the other."""

    def __init__(self, backend: str, directory: str, stack: ExitStack) -> None:
        self._backend, self._directory, self._stack = backend, directory, stack
        self.claims = Claims.open(directory, backend)
        self.line = Line(directory, NAME)
        self.me: Holder = register(self.claims, "holder")

    def held(self) -> None:
        assert isinstance(self.claims.claim(NAME, self.me), Won)

    def release(self) -> None:
        self.claims.release(NAME, self.me)

    def process(self, session: str = "") -> Crew:
        return self._stack.enter_context(crew_of(waiter_of(self._backend, self._directory, session)))

    def holder(self) -> Crew:
        crew = self._stack.enter_context(crew_of(holder_of(self._backend, self._directory)))
        assert isinstance(crew.ask(NAME)[0][0], Won)
        return crew

    def comes(self, verb: str = "turn", session: str = "") -> tuple[Crew, str]:
        """One that waits, and its ticket."""
        crew, before = self.process(session), self.line.tickets()
        crew.begin(verb, NAME)
        return crew, self.line.grows(before)


@pytest.fixture
def scene(backend: str, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(backend, str(tmp_path), stack)


def turns_of(*waiters: Crew) -> list[int]:
    return [crew.answers()[0] for crew in waiters]


def kill(crew: Crew) -> None:
    os.kill(crew.pid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    crew.processes[0].wait()


def stop(crew: Crew) -> None:
    os.kill(crew.pid(), signal.SIGSTOP)
    os.waitpid(crew.pid(), os.WUNTRACED)


def test_they_are_served_in_the_order_in_which_they_came(scene: Scene) -> None:
    scene.held()
    waiters = [scene.comes()[0] for _ in range(5)]
    assert len(scene.line.tickets()) == 5
    scene.release()
    turns = turns_of(*waiters)
    assert turns == [3, 5, 7, 9, 11]
    assert scene.line.tickets() == []


def test_when_the_holder_is_killed_the_first_of_them_has_it_and_then_the_others(scene: Scene) -> None:
    holder = scene.holder()
    waiters = [scene.comes()[0] for _ in range(3)]
    kill(holder)
    assert turns_of(*waiters) == [2, 4, 6]  # Taken over: nobody has released it in between.
    assert scene.line.tickets() == []


@pytest.mark.parametrize("killed", [0, 1, 2], ids=["the first", "the second", "the last"])
def test_one_that_is_killed_while_it_waits_is_in_nobodys_way(scene: Scene, killed: int) -> None:
    scene.held()
    waiters = [scene.comes() for _ in range(3)]
    victim, ticket = waiters.pop(killed)
    kill(victim)
    if killed < 2:  # Whoever is behind it sees that it has ended, and needs no turn that it misses for that.
        assert until(lambda: ticket not in scene.line.tickets())
    scene.release()
    assert turns_of(*(crew for crew, _ in waiters)) == [3, 5]
    assert scene.line.tickets() == ([ticket] if killed == 2 else [])
    assert not scene.claims.reap().failed
    assert scene.line.tickets() == []


def test_one_that_is_killed_with_all_before_it_leaves_the_rest_their_order(scene: Scene) -> None:
    holder = scene.holder()
    waiters = [scene.comes()[0] for _ in range(4)]
    for victim in (waiters[2], waiters[0], holder):
        kill(victim)
    assert turns_of(waiters[1], waiters[3]) == [2, 4]
    assert scene.line.tickets() == []


@needs_stopping
def test_the_others_go_past_one_that_is_stopped_and_it_has_its_turn_when_it_goes_on(scene: Scene) -> None:
    scene.held()
    (first, ticket), (second, _) = scene.comes("wait"), scene.comes("wait")
    third, _ = scene.comes("wait")
    stop(first)
    scene.release()
    assert isinstance(second.answers()[0], Won)
    before = scene.line.tickets()
    assert len(before) == 1
    assert ticket not in before
    os.kill(first.pid(), signal.SIGCONT)
    scene.line.grows(before)
    second.ask("release", NAME)
    assert isinstance(third.answers()[0], Won)
    third.ask("release", NAME)
    assert isinstance(first.answers()[0], Won)
    assert scene.line.tickets() == []


@needs_stopping
def test_one_that_is_stopped_between_others_is_passed_as_well(scene: Scene) -> None:
    scene.held()
    (first, _), (second, ticket), (third, _) = scene.comes(), scene.comes(), scene.comes()
    stop(second)
    scene.release()
    assert turns_of(first, third) == [3, 5]
    assert ticket not in scene.line.tickets()
    os.kill(second.pid(), signal.SIGCONT)
    assert turns_of(second) == [7]


@needs_stopping
def test_one_that_is_stopped_only_while_it_is_held_keeps_its_place(scene: Scene) -> None:
    scene.held()
    (first, ticket), (second, _) = scene.comes(), scene.comes()
    stop(first)
    os.kill(first.pid(), signal.SIGCONT)
    assert scene.line.tickets()[0] == ticket
    scene.release()
    assert turns_of(first, second) == [3, 5]


def test_time_that_is_over_leaves_the_line_to_the_others(scene: Scene) -> None:
    scene.held()
    impatient, before = scene.process(), scene.line.tickets()
    impatient.begin("wait", NAME, 0.5)
    scene.line.grows(before)
    second, _ = scene.comes()
    (outcome,) = impatient.answers()
    assert isinstance(outcome, Held)
    assert outcome.lease.session == "holder"
    assert len(scene.line.tickets()) == 1
    scene.release()
    assert turns_of(second) == [3]


def test_threads_and_processes_that_enter_blocks_exclude_each_other_and_all_have_their_turns(
    backend: str, tmp_path: Path
) -> None:
    store, counter = str(tmp_path / "store"), tmp_path / "counter"
    counter.write_text("0")
    processes, threads, rounds = 3, 3, 10
    with crew_of(*[blocks_of(backend, store, str(counter), threads, rounds)] * processes) as crew:
        answers: list[list[list[int]]] = crew.meet()
    generations = [generation for process in answers for thread in process for generation in thread]
    assert counter.read_text() == str(processes * threads * rounds)
    assert len(set(generations)) == len(generations) == processes * threads * rounds
    assert all(thread == sorted(thread) for process in answers for thread in process)
    assert Line(store, NAME).tickets() == []


def test_two_that_want_the_same_claims_in_opposite_orders_do_not_wait_for_each_other(scene: Scene, tmp_path: Path) -> None:
    """Both are free at once: if each waited for the one that it was told first, each would get it."""
    for name in ("a", "b"):
        scene.claims.claim(name, scene.me)
    one, other, line = scene.process(), scene.process(), Line(tmp_path, "a")
    one.begin("all", 5, "a", "b")
    line.grows([])
    other.begin("all", 5, "b", "a")
    assert until(lambda: len(line.tickets() + Line(tmp_path, "b").tickets()) == 2)
    for name in ("b", "a"):
        scene.claims.release(name, scene.me)
    assert turns_of(one, other) == [5, 5]
    assert [scene.claims.show(name).lease for name in ("a", "b")] == [None, None]
    assert Line(tmp_path, "a").tickets() + Line(tmp_path, "b").tickets() == []


def test_while_there_are_slots_nobody_waits_and_then_they_are_served_in_order(scene: Scene, tmp_path: Path) -> None:
    one, two, line = scene.process(), scene.process(), Line(tmp_path, line_for(NAME, 2))
    won = [crew.ask("wait", NAME, 0, 2)[0] for crew in (one, two)]
    assert sorted(outcome.lease.name for outcome in won) == [f"{NAME}#1", f"{NAME}#2"]
    waiters = []
    for _ in range(2):
        crew, before = scene.process(), line.tickets()
        crew.begin("wait", NAME, None, 2)
        line.grows(before)
        waiters.append(crew)
    two.ask("release", won[1].lease.name)
    (third,) = waiters[0].answers()
    assert third.lease.name == won[1].lease.name
    assert len(line.tickets()) == 1
    kill(one)
    (fourth,) = waiters[1].answers()
    assert fourth.lease.name == won[0].lease.name
    assert fourth.previous is not None


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_never_more_than_there_are_slots_are_inside_at_once_and_all_slots_are_used(
    backend: str, tmp_path: Path, slots: int
) -> None:
    store, inside = str(tmp_path / "store"), tmp_path / "inside"
    inside.mkdir()
    there = {f"{NAME}#{number}" for number in range(1, slots + 1)}
    with crew_of(*[waiter_of(backend, store)] * 5) as crew:
        answers: list[tuple[int, set[str]]] = crew.ask("turns", 10, NAME, slots, str(inside))
        assert max(most for most, _ in answers) <= slots
        assert set().union(*(used for _, used in answers)) <= there
        assert Line(store, line_for(NAME, slots)).tickets() == []
        won = [outcome.lease.name for outcome in crew.ask("wait", NAME, 0, slots) if isinstance(outcome, Won)]
    assert len(won) == slots
    assert set(won) == there
