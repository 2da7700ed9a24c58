"""`as_dict`: what a program gives away as JSON has the keys, and the words, of `--json`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from looop_portable import Broken, Checked, Claims, Held, Refused, Released, Superseded, Won

Fields = dict[str, object]
Said = Callable[..., list[Fields]]
OF_THE_VERB = {"verb"}
OF_THE_CALLER = {"previous", "protected", "liveness", "evidence", "basis", "evidence_age", "until"}
"""What `claim` says of the session that claims, and a refusal of what it would have taken over."""
OF_A_REFUSAL = {"user", "command", "waiting", "next", "end"}
"""What a refusal of the command looks up besides, and `show`, and `claims`: who runs the holder, who waits, the way out."""
AGES = {"evidence_age", "evidence"}
"""What may be another a moment later."""


@pytest.fixture
def claims(data_dir: Path) -> Claims:
    found = Claims.open()
    found.sessions.register("w1", lease_seconds=30)
    found.sessions.register("w2")
    return found


@pytest.fixture
def said(run: Callable[..., subprocess.CompletedProcess[str]]) -> Said:
    return lambda *args: [json.loads(line) for line in run("--json", *args).stdout.splitlines()]


def alike(ours: Fields, theirs: Fields, but: AbstractSet[str] = frozenset()) -> bool:
    json.dumps(ours)
    assert {*ours} - but == {*theirs} - OF_THE_VERB - but
    return all(ours[key] == theirs[key] for key in {*ours} - but - AGES)


def test_a_claim_and_a_refusal(claims: Claims, said: Said) -> None:
    won = claims.claim("a", "w1")
    assert isinstance(won, Won)
    (renewed,) = said("claim", "a", "--session", "w1")
    assert alike(claims.claim("a", "w1").as_dict(), renewed, OF_THE_CALLER)
    assert alike(won.as_dict(), renewed | {"outcome": "won"}, OF_THE_CALLER)
    (held,) = said("claim", "a", "--session", "w2")
    found = claims.claim("a", "w2")
    assert isinstance(found, Held)
    assert alike(found.as_dict(), held, {"previous"} | OF_A_REFUSAL)
    refused = claims.release("a", "w2")
    assert isinstance(refused, Refused)
    (theirs,) = said("unclaim", "a", "--session", "w2")
    assert alike(refused.as_dict(), theirs, OF_A_REFUSAL)
    assert refused.as_dict()["outcome"] == "refused"


def test_what_is_shown_and_listed(claims: Claims, said: Said) -> None:
    claims.claim("a", "w1")
    for name in ("a", "free"):
        assert alike(claims.show(name).as_dict(), said("show", name)[0], OF_A_REFUSAL)
    (listed,) = said("claims")
    (status,) = claims.list()
    assert alike(status.as_dict(), listed, OF_A_REFUSAL)
    assert status.as_dict()["session"] == "w1"
    for ours, theirs in zip(claims.sessions.statuses(), said("session", "list"), strict=True):
        assert alike(ours.as_dict(), theirs)


def test_what_is_checked_broken_and_released(claims: Claims, said: Said) -> None:
    claims.claim("a", "w1")
    for generation in (1, 7):
        checked = claims.check("a", generation)
        assert isinstance(checked, Checked)
        assert alike(checked.as_dict(), said("check", "a", "--generation", str(generation))[0])
    superseded = claims.break_claim("a", 7, "test")
    assert isinstance(superseded, Superseded)
    assert alike(superseded.as_dict(), said("break", "a", "--generation", "7", "--reason", "test")[0])
    broken = claims.break_claim("a", 1, "test")
    assert isinstance(broken, Broken)
    claims.claim("b", "w1")
    (theirs,) = said("break", "b", "--generation", "1", "--reason", "test")
    assert {**broken.as_dict(), "name": "b"}.keys() == theirs.keys() - OF_THE_VERB
    assert broken.as_dict()["outcome"] == theirs["outcome"]
    claims.claim("a", "w1")
    released = claims.release("a", "w1")
    assert isinstance(released, Released)
    assert alike(released.as_dict(), said("unclaim", "a", "--session", "w1")[0])


def test_what_is_reaped_and_retired(claims: Claims, said: Said) -> None:
    claims.claim("a", "gone")
    (theirs,) = said("reap", "--dry-run")
    sweep = claims.reap()
    (reaped,) = sweep.reaped
    assert alike(reaped.as_dict(), theirs, {"outcome", "generation"})
    assert json.loads(json.dumps(sweep.as_dict()))["reaped"] == [reaped.as_dict()]
    claims.claim("a", "w1")
    retired = claims.retire(claims.sessions.holder("w1")).as_dict()
    assert retired == {"outcome": "stopped", "released": ["a"], "failed": []}


def test_a_session_by_time_says_until_when(claims: Claims, said: Said) -> None:
    claims.sessions.register("timed", lease_seconds=40, timed=True)
    claims.claim("a", "timed")
    until = claims.show("a").as_dict()["until"]
    assert isinstance(until, str)
    assert until.endswith("Z")
    assert str(said("show", "a")[0]["until"]) >= until
