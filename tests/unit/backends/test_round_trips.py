"""What each verb costs on an engine that is far away: its questions, one by one. Each is a round trip."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support.engines import Faulty, InProcess

from looop_portable import Claims, Held, Holder, Liveness, SessionAlive
from looop_portable.backends.engine import CLAIM, SESSION, Step, Told, tell, word_in
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed
from looop_portable.system.watch.waking import LocalWatcher
from looop_portable.waiting.claiming import waiter

LEASE = 30


class World:
    """One engine that is far away, and two who use it."""

    def __init__(self) -> None:
        self.engine = InProcess()
        self.engine.local = self.engine.steady = False
        self.faulty, self.claims, self.me = self.comes("me")
        self.others, self.their_claims, self.they = self.comes("they")

    def comes(self, session: str) -> tuple[Faulty, Claims, Holder]:
        faulty = Faulty(self.engine)
        claims = Claims(OnEngine(faulty, "far"))
        return faulty, claims, claims.sessions.register(session, lease_seconds=LEASE).holder


@pytest.fixture
def world() -> World:
    return World()


def asked(faulty: Faulty, call: Callable[[], object]) -> list[str]:
    before = len(faulty.calls)
    call()
    return faulty.calls[before:]


def test_a_claim_is_looked_at_and_advanced_and_a_release_is_one(world: World) -> None:
    assert asked(world.faulty, lambda: world.claims.claim("n", world.me)) == ["look", "advance"]
    assert asked(world.faulty, lambda: world.claims.claim("n", world.me)) == ["look"]
    assert asked(world.faulty, lambda: world.claims.release("n", world.me)) == ["advance"]


def test_after_its_own_release_it_looks_at_nothing(world: World) -> None:
    world.claims.claim("n", world.me)
    world.claims.release("n", world.me)
    for _ in range(2):
        assert asked(world.faulty, lambda: world.claims.claim("n", world.me)) == ["advance"]
        assert asked(world.faulty, lambda: world.claims.release("n", world.me)) == ["advance"]


def test_if_another_had_it_meanwhile_that_costs_one_more(world: World) -> None:
    world.claims.claim("n", world.me)
    world.claims.release("n", world.me)
    world.their_claims.claim("n", world.they)
    assert asked(world.faulty, lambda: world.claims.claim("n", world.me)) == ["advance", "look"]
    assert isinstance(world.claims.claim("n", world.me), Held)


def test_a_refusal_is_one_and_so_is_a_claim_that_is_shown_or_checked(world: World) -> None:
    world.their_claims.claim("n", world.they)
    assert asked(world.faulty, lambda: world.claims.claim("n", world.me)) == ["look"]
    assert asked(world.faulty, lambda: world.claims.show("n")) == ["look"]
    assert asked(world.faulty, lambda: world.claims.check("n", 1)) == ["read"]
    assert asked(world.faulty, lambda: world.claims.release("n", world.me)) == ["look"]


def test_a_session_is_read_and_advanced_and_its_first_beat_is_on_the_way(world: World) -> None:
    assert asked(world.faulty, lambda: world.claims.sessions.register("plain")) == ["read", "advance"]
    register = world.claims.sessions.register
    assert asked(world.faulty, lambda: register("beats", lease_seconds=LEASE)) == ["report", "advance"]


def test_whoever_is_refused_as_its_id_lives_leaves_no_beat_behind(world: World) -> None:
    register = world.claims.sessions.register
    with pytest.raises(SessionAlive):
        register("they", lease_seconds=LEASE)
    assert list(world.engine.beats) == [f"me/{world.me.incarnation}", f"they/{world.they.incarnation}"]


def test_a_heartbeat_and_a_look_at_the_registration_are_one(world: World) -> None:
    assert asked(world.faulty, lambda: world.claims.sessions.renew(world.me)) == ["report"]
    keeper = Claims(OnEngine(faulty := Faulty(world.engine), "far")).sessions
    assert asked(faulty, lambda: keeper.renew(world.me)) == ["read", "report"], "it asks once for how long that is promised"
    assert asked(faulty, lambda: keeper.renew(world.me)) == ["report"]


def test_many_claims_of_one_session_are_one_page_and_its_signs_of_life(world: World) -> None:
    for number in range(900):
        world.their_claims.claim(f"n{number}", world.they)
    assert asked(world.faulty, world.claims.list) == ["survey"]


def test_a_list_and_a_sweep_of_many_sessions_cost_what_those_of_one_do(world: World) -> None:
    for number in range(900):
        holder = world.their_claims.sessions.register(f"s{number}", lease_seconds=LEASE).holder
        world.their_claims.claim(f"n{number}", holder)
    assert asked(world.faulty, world.claims.list) == ["survey"]
    assert {each.verdict.liveness for each in world.claims.list() if each.verdict} == {Liveness.ALIVE}
    assert asked(world.faulty, world.claims.sessions.statuses) == ["survey"]
    assert asked(world.faulty, world.claims.reap) == ["survey", "scan", "scan"]
    world.their_claims.claim("n900", world.they)
    for number in range(101, 1101):
        world.their_claims.claim(f"n9{number}", world.they)
    assert asked(world.faulty, world.claims.list) == ["survey"] * 2


def test_a_registration_that_does_not_name_its_word_is_heard_by_itself(world: World) -> None:
    """As versions wrote it before that was asked for."""
    number, data = world.engine.read("session", "they")
    fields = {name: value for name, value in json.loads(data).items() if name != "word"}
    world.engine.advance("session", "they", number, json.dumps(fields).encode(), not_after=elapsed() + 9)
    assert asked(world.faulty, world.claims.sessions.statuses) == ["survey", "heard"]


def test_who_retires_pays_for_what_it_holds_and_not_for_what_others_hold(world: World) -> None:
    for number in range(900):
        world.their_claims.claim(f"n{number}", world.they)
    world.claims.claim("mine", world.me)
    assert asked(world.faulty, lambda: world.claims.retire(world.me)) == ["advance", "forget", "advance", "scan"]


def test_a_session_that_others_have_moved_meanwhile_is_read_before_it_ends(world: World) -> None:
    assert world.their_claims.sessions.resume(world.me)
    assert asked(world.faulty, lambda: world.claims.sessions.stop(*world.me)) == ["advance", "read", "advance", "forget"]
    assert not world.claims.sessions.stop(*world.me)
    assert world.their_claims.sessions.registration(world.me) is None


def test_who_waits_subscribes_once_and_each_look_is_of_its_own(world: World) -> None:
    """Without this each look would end what it is woken by, and make it anew: two questions more."""
    world.their_claims.claim("n", world.they)
    waiting = waiter(world.claims, "n", world.me, 0, LocalWatcher())
    assert "subscribe" in asked(world.faulty, waiting.look)
    for _ in range(3):
        assert asked(world.faulty, waiting.look) == ["look", "scan", "read"]
    world.their_claims.release("n", world.they)
    assert asked(world.faulty, waiting.look) == ["look", "advance", "forget"]


def test_who_is_told_what_was_published_claims_without_a_look(world: World) -> None:
    """What stands under a number never changes; if somebody else was faster, that costs one look more."""
    world.their_claims.claim("n", world.they)
    waiting = waiter(world.claims, "n", world.me, 0, LocalWatcher())
    waiting.look()
    (ring,) = world.engine._rings[CLAIM, "n"].values()
    tell(ring, world.engine.read(CLAIM, "n"))
    assert asked(world.faulty, waiting.look) == ["look", "scan", "read"], "that it is held is nothing to go on from"
    world.their_claims.release("n", world.they)
    tell(ring, world.engine.read(CLAIM, "n"))
    world.their_claims.claim("n", world.they)
    assert asked(world.faulty, waiting.look) == ["advance", "look", "scan", "read"]
    world.their_claims.release("n", world.they)
    tell(ring, world.engine.read(CLAIM, "n"))
    assert asked(world.faulty, waiting.look) == ["advance", "forget"]


class Telling(Faulty):
    """Which tells with each claim what stands of the session that has won."""

    tells_sessions = True

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        step = super().advance(kind, key, after, data, not_after=not_after)
        session = word_in(data).partition("/")[0] if kind == CLAIM else ""
        return Told(step.now, self.engine.read(SESSION, session)) if step.won and session else step


def test_a_claim_tells_whether_the_session_that_has_won_had_ended(world: World) -> None:
    assert world.claims.backend.has_told_end(world.me) is None, "so whoever wants to know has to ask"
    claims = Claims(OnEngine(Telling(world.engine), "far"))
    me = claims.sessions.register("telling", lease_seconds=LEASE).holder
    claims.claim("a", me)
    assert claims.backend.has_told_end(me) is False
    world.their_claims.sessions.stop(*me)
    claims.claim("b", me)
    assert claims.backend.has_told_end(me) is True
