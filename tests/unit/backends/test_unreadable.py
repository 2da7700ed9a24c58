"""A generation from which no holder can be read is held by whoever may be its holder, and lives."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from support.capabilities import FILE_BACKENDS, open_or_skip

from looop_portable import Claims, Held, Refused, Released, Won
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.outcomes import Broken
from looop_portable.protocol.records import Registration
from looop_portable.system.clock import elapsed

GARBAGE = ["", "x", "\0" * 200, '{"session": "one", "name', "no JSON\r\n", '{"generation": 1}', "[]"]


@pytest.fixture(params=[backend for backend in FILE_BACKENDS if backend != "advisory"])
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    """Where looop shares the directory, what is shown is compared with the ledger, and mended."""
    return open_or_skip(request.param, tmp_path)


def written_over(path: Path, text: str) -> None:
    """As an editor does that saves in place, and was told to, though the file is read-only."""
    path.chmod(stat.S_IREAD | stat.S_IWRITE)
    with path.open("r+", newline="") as file:
        file.truncate()
        file.write(text)


def record(tmp_path: Path, generation: int = 1) -> Path:
    return tmp_path / f"claims/.ledger/n/{generation}"


@pytest.mark.parametrize("text", GARBAGE)
@pytest.mark.parametrize("shown", ["claims/n.json", "claims/.ledger/n/1"])
def test_it_is_held_while_its_holder_lives_and_free_when_that_is_dead(
    claims: Claims, tmp_path: Path, shown: str, text: str
) -> None:
    holder = claims.sessions.register("one", lease_seconds=0).holder
    assert isinstance(claims.claim("n", holder), Won)
    written_over(tmp_path / shown, text)
    other = Claims.open(str(tmp_path), claims.backend.name)
    held = other.claim("n", "two")
    assert isinstance(held, Held)
    assert "one" in held.verdict.evidence or held.lease.session == "one"
    assert isinstance(other.release("n", "two"), Refused)
    assert other.reap().reaped == ()
    claims.sessions.stop(*holder)
    won = other.claim("n", "two")
    assert isinstance(won, Won)
    assert won.generation == 2


def test_its_holder_can_let_it_go_and_an_operator_can_break_it(claims: Claims, tmp_path: Path) -> None:
    holder = claims.sessions.register("one", lease_seconds=0).holder
    assert isinstance(claims.claim("n", holder), Won)
    written_over(record(tmp_path), "x")
    others = Claims.open(str(tmp_path), claims.backend.name)  # As another process: this one knows what it has published.
    assert isinstance(others.release("n", holder), Released)
    assert isinstance(claims.claim("n", holder), Won)
    written_over(record(tmp_path, 3), "x")
    assert isinstance(claims.claim("n", "two"), Held)
    assert isinstance(others.break_claim("n", 3, "somebody saved over it"), Broken)
    assert isinstance(claims.claim("n", "two"), Won)


def test_a_session_that_may_be_its_holder_is_named_with_the_way_out(claims: Claims, tmp_path: Path) -> None:
    one, two = (claims.sessions.register(name, lease_seconds=0).holder for name in ("one", "two"))
    assert isinstance(claims.claim("n", one), Won)
    for path in (tmp_path / "claims/n.json", record(tmp_path)):  # Where they are two files, both.
        written_over(path, "x")
    claims.sessions.stop(*one)
    held = claims.claim("n", "three")
    assert isinstance(held, Held)
    assert held.verdict.liveness is Liveness.UNKNOWN
    assert "session 'two' may be it" in held.verdict.evidence
    assert "looop break n --generation 1" in held.verdict.evidence
    assert isinstance(claims.claim("n", two), Won)


def test_what_a_power_cut_left_is_free_whoever_has_come_since(
    claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(claims.claim("n", "gone"), Won)
    monkeypatch.setattr(claims.backend.sessions.signs, "disk", lambda: "a disk of this kernel's alone")
    for path in (tmp_path / "claims/n.json", record(tmp_path)):
        written_over(path, "")
    claims.sessions.register("one", lease_seconds=0)
    assert isinstance(claims.claim("n", "two"), Held)
    before_the_boot = time.time() - elapsed() - 3600
    os.utime(record(tmp_path), (before_the_boot, before_the_boot))
    monkeypatch.setattr(claims.backend.sessions.signs, "disk", lambda: "")
    assert isinstance(claims.claim("n", "two"), Held)  # Another host may have written it since.
    monkeypatch.setattr(claims.backend.sessions.signs, "disk", lambda: "a disk of this kernel's alone")
    assert isinstance(claims.claim("n", "two"), Won)


def test_one_that_is_only_silent_is_ended_before_it_is_taken_for_dead(
    claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = claims.sessions.register("one").holder
    assert isinstance(claims.claim("n", holder), Won)
    for path in (tmp_path / "claims/n.json", record(tmp_path)):
        written_over(path, "x")
    examine = claims.sessions.evidence.examine

    def silent(registration: Registration, *_: object) -> object:
        return examine(registration)._replace(liveness=Liveness.DEAD, inferred=not registration.ended)

    monkeypatch.setattr(claims.sessions.evidence, "examine", silent)
    assert isinstance(claims.claim("n", "two"), Won)
    assert claims.sessions.has_ended(holder)
