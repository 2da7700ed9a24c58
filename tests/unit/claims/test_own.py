"""A session of which this process gives the heartbeats, at its steps: by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import NATIVE
from support.clocks import Clock

from looop_portable.claims import own
from looop_portable.claims.gate import Claims
from looop_portable.claims.own import OwnSession, retire
from looop_portable.errors import NoSession
from looop_portable.protocol.records import Holder, Registration
from looop_portable.sessions.heartbeats import Pulse

LEASE = 3


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path), NATIVE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    found = Clock()
    monkeypatch.setattr(own, "elapsed", found)
    yield found
    found.stop()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return clock.pulse(lambda silent: True, LEASE, lambda reason: None, clock())


Meanwhile = Callable[[Callable[[Holder], object]], None]


@pytest.fixture
def meanwhile(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """What happens after a session has been published, and before whoever registers it is told."""

    def slow(deed: Callable[[Holder], object]) -> None:
        register = claims.sessions.register

        def registers(session: str = "", **others: object) -> Registration:
            found = register(session, **others)  # type: ignore[arg-type]
            deed(found.holder)
            return found

        monkeypatch.setattr(claims.sessions, "register", registers)

    return slow


def generation(claims: Claims, holder: Holder) -> int:
    return claims.sessions.look(holder.session)[1].generation


def test_the_first_heartbeat_counts_from_before_the_session_was_registered(
    claims: Claims, clock: Clock, pulse: Pulse, meanwhile: Meanwhile
) -> None:
    began = clock()
    meanwhile(lambda _: clock.move(0.9))
    session = OwnSession(claims)
    assert session.register(pulse, LEASE)
    assert pulse.renewed_at == began
    assert generation(claims, session.holder) == 1


def test_one_that_was_registered_slowly_is_said_again(
    claims: Claims, clock: Clock, pulse: Pulse, meanwhile: Meanwhile
) -> None:
    began = clock()
    meanwhile(lambda _: clock.move(1.1))
    session = OwnSession(claims)
    assert session.register(pulse, LEASE)
    assert pulse.renewed_at == began + 1.1
    assert generation(claims, session.holder) == 2


def test_one_that_others_have_ended_meanwhile_is_none_and_it_is_known_which_it_was(
    claims: Claims, clock: Clock, pulse: Pulse, meanwhile: Meanwhile
) -> None:
    def ended(holder: Holder) -> None:
        clock.move(1.1)
        claims.sessions.stop(*holder)

    meanwhile(ended)
    session = OwnSession(claims)
    assert session.register(pulse, LEASE) is None
    assert claims.sessions.has_ended(session.holder)
    clock.move(LEASE)
    assert pulse.renewed_at < clock() - LEASE, "it was not started"


def test_without_heartbeats_it_may_take_as_long_as_it_likes(claims: Claims, clock: Clock, meanwhile: Meanwhile) -> None:
    meanwhile(lambda _: clock.move(100))
    session = OwnSession(claims)
    assert session.register(None, 0, "w1")
    assert generation(claims, session.holder) == 1


def test_after_a_long_silence_it_is_published_that_it_goes_on(claims: Claims) -> None:
    session = OwnSession(claims, claims.sessions.register("w1", lease_seconds=LEASE).holder)
    assert session.renew(False)
    assert generation(claims, session.holder) == 1
    assert session.renew(True)
    assert generation(claims, session.holder) == 2


@pytest.mark.parametrize("silent", [False, True])
def test_the_claims_are_looked_at_with_each_heartbeat_of_one_that_goes_on(claims: Claims, silent: bool) -> None:
    looks: list[str] = []
    session = OwnSession(claims, claims.sessions.register("w1", lease_seconds=LEASE).holder)

    def look() -> list[str]:
        looks.append("look")
        return []

    assert session.renew(silent, look)
    assert looks == ["look"]
    claims.sessions.stop(*session.holder)
    assert not session.renew(silent, look)
    assert looks == ["look"]


def test_what_it_holds_is_released_at_its_end_and_a_made_up_id_is_gone(claims: Claims) -> None:
    holder = claims.sessions.register().holder
    claims.claim("repo-x", holder)
    assert [each.name for each in retire(claims, holder).released] == ["repo-x"]
    assert claims.sessions.status(holder.session) is None
    with pytest.raises(NoSession):
        retire(claims, holder)
    OwnSession(claims, holder).stop()


def test_an_id_that_somebody_has_chosen_stays_known_after_its_end(claims: Claims) -> None:
    session = OwnSession(claims, claims.sessions.register("w1").holder)
    session.stop()
    status = claims.sessions.status("w1")
    assert status
    assert status.registration.ended
