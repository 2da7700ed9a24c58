"""Claims that several share, by the library: who joins, who is refused, who leaves, and what is told of it."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NATIVE, needs_flock

from looop_portable import (
    Broken,
    CannotExclude,
    Claims,
    Held,
    Holder,
    Lease,
    Refused,
    Released,
    Renewed,
    Superseded,
    UsageError,
    Won,
)
from looop_portable.claims.sharing import Share
from looop_portable.protocol.codec import encode
from looop_portable.protocol.records import lease_in, record_of, shared_lease
from looop_portable.protocol.shares import Reader

KINDS = ["memory", NATIVE, pytest.param("advisory", marks=needs_flock)]
Registers = Callable[[str], Holder]


@pytest.fixture(params=KINDS)
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    return Claims.open(tmp_path, request.param)


@pytest.fixture
def registers(claims: Claims) -> Registers:
    def register(session: str) -> Holder:
        return claims.sessions.register(session).holder

    return register


def won(claims: Claims, me: Holder, *, shared: bool = True) -> Lease:
    outcome = claims.claim("x", me, shared=shared)
    assert isinstance(outcome, Won), outcome
    return outcome.lease


def test_who_repeats_it_is_told_what_he_has(claims: Claims, registers: Registers) -> None:
    a, b = registers("a"), registers("b")
    first = won(claims, a)
    won(claims, b)
    again = claims.claim("x", a, shared=True)
    assert isinstance(again, Renewed)
    assert again.lease[:4] == first[:4]


def test_who_holds_it_alone_has_more_than_a_share(claims: Claims, registers: Registers) -> None:
    lease = won(claims, registers("a"), shared=False)
    assert claims.claim("x", Holder(*lease[1:3]), shared=True) == Renewed(lease)


def test_who_shares_it_is_refused_it_alone_and_told_why(claims: Claims, registers: Registers) -> None:
    a = registers("a")
    won(claims, a)
    outcome = claims.claim("x", a)
    assert isinstance(outcome, Held)
    assert "this session shares it itself" in outcome.verdict.evidence


def test_each_number_is_greater_than_that_of_who_had_it_alone_before(claims: Claims, registers: Registers) -> None:
    a, b, w = registers("a"), registers("b"), registers("w")
    numbers = []
    for _ in range(3):
        alone = won(claims, w, shared=False)
        claims.release_lease(alone)
        leases = [won(claims, a), won(claims, b)]
        numbers.append([alone.generation, *(each.generation for each in leases)])
        for each in leases:
            assert isinstance(claims.release_lease(each), Released)
    flat = list(itertools.chain(*numbers))
    assert flat == sorted(set(flat))


def test_a_release_by_the_id_leaves_with_all_that_the_session_has(claims: Claims, registers: Registers) -> None:
    a, b = registers("a"), registers("b")
    for word in ("s1", "s2"):
        assert isinstance(claims.claim("x", a, shared=Share(word)), Won)
    other = won(claims, b)
    assert isinstance(claims.release("x", a), Released)
    assert claims.check("x", other.generation).is_still(other)
    lease = claims.show("x").lease
    assert lease is not None
    assert [each.session for each in lease.readers] == ["b"]


def test_two_shares_of_a_session_have_numbers_of_their_own(claims: Claims, registers: Registers) -> None:
    a = registers("a")
    first, second = (claims.claim("x", a, shared=Share(word)) for word in ("s1", "s2"))
    assert isinstance(first, Won)
    assert isinstance(second, Won)
    assert second.generation > first.generation
    assert claims.release_lease(first.lease)
    assert claims.check("x", second.generation).is_still(second.lease)
    assert isinstance(claims.release_lease(first.lease), Refused)


def test_a_share_is_refused_while_another_block_of_the_session_has_it_alone(claims: Claims, registers: Registers) -> None:
    a = registers("a")
    won(claims, a, shared=False)
    assert isinstance(claims.claim("x", a, shared=Share("s1")), Held)


def test_who_is_not_among_them_releases_nothing(claims: Claims, registers: Registers) -> None:
    a, w = registers("a"), registers("w")
    lease = won(claims, a)
    assert isinstance(claims.release("x", w), Refused)
    assert claims.check("x", lease.generation).current


def test_the_end_of_a_session_leaves_the_others(claims: Claims, registers: Registers) -> None:
    a, b = registers("a"), registers("b")
    won(claims, a)
    other = won(claims, b)
    retired = claims.retire(a)
    assert [each.name for each in retired.released] == ["x"]
    assert not retired.failed
    assert claims.check("x", other.generation).is_still(other)


def test_one_is_broken_and_the_others_keep_it(claims: Claims, registers: Registers) -> None:
    first, second = won(claims, registers("a")), won(claims, registers("b"))
    assert isinstance(claims.break_claim("x", 99, "why"), Superseded)
    outcome = claims.break_claim("x", first.generation, "why")
    assert isinstance(outcome, Broken)
    assert outcome.previous.session == "a"
    assert isinstance(claims.release_lease(first), Refused)
    assert claims.check("x", second.generation).is_still(second)


def test_what_is_shared_is_not_handed_on(claims: Claims, registers: Registers) -> None:
    a, b = registers("a"), registers("b")
    won(claims, a)
    with pytest.raises(UsageError, match="shared"):
        claims.transfer("x", b, a)


def test_a_dead_one_is_left_out_by_whoever_joins(claims: Claims, registers: Registers) -> None:
    a, b, c = registers("a"), registers("b"), registers("c")
    won(claims, a)
    won(claims, b)
    claims.sessions.stop(*a)
    lease = won(claims, c)
    assert [each.session for each in lease.readers] == ["b", "c"]


def test_of_many_all_the_dead_are_left_out_before_as_many_have_joined_again(claims: Claims, registers: Registers) -> None:
    who = [registers(f"w{number}") for number in range(40)]
    for each in who:
        won(claims, each)
    for each in who[1::2]:
        claims.sessions.stop(*each)
    late = registers("late")
    for _ in range(80):
        lease = won(claims, late)
        claims.release_lease(lease)
        if len(lease.readers) == 21:
            break
    assert len(lease.readers) == 21


def test_a_dry_sweep_says_who_is_gone_and_leaves_him(claims: Claims, registers: Registers) -> None:
    a, b = registers("a"), registers("b")
    won(claims, a)
    won(claims, b)
    claims.sessions.stop(*a)
    assert [each.lease.session for each in claims.reap(dry_run=True).reaped] == ["a"]
    lease = claims.backend.read("x").lease
    assert lease is not None
    assert len(lease.readers) == 2
    sweep = claims.reap()
    assert [(each.lease.session, sweep.kept) for each in sweep.reaped] == [("a", 0)]
    assert claims.reap().kept == 1


def test_json_names_all_of_them(claims: Claims, registers: Registers) -> None:
    won(claims, registers("a"))
    lease = won(claims, registers("b"))
    told = json.loads(json.dumps(claims.show("x").as_dict()))
    assert [(each["session"], each["generation"]) for each in told["readers"]] == [("a", 1), ("b", 2)]
    assert pickle.loads(pickle.dumps(lease)) == lease


def test_a_record_that_does_not_name_all_of_them_names_nobody() -> None:
    lease = shared_lease("x", (Reader("a", "i", 1), Reader("b", "j", 2, "then", "here", "n\u00e9", "s1")), 1)
    whole = {**record_of(lease), "generation": 2, "token": "t"}
    assert lease_in(encode(whole), "x", 2) == shared_lease("x", lease.readers)
    listed = whole["readers"]
    assert isinstance(listed, list)
    for damaged in (
        [],
        [*listed, 7],
        [*listed, {}],
        [*listed, {"session": "c"}],
        [{**listed[0], "generation": 3}],
        "a",
        None,
    ):
        found = lease_in(encode({**whole, "readers": damaged}), "x", 2)
        assert found == Lease("x", "", generation=2), damaged


@needs_flock
def test_nobody_shares_a_claim_where_looop_itself_has_been(tmp_path: Path) -> None:
    session = tmp_path / "sessions" / "theirs"
    session.mkdir(parents=True)
    (session / "meta.json").write_text('{"id": "theirs", "babysit_pid": 1, "started_at": "2026-01-02T03:04:05Z"}')
    (session / "status.json").write_text('{"state": "running"}')
    claims = Claims.open(tmp_path, "advisory")
    me = claims.sessions.register("me").holder
    with pytest.raises(CannotExclude, match="looop itself uses this directory"):
        claims.claim("x", me, shared=True)
    assert isinstance(claims.claim("x", me), Won)
