"""All interleavings of a few processes that run the real code, with a crash at every point.

Guarantees: every schedule of the actors' steps with at most `crashes` crashes anywhere, and at most `preemptions` switches
away from an actor that could have gone on, has been run, or a violation is raised with the schedule that leads to it.
Schedules that lead to the same state are continued once.
Does not guarantee: anything beyond the given actors, their rounds, and the model in `world`.
How: a state is the world and, for each actor, all that it has been answered. As an actor is a function of its answers, two
schedules with the same state have the same future (stateful search, as in explicit-state model checkers such as SPIN; the
bound on preemptions is that of CHESS: Musuvathi and Qadeer, PLDI 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from looop_portable.testing.explorer.handles import without
from looop_portable.testing.explorer.scripted import Paused, Recorded
from looop_portable.testing.explorer.world import Answer, Op, Violation, World, apply, blocked

Body = Callable[[Recorded], object]


class Actor(NamedTuple):
    """A process: its name, what it runs, and what in the world dies with it."""

    name: str
    body: Body
    lives: tuple[str, ...] = ()


class Report(NamedTuple):
    """How much was explored: distinct states, steps between them, and the schedules that these stand for."""

    states: int
    steps: int
    schedules: int
    ends: int


class Found(Exception):
    """A violation, and the schedule that leads to it: one (actor, call) a step."""

    def __init__(self, violation: Violation, schedule: list[tuple[str, Op]]) -> None:
        steps = "\n".join(f"  {actor}: {' '.join(op)[:150]}" for actor, op in schedule)
        super().__init__(f"{violation}\n{steps}")
        self.kind = violation.kind


class _Node(NamedTuple):
    """An actor at one point: what it has been answered, and the call that it makes next (None: it has ended)."""

    answers: tuple[Answer, ...]
    op: Op | None
    following: dict[Answer, int]


_CRASH: Op = ("crash",)
_GONE = _NOBODY = -1
UNBOUNDED = 1 << 30


class Explorer:
    """The search. `at_end` is called with each world in which all actors have ended or crashed, once per world.

    Worlds and nodes are kept once and named by their numbers, so that a state is a small tuple of integers.
    """

    def __init__(
        self, actors: Sequence[Actor], at_end: Callable[[World], None] | None = None, preemptions: int | None = None
    ) -> None:
        self._actors = actors
        self._at_end = at_end
        self._preemptions = UNBOUNDED if preemptions is None else preemptions
        self._nodes: list[list[_Node]] = [[] for _ in actors]
        self._worlds: list[World] = []
        self._numbers: dict[World, int] = {}
        self._applied: dict[tuple[int, Op, int], tuple[int, Answer]] = {}
        self._counts: dict[tuple[int, tuple[int, ...], int, int, int], int] = {}
        self._ends: set[int] = set()
        self._steps = 0
        self._path: list[tuple[str, Op]] = []

    def explore(self, world: World, crashes: int = 0) -> Report:
        """Run every schedule from `world`. Raises `Found`."""
        start = tuple(self._add(index, ()) for index in range(len(self._actors)))
        try:
            schedules = self._visit(self._number(world), start, crashes, self._preemptions, _NOBODY)
        except Violation as violation:
            raise Found(violation, self._path) from violation
        return Report(len(self._counts), self._steps, schedules, len(self._ends))

    def _visit(self, world: int, nodes: tuple[int, ...], crashes: int, preemptions: int, last: int) -> int:
        """How many schedules there are from here. A node is _GONE once its actor has crashed; `last` made the last step."""
        key = (world, nodes, crashes, preemptions, last if preemptions < UNBOUNDED else _NOBODY)
        known = self._counts.get(key)
        if known is not None:
            return known
        count = 0
        going = last != _NOBODY and self._op(world, last, nodes[last]) is not None
        for index, number in enumerate(nodes):
            op = self._op(world, index, number)
            left = preemptions - (going and index != last and preemptions < UNBOUNDED)
            if op is None or left < 0:
                continue
            name = self._actors[index].name
            self._path.append((name, op))
            changed, answer = self._apply(world, index, op)
            count += self._visit(changed, _with(nodes, index, self._follow(index, number, answer)), crashes, left, index)
            self._steps += 1
            if crashes:
                self._path[-1] = (name, _CRASH)
                without = self._number(_without(self._worlds[world], self._actors[index]))
                count += self._visit(without, _with(nodes, index, _GONE), crashes - 1, left, _NOBODY)
                self._steps += 1
            self._path.pop()
        if not count:
            count = 1
            if self._at_end and world not in self._ends:
                self._at_end(self._worlds[world])
            self._ends.add(world)
        self._counts[key] = count
        return count

    def _op(self, world: int, index: int, number: int) -> Op | None:
        """What an actor does next; None if it has ended, or has to wait for somebody."""
        op = None if number == _GONE else self._nodes[index][number].op
        return None if op is None or blocked(self._worlds[world], self._actors[index].name, op) else op

    def _apply(self, world: int, index: int, op: Op) -> tuple[int, Answer]:
        key = (world, op, index)
        if key not in self._applied:
            changed, answer = apply(self._worlds[world], self._actors[index].name, op)
            self._applied[key] = (self._number(changed), answer)
        return self._applied[key]

    def _follow(self, index: int, number: int, answer: Answer) -> int:
        node = self._nodes[index][number]
        if answer not in node.following:
            node.following[answer] = self._add(index, (*node.answers, answer))
        return node.following[answer]

    def _add(self, index: int, answers: tuple[Answer, ...]) -> int:
        self._nodes[index].append(_Node(answers, next_op(self._actors[index], answers), {}))
        return len(self._nodes[index]) - 1

    def _number(self, world: World) -> int:
        number = self._numbers.setdefault(world, len(self._worlds))
        if number == len(self._worlds):
            self._worlds.append(world)
        return number


def next_op(actor: Actor, answers: tuple[Answer, ...]) -> Op | None:
    """The call that `actor` makes after these answers; None if it has ended."""
    try:
        actor.body(Recorded(actor.name, answers))
    except Paused as pause:
        return pause.op
    return None


def run(actor: Actor, world: World) -> World:
    """`actor` alone, to its end. For setting a world up, and for looking what is left of one."""
    answers: tuple[Answer, ...] = ()
    while (op := next_op(actor, answers)) is not None:
        world, answer = apply(world, actor.name, op)
        answers = (*answers, answer)
    return world


def _without(world: World, actor: Actor) -> World:
    alive = world.alive.difference(actor.lives)
    holders = frozenset(held for held in world.holders if held[0] in alive)
    readers = frozenset(held for held in world.readers if held[0] in alive)
    guards = frozenset(held for held in world.guards if held[1] != actor.name)
    known = world._replace(alive=alive, holders=holders, readers=readers, guards=guards)
    return known._replace(handles=without(world.handles, actor.name))


def _with(nodes: tuple[int, ...], index: int, number: int) -> tuple[int, ...]:
    return (*nodes[:index], number, *nodes[index + 1 :])
