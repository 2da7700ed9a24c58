"""Numbers never begin again, whatever removes a name's generations, as long as the stamp and the floors are there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.capabilities import FILE_BACKENDS, NATIVE, NativeFiles, needs_modes, open_or_skip

from looop_portable import Claims, Held, Released, Unavailable, Won
from looop_portable.ledger.floors import ceiling
from looop_portable.protocol.records import Holder
from looop_portable.system.files import OS, growing

NAME = "repo-x"


@pytest.fixture(params=FILE_BACKENDS)
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    return open_or_skip(request.param, tmp_path)


def opened(claims: Claims, tmp_path: Path) -> Claims:
    """Another process, as it were: it remembers nothing."""
    return Claims.open(str(tmp_path), claims.backend.name)


def me(claims: Claims) -> Holder:
    return claims.sessions.register().holder


def cycle(claims: Claims, holder: Holder) -> int:
    won = claims.claim(NAME, holder)
    assert isinstance(won, Won)
    assert isinstance(claims.release(NAME, holder), Released)
    return won.generation + 1


def wipe(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "claims" / ".ledger" / NAME)


@given(st.integers(1, 10**6))
def test_the_floor_is_raised_before_a_number_is_published_that_is_above_it(generation: int) -> None:
    """Counted up one by one, as generations are, so by induction up to any of them."""
    floor = max(ceiling(each) for each in range(max(generation - 1024, 1), generation + 1))
    assert generation <= floor < max(2 * generation, generation + 1024)


def test_a_new_name_begins_at_one(claims: Claims) -> None:
    won = claims.claim(NAME, me(claims))
    assert isinstance(won, Won)
    assert won.generation == 1


@pytest.mark.parametrize("cycles", [1, 2, 9, 40])
@pytest.mark.parametrize("again", [False, True], ids=["the same process", "another"])
def test_a_name_whose_generations_were_all_removed_goes_on_above_them(
    claims: Claims, tmp_path: Path, cycles: int, again: bool
) -> None:
    holder = me(claims)
    for _ in range(cycles):
        last = cycle(claims, holder)
    for _ in range(3):
        wipe(tmp_path)
        current = opened(claims, tmp_path) if again else claims
        shown = current.show(NAME)
        assert (shown.generation >= last, shown.lease) == (True, None)
        won = current.claim(NAME, holder)
        assert isinstance(won, Won)
        assert won.generation > last
        assert current.check(NAME, won.generation).current
        assert current.release(NAME, holder) == Released(NAME, won.generation + 1, won.lease)
        last = won.generation + 1


def test_a_second_holder_of_a_name_whose_held_generation_was_removed_has_a_greater_number(
    claims: Claims, tmp_path: Path
) -> None:
    first = claims.claim(NAME, me(claims))
    assert isinstance(first, Won)
    wipe(tmp_path)
    second = opened(claims, tmp_path).claim(NAME, me(claims))
    assert isinstance(second, Won)
    assert second.generation > first.generation


def test_an_empty_directory_is_as_good_as_none(claims: Claims, tmp_path: Path) -> None:
    last = cycle(claims, me(claims))
    wipe(tmp_path)
    directory = tmp_path / "claims" / ".ledger" / NAME
    directory.mkdir()
    (directory / ".3-0123456789abcdef01234567-0").touch()
    assert cycle(claims, me(claims)) > last + 1


def test_a_claimer_that_goes_by_an_old_floor_begins_nothing(claims: Claims, tmp_path: Path) -> None:
    """Another has begun there since, and holds."""
    cycle(claims, me(claims))
    wipe(tmp_path)
    late = opened(claims, tmp_path)
    floor = late.backend.read(NAME).generation
    won = claims.claim(NAME, me(claims))
    assert isinstance(won, Won)
    assert won.generation == floor + 1
    assert not late.backend.advance(NAME, floor, won.lease._replace(session="late", incarnation="late"))
    assert isinstance(late.claim(NAME, me(late)), Held)


def test_a_claimer_that_begins_at_one_after_another_came_loses(claims: Claims, tmp_path: Path) -> None:
    """The name was claimed, released and removed while he slept."""
    late = opened(claims, tmp_path)
    assert late.backend.read(NAME).generation == 0
    last = cycle(claims, me(claims))
    wipe(tmp_path)
    holder = me(late)
    lease = claims.backend.read("other").lease
    assert lease is None
    won = claims.claim("repo-y", holder)
    assert isinstance(won, Won)
    assert not late.backend.advance(NAME, 0, won.lease._replace(name=NAME, generation=1))
    again = late.claim(NAME, holder)
    assert isinstance(again, Won)
    assert again.generation > last


def test_what_crashed_when_it_was_about_to_begin_is_swept(claims: Claims, tmp_path: Path) -> None:
    last = cycle(claims, me(claims))
    private = tmp_path / "claims" / ".ledger" / ".dir-0123456789abcdef01234567"
    private.mkdir()
    (private / "3").touch()
    assert claims.reap().failed == ()
    assert not private.exists()
    wipe(tmp_path)
    assert cycle(claims, me(claims)) > last


def test_without_its_floors_a_name_begins_again(tmp_path: Path) -> None:
    """What remains: all of it has been removed."""
    claims = open_or_skip(NATIVE, tmp_path)
    holder = me(claims)
    for _ in range(3):
        cycle(claims, holder)
    wipe(tmp_path)
    os.remove(tmp_path / "claims" / ".ledger" / ".floors")
    assert cycle(claims, holder) == 2


def test_floors_that_cannot_be_written_keep_nobody_from_claiming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, shared: int = 0) -> bool:
        raise OSError(errno.ENOSPC, "scripted")

    monkeypatch.setattr(NativeFiles, "raise_floor", full)
    claims = open_or_skip(NATIVE, tmp_path)
    holder = me(claims)
    assert [cycle(claims, holder), cycle(claims, holder)] == [2, 4]


def test_floors_that_cannot_be_read_are_told_of(tmp_path: Path) -> None:
    claims = open_or_skip(NATIVE, tmp_path)
    assert claims.backend.unavailable() is None
    (tmp_path / "claims" / ".ledger" / ".floors").mkdir()
    with pytest.raises(Unavailable, match=r"\.floors"):
        claims.claim(NAME, me(claims))


@needs_modes
def test_a_floor_only_grows_and_is_a_names_own(tmp_path: Path) -> None:
    path = str(tmp_path / "floors")
    assert OS.floor(path, 7) == 0
    assert OS.raise_floor(path, 7, 31, shared=0o060)
    assert not OS.raise_floor(path, 7, 15)
    assert OS.raise_floor(path, 3, 1)
    assert [OS.floor(path, mark) for mark in (2, 3, 6, 7, 2**64 - 1)] == [0, 1, 0, 31, 0]
    assert os.stat(path).st_mode & 0o660 == 0o660


def test_each_of_many_names_has_its_own_floor_unless_its_bucket_is_full(tmp_path: Path) -> None:
    path = str(tmp_path / "floors")
    for number in range(200):
        assert OS.raise_floor(path, number * 65_537 + 1, number + 1)
    assert [OS.floor(path, number * 65_537 + 1) for number in range(200)] == list(range(1, 201))
    one_bucket = [1 + 4093 * (1000 + turn) for turn in range(12)]
    for turn, mark in enumerate(one_bucket):
        OS.raise_floor(path, mark, 10 * (turn + 1))
    assert all(OS.floor(path, mark) >= 10 * (turn + 1) for turn, mark in enumerate(one_bucket))


def test_a_thousand_new_names_begin_at_one(tmp_path: Path) -> None:
    claims = open_or_skip(NATIVE, tmp_path)
    lease = claims.backend.read(NAME).lease
    assert lease is None
    holder = me(claims)
    for number in range(1000):
        won = claims.claim(f"repo-{number}", holder)
        assert isinstance(won, Won)
        assert won.generation == 1


def test_a_new_file_of_floors_that_cannot_be_shared_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real, close = OS._open_floors, os.close

    def shares(fd: int, shared: int, most: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def opens(path: str, how: int, mode: int = 0) -> int:
        opened.append(real(path, how, mode))
        return opened[-1]

    def closes(fd: int) -> None:
        opened.remove(fd)
        close(fd)

    monkeypatch.setattr(type(OS), "_open_floors", staticmethod(opens))
    monkeypatch.setattr(growing, "share", shares)
    monkeypatch.setattr(os, "close", closes)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        OS.raise_floor(str(tmp_path / "floors"), 7, 31)
    assert opened == []
