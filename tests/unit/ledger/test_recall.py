"""What a process recalls of its own release is a guess at the head: it saves a listing, and decides nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest
from support.capabilities import NATIVE, NativeBackend, NativeFiles

from looop_portable import Claims, Held, Released, Won
from looop_portable.protocol.records import Holder

NAME = "n"


class Listing(NativeFiles):
    """The real files; `listed` are the directories that were listed, `created` the files that were made."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.created: list[str] = []

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        self.created.append(path)
        super().create(path, data, shared=shared, durable=durable)

    def list(self, path: str) -> list[str]:
        self.listed.append(path)
        return super().list(path)


def cycle(claims: Claims, me: Holder) -> int:
    won = claims.claim(NAME, me)
    assert isinstance(won, Won)
    assert isinstance(claims.release_lease(won.lease), Released)
    return won.generation


@pytest.fixture
def files() -> Listing:
    return Listing()


@pytest.fixture
def claims(tmp_path: Path, files: Listing) -> Claims:
    """One that has released `NAME` twice, and found nobody in between."""
    found = Claims(NativeBackend(str(tmp_path), files))
    me = found.sessions.register("me").holder
    assert [cycle(found, me), cycle(found, me)] == [1, 3]
    return found


@pytest.fixture
def me(claims: Claims) -> Holder:
    return claims.sessions.holder("me")


@pytest.fixture
def another(claims: Claims, tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path), NATIVE)


def test_a_claimer_that_finds_nobody_in_between_lists_only_after_publishing(
    claims: Claims, me: Holder, files: Listing
) -> None:
    files.listed.clear()
    assert [cycle(claims, me), cycle(claims, me)] == [5, 7]
    assert [path.rpartition("/")[2] for path in files.listed] == [NAME, NAME]


@pytest.mark.parametrize("cycles", [1, 2, 20])
def test_what_others_did_in_between_is_built_upon(claims: Claims, me: Holder, another: Claims, cycles: int) -> None:
    they = another.sessions.register("they").holder
    theirs = [cycle(another, they) for _ in range(cycles)]
    assert theirs[0] == 5
    assert [cycle(claims, me), cycle(claims, me)] == [theirs[-1] + 2, theirs[-1] + 4]


def test_a_holder_that_was_overtaken_once_does_not_guess_the_next_time(
    claims: Claims, me: Holder, another: Claims, files: Listing
) -> None:
    they = another.sessions.register("they").holder
    files.created.clear()
    cycle(claims, me)
    usual = len(files.created)
    cycle(another, they)
    cycle(claims, me)
    cycle(another, they)
    files.created.clear()
    cycle(claims, me)
    assert len(files.created) == usual, "nothing was made for a step that is lost"


@pytest.mark.parametrize("cycles", [0, 1, 20])
def test_another_that_holds_in_between_is_respected(claims: Claims, me: Holder, another: Claims, cycles: int) -> None:
    they = another.sessions.register("they").holder
    for _ in range(cycles):
        cycle(another, they)
    won = another.claim(NAME, they)
    assert isinstance(won, Won)
    held = claims.claim(NAME, me)
    assert isinstance(held, Held)
    assert held.lease == won.lease


def test_what_we_hold_ourselves_is_not_forgotten_for_what_we_had_released(claims: Claims, me: Holder) -> None:
    won = claims.claim(NAME, me)
    assert isinstance(won, Won)
    assert claims.claim(NAME, me) == (won.lease,)
    assert claims.backend.read(NAME).generation == won.generation


@pytest.mark.parametrize("cycles", [0, 2])
def test_a_store_that_was_made_anew_has_numbers_of_its_own(claims: Claims, me: Holder, tmp_path: Path, cycles: int) -> None:
    shutil.rmtree(tmp_path / "claims" / ".ledger" / NAME)
    another = Claims.open(str(tmp_path), NATIVE)
    they = another.sessions.register("they").holder
    for _ in range(cycles):
        cycle(another, they)
    assert isinstance(another.claim(NAME, they), Won)
    assert isinstance(claims.claim(NAME, me), Held)


def test_a_lease_that_looop_wrote_in_between_is_respected(claims: Claims, me: Holder, tmp_path: Path) -> None:
    session = tmp_path / "sessions" / "looops"
    session.mkdir()
    meta = {"babysit_pid": os.getpid(), "started_at": "2026-01-01T00:00:00Z"}
    (session / "meta.json").write_text(json.dumps(meta))
    (session / "status.json").write_text(json.dumps({"state": "running"}))
    (tmp_path / "claims" / f"{NAME}.json").write_text(json.dumps({"session": "looops", "name": NAME}))
    held = claims.claim(NAME, me)
    assert isinstance(held, Held)
    assert held.lease.session == "looops"


def test_what_cannot_be_read_is_not_recalled(claims: Claims, me: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = claims.backend.ledger  # type: ignore[attr-defined]
    monkeypatch.setattr(ledger, "recall", lambda key: (_ for _ in ()).throw(PermissionError(13, "scripted")))
    assert cycle(claims, me) == 5
