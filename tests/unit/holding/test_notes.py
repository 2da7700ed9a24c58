"""Notes on claims for programs: `hold`, `hold_all`, `aio`, and what whoever is refused is told."""

from __future__ import annotations

import asyncio
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from looop_portable import (
    ClaimHeld,
    Claims,
    Held,
    InvalidName,
    Renewed,
    WaitedTooLong,
    Won,
    aio,
    claim_all,
    hold,
    hold_all,
    wait_for,
)
from looop_portable.protocol.records import Holder
from looop_portable.system.processes import host

NOTE = "migrating, ask Ann"


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path))


@pytest.fixture
def me(claims: Claims) -> Holder:
    return claims.sessions.register("me").holder


@pytest.fixture
def other(claims: Claims) -> Holder:
    return claims.sessions.register("other").holder


def notes(claims: Claims) -> dict[str, str]:
    return {status.name: status.lease.note for status in claims.list() if status.lease}


def test_a_claim_has_its_note_for_all_who_read_it(claims: Claims, me: Holder, other: Holder, tmp_path: Path) -> None:
    won = claims.claim("x", me, note=NOTE)
    assert isinstance(won, Won)
    assert won.lease.note == NOTE
    elsewhere = Claims.open(str(tmp_path))
    refused = elsewhere.claim("x", other, note="mine")
    assert isinstance(refused, Held)
    assert refused.lease == won.lease
    renewed = claims.claim("x", me, note="another")
    assert isinstance(renewed, Renewed)
    assert renewed.lease == won.lease


def test_who_takes_over_brings_his_own(claims: Claims, me: Holder, other: Holder) -> None:
    claims.claim("x", me, note=NOTE)
    claims.sessions.stop(*me)
    taken = claims.claim("x", other)
    assert isinstance(taken, Won)
    assert taken.previous
    assert (taken.previous.note, taken.lease.note) == (NOTE, "")


def test_those_who_wait_and_those_who_claim_several_have_one(claims: Claims, me: Holder) -> None:
    wait_for(claims, "a", me, note=NOTE)
    wait_for(claims, "s", me, slots=3, note=NOTE)
    claim_all(claims, ["c", "d"], me, note=NOTE)
    asyncio.run(aio.claim(claims, "e", me, note=NOTE))
    asyncio.run(aio.claim(claims, "f", me, timeout=None, note=NOTE))
    assert notes(claims) == dict.fromkeys(["a", "s#1", "c", "d", "e", "f"], NOTE)


@pytest.mark.parametrize("timeout", [0, 60])
def test_a_block_has_one(claims: Claims, tmp_path: Path, timeout: float) -> None:
    here: dict[str, Any] = {"data_dir": tmp_path, "note": NOTE, "timeout": timeout}
    with hold("x", **here) as lease, hold_all("a", "b", slots=2, **here):
        assert lease.lease.note == NOTE
        assert notes(claims) == dict.fromkeys(["x", "a#1", "b#1"], NOTE)

    async def within() -> None:
        async with aio.hold("x", **here) as held:
            assert held.lease.note == NOTE
            assert notes(claims) == {"x": NOTE}

    asyncio.run(within())
    with hold("x", data_dir=tmp_path) as lease:
        assert lease.lease.note == ""


@pytest.mark.parametrize("note", ["n" * 1001, "\udcff", None, 5])
def test_what_can_be_no_note_is_refused_before_anything_is_claimed(claims: Claims, me: Holder, note: Any) -> None:
    for deed in (
        lambda: hold("x", note=note),
        lambda: hold_all("x", note=note),
        lambda: aio.hold("x", note=note),
        lambda: claim_all(claims, ["x"], me, note=note),
        lambda: wait_for(claims, "x", me, note=note),
        lambda: asyncio.run(aio.claim(claims, "x", me, note=note)),
    ):
        with pytest.raises(InvalidName, match="invalid note"):
            deed()
    assert claims.list() == []


def test_a_note_of_a_thousand_characters_is_read_as_it_was_written(claims: Claims, me: Holder, tmp_path: Path) -> None:
    note = "\x00\n\x1b\u2028\U0001f512" * 200
    claims.claim("x", me, note=note)
    assert notes(Claims.open(str(tmp_path))) == {"x": note}


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_who_is_refused_is_told_since_when_where_and_why(
    claims: Claims, other: Holder, tmp_path: Path, timeout: float
) -> None:
    won = claims.claim("x", other, note=NOTE)
    assert isinstance(won, Won)
    with pytest.raises(WaitedTooLong if timeout else ClaimHeld) as refusal, hold("x", data_dir=tmp_path, timeout=timeout):
        pass
    for error in (refusal.value, copy.copy(refusal.value), pickle.loads(pickle.dumps(refusal.value))):
        assert (error.since, error.host, error.note) == (won.lease.claimed_at, host(), NOTE)
        assert "\n" not in str(error)


def test_who_is_refused_for_a_block_of_this_process_is_told_too(tmp_path: Path) -> None:
    with hold("x", data_dir=tmp_path, note=NOTE) as lease:
        outer = lease.lease

        async def refused() -> ClaimHeld:
            with pytest.raises(ClaimHeld) as refusal:
                async with aio.hold("x", data_dir=tmp_path):
                    pass
            return refusal.value

        error = asyncio.run(refused())
    assert (error.since, error.host, error.note) == (outer.claimed_at, outer.host, NOTE)


def test_an_error_of_an_earlier_version_has_none() -> None:
    error = ClaimHeld("x", "other", "it runs")
    assert (error.since, error.host, error.note) == ("", "", "")
