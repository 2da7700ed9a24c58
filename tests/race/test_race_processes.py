"""Real processes that claim, take over, release, reap and register at once; and holders that are killed or stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from looop_portable import Claims, Head, Held, Liveness, Refused, Released, SessionAlive, Won
from looop_portable.backends.base import SessionHead
from looop_portable.backends.posix import PosixBackend
from looop_portable.files import OS
from looop_portable.liveness import Holder
from looop_portable.registry import Registry

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")

CREW = 4
PATIENCE = 120  # Seconds without an answer, after which a process is taken for hanging.

Meet = Callable[[], None]
Work = Callable[..., object]
Recruit = Callable[[Meet], Work]
"""Called in the new process; what it returns is called with each command, and its result is the answer."""


class Crew:
    """Forked processes that all do what they are told; `meet` lets them wait for each other in the middle of it."""

    def __init__(self, recruits: list[Recruit]) -> None:
        context = multiprocessing.get_context("fork")
        self._pipes: list[Connection[Any, Any]] = []
        self.processes = []
        for recruit in recruits:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(recruit, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self.processes.append(process)

    def ask(self, *command: object) -> list[Any]:
        """Everybody's answer to `command`."""
        self._tell(command)
        return [self._answer(pipe) for pipe in self._pipes]

    def meet(self, *command: object) -> list[Any]:
        """The same, and nobody goes past `meet` before all have come to it."""
        self._tell(command)
        assert [self._answer(pipe) for pipe in self._pipes] == ["met"] * len(self._pipes)
        self._tell("go on")
        return [self._answer(pipe) for pipe in self._pipes]

    def pid(self) -> int:
        """Of a crew of one."""
        (process,) = self.processes
        assert process.pid
        return process.pid

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def _tell(self, word: object) -> None:
        for pipe in self._pipes:
            pipe.send(word)

    def _answer(self, pipe: Connection[Any, Any]) -> object:
        assert pipe.poll(PATIENCE), "a process does not answer"
        kind, answer = pipe.recv()
        assert kind == "done", answer
        return answer


def _serve(recruit: Recruit, pipe: Connection[Any, Any]) -> None:
    def meet() -> None:
        pipe.send(("done", "met"))
        assert pipe.recv() == "go on"

    try:
        work = recruit(meet)
        while True:
            pipe.send(("done", work(*pipe.recv())))
    except Exception:  # noqa: BLE001 (whatever it is, the test tells)
        pipe.send(("failed", traceback.format_exc()))


@contextmanager
def crew_of(*recruits: Recruit) -> Iterator[Crew]:
    crew = Crew(list(recruits))
    try:
        yield crew
    finally:
        crew.end()


class MeetingBackend(PosixBackend):
    """All read a claim, and nobody acts on it before all have."""

    sessions: Any
    meet: Meet | None = None

    def read(self, claim: str) -> Head:
        head = super().read(claim)
        meet, self.meet = self.meet, None
        if meet:
            meet()
        return head


class MeetingRegistry(Registry):
    """All read a session's registration, and nobody acts on it before all have."""

    meet: Meet | None = None

    def read(self, session: str) -> SessionHead:
        head = super().read(session)
        meet, self.meet = self.meet, None
        if meet:
            meet()
        return head


def register(claims: Claims, session: str = "") -> Holder:
    found = claims.sessions.register(session)
    return Holder(found.session, found.incarnation)


def verb_of(verb: str, directory: Path, meets: bool) -> Recruit:
    """A session of its own that does `verb` to the claim it is told."""

    def recruit(meet: Meet) -> Work:
        backend = MeetingBackend(str(directory))
        claims = Claims(backend)
        me = register(claims)

        def work(name: str) -> object:
            backend.meet = meet if meets else None
            if verb == "reap":
                return claims._reap_claim(name, {}, dry_run=False)
            return claims.claim(name, me) if verb == "claim" else claims.release(name, me)

        return work

    return recruit


def registrar(directory: Path, meets: bool) -> Recruit:
    """One that registers under the id it is told, and lives on."""

    def recruit(meet: Meet) -> Work:
        backend = MeetingBackend(str(directory))
        registry = MeetingRegistry(f"{directory}/sessions", OS)
        backend.sessions = registry
        claims = Claims(backend)

        def work(session: str) -> object:
            registry.meet = meet if meets else None
            try:
                return claims.sessions.register(session)
            except SessionAlive:
                return "refused"

        return work

    return recruit


def holder_of(directory: Path, session: str = "corpse") -> Recruit:
    """A session that claims all names that it is told."""

    def recruit(meet: Meet) -> Work:
        claims = Claims.open(str(directory), "posix")
        me = register(claims, session)
        return lambda *names: [claims.claim(name, me) for name in names]

    return recruit


def names(number: int) -> list[str]:
    return [f"repo-{index}" for index in range(number)]


def left_by_the_dead(directory: Path, *claimed: str) -> None:
    with crew_of(holder_of(directory)) as crew:
        (outcomes,) = crew.ask(*claimed)
        assert all(isinstance(outcome, Won) for outcome in outcomes)


def assert_one_winner(outcomes: list[Won | Held]) -> Won:
    """One has won, and all others were refused for the sake of that one."""
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Won)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Held)]
    assert len(refused) == len(outcomes) - 1
    for held in refused:
        assert held.lease == won.lease
        assert held.verdict.liveness is Liveness.ALIVE
    return won


@pytest.mark.parametrize(("meets", "rounds"), [(True, 150), (False, 400)], ids=["all-have-read", "as-it-comes"])
def test_of_many_that_claim_a_free_name_exactly_one_wins(tmp_path: Path, meets: bool, rounds: int) -> None:
    with crew_of(*[verb_of("claim", tmp_path, meets)] * CREW) as crew:
        for name in names(rounds):
            won = assert_one_winner((crew.meet if meets else crew.ask)(name))
            assert (won.generation, won.previous) == (1, None)


@pytest.mark.parametrize(("meets", "rounds"), [(True, 150), (False, 400)], ids=["all-have-read", "as-it-comes"])
def test_of_many_that_take_over_a_dead_sessions_claim_exactly_one_wins(tmp_path: Path, meets: bool, rounds: int) -> None:
    left_by_the_dead(tmp_path, *names(rounds))
    with crew_of(*[verb_of("claim", tmp_path, meets)] * CREW) as crew:
        for name in names(rounds):
            won = assert_one_winner((crew.meet if meets else crew.ask)(name))
            assert won.generation == 2
            assert won.previous
            assert won.previous.session == "corpse"


def test_claim_unclaim_and_reap_of_a_dead_sessions_claim_end_it_once_and_exactly_one_claimer_wins(tmp_path: Path) -> None:
    rounds = names(150)
    left_by_the_dead(tmp_path, *rounds)
    backend = PosixBackend(str(tmp_path))
    verbs = ("claim", "reap", "unclaim", "claim")
    with crew_of(*[verb_of(verb, tmp_path, meets=True) for verb in verbs]) as crew:
        for name in rounds:
            first, reaped, unclaimed, second = crew.meet(name)
            won = assert_one_winner([first, second])
            assert isinstance(unclaimed, Released | Refused)
            released = isinstance(unclaimed, Released) and unclaimed.previous is not None
            assert [bool(won.previous), bool(reaped), released].count(True) == 1
            assert won.generation == (2 if won.previous else 3)
            assert backend.read(name) == Head(won.generation, won.lease)


TURNS = 250


def busy_claimer(directory: Path, some: list[str]) -> Recruit:
    """Claims, releases, now and then leaves a claim behind by ending its session. Answers what it has won, in order."""

    def recruit(meet: Meet) -> Work:
        claims = Claims(pruned_early(directory))

        def work() -> list[tuple[str, int]]:
            meet()
            me, found = register(claims, f"session-{os.getpid()}"), []
            for turn in range(TURNS):
                name = some[turn % len(some)]
                outcome = claims.claim(name, me)
                if isinstance(outcome, Won):
                    found.append((name, outcome.generation))
                if turn % 10 == 9:
                    claims.sessions.stop(*me)
                    me = register(claims, me.session)
                elif turn % 3:
                    claims.release(name, me)
            claims.sessions.stop(*me)
            return found

        return work

    return recruit


def busy_reaper(directory: Path) -> Recruit:
    def recruit(meet: Meet) -> Work:
        claims = Claims(pruned_early(directory))

        def work() -> list[tuple[str, int]]:
            meet()
            for _ in range(TURNS // 5):
                assert not claims.reap().skipped
            return []

        return work

    return recruit


def pruned_early(directory: Path) -> MeetingBackend:
    """Keeps two generations: so a number that is gone has every chance to come back."""
    return MeetingBackend(str(directory), keep=2)


def test_no_generation_is_ever_won_twice_or_goes_backwards(tmp_path: Path) -> None:
    some = names(3)
    with crew_of(*[busy_claimer(tmp_path, some)] * CREW, *[busy_reaper(tmp_path)] * 2) as crew:
        answers: list[list[tuple[str, int]]] = crew.meet()
    for name in some:
        for answer in answers:
            mine = [generation for won, generation in answer if won == name]
            assert mine == sorted(mine)
        won = [generation for answer in answers for of, generation in answer if of == name]
        assert len(won) == len(set(won)) > TURNS // 10
        assert pruned_early(tmp_path).read(name).generation >= max(won)


@pytest.mark.parametrize("left", ["free", "dead"])
@pytest.mark.parametrize(("meets", "rounds"), [(True, 100), (False, 200)], ids=["all-have-read", "as-it-comes"])
def test_of_many_that_register_one_id_exactly_one_succeeds(tmp_path: Path, meets: bool, rounds: int, left: str) -> None:
    ids = [f"worker-{index}" for index in range(rounds)]
    if left == "dead":
        with crew_of(registrar(tmp_path, meets=False)) as crew:
            before = [crew.ask(session)[0].incarnation for session in ids]
    else:
        before = [""] * rounds
    claims = Claims.open(str(tmp_path), "posix")
    with crew_of(*[registrar(tmp_path, meets)] * CREW) as crew:
        for session, incarnation in zip(ids, before, strict=True):
            answers = (crew.meet if meets else crew.ask)(session)
            assert answers.count("refused") == CREW - 1
            (registered,) = [answer for answer in answers if answer != "refused"]
            assert registered.incarnation != incarnation
            assert claims.sessions.holder(session) == Holder(session, registered.incarnation)
            assert claims.sessions.verdict(session, registered.incarnation).liveness is Liveness.ALIVE


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="os.waitid is missing: a zombie cannot be waited for and left")
def test_a_killed_holders_claim_is_won_at_once_though_its_parent_has_not_reaped_it(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), "posix")
    me = register(claims)
    with crew_of(holder_of(tmp_path)) as crew:
        crew.ask("repo-x", "repo-y")
        assert isinstance(claims.claim("repo-x", me), Held)
        os.kill(crew.pid(), signal.SIGKILL)
        os.waitid(os.P_PID, crew.pid(), os.WEXITED | os.WNOWAIT)
        outcome = claims.claim("repo-x", me)
        assert isinstance(outcome, Won)
        assert outcome.verdict
        assert "zombie" in outcome.verdict.evidence
        assert [found.lease.name for found in claims.reap().reaped] == ["repo-y"]


def test_a_killed_holders_claim_is_won_at_once_when_its_parent_has_reaped_it(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), "posix")
    with crew_of(holder_of(tmp_path)) as crew:
        crew.ask("repo-x")
    outcome = claims.claim("repo-x", register(claims))
    assert isinstance(outcome, Won)
    assert outcome.verdict
    assert "is gone" in outcome.verdict.evidence


def test_a_stopped_holder_is_neither_stolen_from_nor_reaped_and_goes_on_holding(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), "posix")
    me = register(claims)
    with crew_of(holder_of(tmp_path)) as crew:
        ((won,),) = crew.ask("repo-x")
        os.kill(crew.pid(), signal.SIGSTOP)
        os.waitpid(crew.pid(), os.WUNTRACED)
        outcome = claims.claim("repo-x", me)
        assert isinstance(outcome, Held)
        assert "is stopped" in outcome.verdict.evidence
        assert isinstance(claims.release("repo-x", me), Refused)
        sweep = claims.reap()
        assert (sweep.reaped, sweep.kept) == ((), 1)
        with pytest.raises(SessionAlive):
            claims.sessions.register("corpse")
        os.kill(crew.pid(), signal.SIGCONT)
        ((renewed,),) = crew.ask("repo-x")
        assert renewed.lease == won.lease
