"""Several claims at once: all or none, in one order whoever asks."""

from __future__ import annotations

import pytest

from looop_portable import Claims, Held, Renewed, Unavailable, Won
from looop_portable.backends.memory import MemoryBackend
from looop_portable.protocol.records import Holder
from looop_portable.protocol.shares import in_order
from looop_portable.waiting.claiming import claim_all


@pytest.fixture
def claims() -> Claims:
    return Claims(MemoryBackend())


@pytest.fixture
def me(claims: Claims) -> Holder:
    return claims.sessions.register("me").holder


@pytest.fixture
def other(claims: Claims) -> Holder:
    return claims.sessions.register("other").holder


def held(claims: Claims) -> list[str]:
    return sorted(status.name for status in claims.list())


def test_all_are_claimed_each_once_and_in_one_order(claims: Claims, me: Holder) -> None:
    found = claim_all(claims, ["b", "a", "b", "C"], me)
    assert not isinstance(found, Held)
    assert [(type(each), each.lease.name) for each in found] == [(Won, "a"), (Won, "b"), (Won, "C")]


def test_the_order_is_that_of_the_file_names_where_case_is_not_told_apart() -> None:
    assert in_order(["b", "A", "a", "con", "%"]) == in_order(["%", "con", "a", "A", "b"]) == ["%", "con", "A", "a", "b"]


def test_where_a_later_one_is_held_what_was_won_is_released_and_what_was_ours_is_not(
    claims: Claims, me: Holder, other: Holder
) -> None:
    claims.claim("a", me)
    claims.claim("c", other)
    found = claim_all(claims, ["d", "c", "b", "a"], me)
    assert isinstance(found, Held)
    assert (found.lease.name, found.lease.session) == ("c", "other")
    assert held(claims) == ["a", "c"]
    assert claims.check("d", 0).head == 0, "it was not even tried"
    assert isinstance(claims.claim("a", me), Renewed)


def test_where_a_later_one_cannot_be_answered_what_was_won_is_released(
    claims: Claims, me: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claims.claim

    def fails(name: str, session: Holder) -> object:
        if name == "b":
            raise Unavailable("for a test")
        return claim(name, session)

    monkeypatch.setattr(claims, "claim", fails)
    with pytest.raises(Unavailable, match="for a test"):
        claim_all(claims, ["a", "b"], me)
    assert held(claims) == []
