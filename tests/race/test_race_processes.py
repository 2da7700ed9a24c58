"""Real processes that claim, take over, release, reap and register at once; and holders that are killed or stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.capabilities import needs_stopping, needs_zombies, open_or_skip
from support.crew import (
    busy_claimer,
    busy_reaper,
    crew_of,
    head_of,
    holder_of,
    in_time,
    register,
    registrar,
    verb_of,
)

from looop_portable import Claims, Head, Held, Liveness, Refused, Released, SessionAlive, Won
from looop_portable.protocol.records import Holder

CREW = 4
FEWEST = 20  # Rounds.


@pytest.fixture(params=["posix", "windows", "advisory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each of those that can be used here; `auto` is one of them."""
    open_or_skip(request.param, tmp_path)
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def claims(backend: str, store: str) -> Claims:
    return Claims.open(store, backend)


def names(number: int) -> list[str]:
    return [f"repo-{index}" for index in range(number)]


def left_by_the_dead(backend: str, store: str, *claimed: str) -> None:
    with crew_of(holder_of(backend, store)) as crew:
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
def test_exactly_one_of_many_claimers_of_a_free_name_wins(backend: str, store: str, meets: bool, rounds: int) -> None:
    with crew_of(*[verb_of("claim", backend, store, meets)] * CREW) as crew:
        for name in in_time(names(rounds), FEWEST):
            won = assert_one_winner((crew.meet if meets else crew.ask)(name))
            assert (won.generation, won.previous) == (1, None)


@pytest.mark.parametrize(("meets", "rounds"), [(True, 150), (False, 400)], ids=["all-have-read", "as-it-comes"])
def test_exactly_one_of_many_that_take_over_a_dead_sessions_claim_wins(
    backend: str, store: str, meets: bool, rounds: int
) -> None:
    left_by_the_dead(backend, store, *names(rounds))
    with crew_of(*[verb_of("claim", backend, store, meets)] * CREW) as crew:
        for name in in_time(names(rounds), FEWEST):
            won = assert_one_winner((crew.meet if meets else crew.ask)(name))
            assert won.generation == 2
            assert won.previous
            assert won.previous.session == "corpse"


def test_claim_unclaim_and_reap_of_a_dead_sessions_claim_end_it_once_and_exactly_one_claimer_wins(
    backend: str, store: str
) -> None:
    rounds = names(150)
    left_by_the_dead(backend, store, *rounds)
    verbs = ("claim", "reap", "unclaim", "claim")
    with crew_of(*[verb_of(verb, backend, store, meets=True) for verb in verbs]) as crew:
        for name in in_time(rounds, FEWEST):
            first, reaped, unclaimed, second = crew.meet(name)
            won = assert_one_winner([first, second])
            assert isinstance(unclaimed, Released | Refused)
            released = isinstance(unclaimed, Released) and unclaimed.previous is not None
            assert [bool(won.previous), bool(reaped), released].count(True) == 1
            assert won.generation == (2 if won.previous else 3)
            assert head_of(backend, store, name) == Head(won.generation, won.lease)


TURNS = 250


def test_no_generation_is_ever_won_twice_or_goes_backwards(backend: str, store: str) -> None:
    some = names(3)
    with crew_of(
        *[busy_claimer(backend, store, some, TURNS)] * CREW, *[busy_reaper(backend, store, TURNS // 5)] * 2
    ) as crew:
        answers: list[list[tuple[str, int]]] = crew.meet()
    for name in some:
        for answer in answers:
            mine = [generation for won, generation in answer if won == name]
            assert mine == sorted(mine)
        won = [generation for answer in answers for of, generation in answer if of == name]
        assert len(won) == len(set(won)) >= FEWEST // 2
        assert head_of(backend, store, name).generation >= max(won)


@pytest.mark.parametrize("left", ["free", "dead"])
@pytest.mark.parametrize(("meets", "rounds"), [(True, 100), (False, 200)], ids=["all-have-read", "as-it-comes"])
def test_exactly_one_of_many_registrations_of_one_id_succeeds(
    backend: str, store: str, claims: Claims, meets: bool, rounds: int, left: str
) -> None:
    ids = [f"worker-{index}" for index in range(rounds)]
    if left == "dead":
        with crew_of(registrar(backend, store, meets=False)) as crew:
            before = [crew.ask(session)[0].incarnation for session in ids]
    else:
        before = [""] * rounds
    incarnations = dict(zip(ids, before, strict=True))
    with crew_of(*[registrar(backend, store, meets)] * CREW) as crew:
        for session in in_time(ids, FEWEST):
            answers = (crew.meet if meets else crew.ask)(session)
            assert answers.count("refused") == CREW - 1
            (registered,) = [answer for answer in answers if answer != "refused"]
            assert registered.incarnation != incarnations[session]
            assert claims.sessions.holder(session) == Holder(session, registered.incarnation)
            assert claims.sessions.verdict(session, registered.incarnation).liveness is Liveness.ALIVE


@needs_zombies
def test_a_killed_holders_claim_is_won_at_once_though_its_parent_has_not_reaped_it(
    backend: str, store: str, claims: Claims
) -> None:
    me = register(claims)
    with crew_of(holder_of(backend, store)) as crew:
        crew.ask("repo-x", "repo-y")
        assert isinstance(claims.claim("repo-x", me), Held)
        os.kill(crew.pid(), signal.SIGKILL)
        os.waitid(os.P_PID, crew.pid(), os.WEXITED | os.WNOWAIT)
        outcome = claims.claim("repo-x", me)
        assert isinstance(outcome, Won)
        assert outcome.verdict
        assert "zombie" in outcome.verdict.evidence
        assert [found.lease.name for found in claims.reap().reaped] == ["repo-y"]


def test_a_killed_holders_claim_is_won_at_once_when_its_parent_has_reaped_it(
    backend: str, store: str, claims: Claims
) -> None:
    with crew_of(holder_of(backend, store)) as crew:
        crew.ask("repo-x")
    outcome = claims.claim("repo-x", register(claims))
    assert isinstance(outcome, Won)
    assert outcome.verdict
    assert "is gone" in outcome.verdict.evidence


@needs_stopping
def test_a_stopped_holder_is_neither_stolen_from_nor_reaped_and_goes_on_holding(
    backend: str, store: str, claims: Claims
) -> None:
    me = register(claims)
    with crew_of(holder_of(backend, store)) as crew:
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
