"""A claim that is handed over: one generation, never two holders, and never free in between."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import NATIVE

from looop_portable import Claims, Held, NoSession, Refused, Released, Renewed, Won
from looop_portable.errors import SessionEnded, UsageError
from looop_portable.protocol.records import Head, Holder, Lease


class Stage:
    """One store, in which `me` holds n at generation 1, and `other` lives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.claims = Claims.open(str(directory), NATIVE)
        self.me, self.other = (self.claims.sessions.register(name).holder for name in ("me", "other"))
        won = self.claims.claim("n", self.me)
        assert isinstance(won, Won)
        self.mine = won.lease

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.directory / "events.jsonl").read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_the_other_holds_the_next_generation(stage: Stage) -> None:
    claims = stage.claims
    outcome = claims.transfer("n", "other", stage.me)
    assert isinstance(outcome, Won)
    assert (outcome.generation, outcome.previous) == (2, stage.mine)
    assert claims.check("n", 2).is_held_by(stage.other)
    assert not claims.check("n", 1).current
    assert isinstance(claims.claim("n", stage.other), Renewed)
    assert isinstance(claims.claim("n", stage.me), Held)
    assert isinstance(claims.release("n", stage.me), Refused)
    assert isinstance(claims.release_lease(stage.mine), Refused)
    assert claims.release("n", stage.other) == Released("n", 3, outcome.lease)
    said = [event for event in stage.events() if event["event"] == "transferred"]
    assert [(each["claim"], each["session"], each["previous"], each["generation"]) for each in said] == [
        ("n", "other", "me", 2)
    ]


def test_it_is_one_step_and_never_free(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[int, str]] = []
    advance = stage.claims.backend.advance

    def noted(claim: str, expected: int, lease: Lease | None) -> bool:
        published.append((int(expected) + 1, lease.session if lease else "nobody"))
        return advance(claim, expected, lease)

    monkeypatch.setattr(stage.claims.backend, "advance", noted)
    stage.claims.transfer("n", "other", stage.me)
    assert published == [(2, "other")]


def test_who_has_lost_it_meanwhile_hands_nothing_over(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    read = stage.claims.backend.read
    rival = Claims.open(str(stage.directory), NATIVE)

    def read_then_broken(claim: str) -> Head:
        head = read(claim)
        if head.generation == 1:
            rival.break_claim("n", 1, "a test")
            rival.claim("n", rival.sessions.register("rival").holder)
        return head

    monkeypatch.setattr(stage.claims.backend, "read", read_then_broken)
    refused = stage.claims.transfer("n", "other", stage.me)
    assert isinstance(refused, Refused)
    assert refused.lease.session == "rival"
    assert rival.check("n", 3).current


def test_what_is_not_ours_is_refused(stage: Stage) -> None:
    before = stage.claims.backend.read("n")
    for name, who in (("n", stage.other), ("free", stage.me), ("n", Holder("me", "old"))):
        assert isinstance(stage.claims.transfer(name, "other", who), Refused)
    assert stage.claims.backend.read("n") == before


def test_it_is_handed_to_nobody_who_does_not_live(stage: Stage) -> None:
    claims, before = stage.claims, stage.claims.backend.read("n")
    with pytest.raises(NoSession):
        claims.transfer("n", "stranger", stage.me)
    with pytest.raises(UsageError):
        claims.transfer("n", "a/b", stage.me)
    claims.sessions.stop("other")
    with pytest.raises(SessionEnded):
        claims.transfer("n", "other", stage.me)
    again = claims.sessions.register("other").holder
    with pytest.raises(SessionEnded):
        claims.transfer("n", stage.other, stage.me)
    assert claims.backend.read("n") == before
    assert isinstance(claims.transfer("n", again, stage.me), Won)


def test_to_oneself_nothing_is_written(stage: Stage) -> None:
    assert stage.claims.transfer("n", "me", stage.me) == Renewed(stage.mine)
    assert stage.claims.backend.read("n").generation == 1


def test_when_the_other_dies_it_is_anybody_s(stage: Stage) -> None:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"])
    try:
        stage.claims.sessions.register("mortal", pid=process.pid)
        assert isinstance(stage.claims.transfer("n", "mortal", stage.me), Won)
    finally:
        process.kill()
        process.wait()
    won = stage.claims.claim("n", stage.other)
    assert isinstance(won, Won)
    assert (won.generation, won.previous and won.previous.session) == (3, "mortal")


def test_when_the_other_ends_it_is_released(stage: Stage) -> None:
    """By a process that has not won it."""
    stage.claims.transfer("n", "other", stage.me)
    retired = Claims.open(str(stage.directory), NATIVE).retire(stage.other)
    assert [each.name for each in retired.released] == ["n"]
