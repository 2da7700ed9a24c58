"""What is made under a private name: when it is made once more, and what is left of it when it is not."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from looop_portable.errors import Unavailable
from looop_portable.system.files import OS
from looop_portable.system.opening.private import fresh, named, put


@pytest.fixture
def private(tmp_path: Path) -> Callable[[int], str]:
    return lambda attempt: f"{tmp_path.as_posix()}/.new-{attempt}"


def failing(error: BaseException) -> Callable[[str], str]:
    def call(path: str) -> str:
        raise error

    return call


def first(wrong: Callable[[str], object]) -> Callable[[str], str]:
    """Goes wrong the first time; then it gives what it is handed."""
    turns: Iterator[int] = itertools.count()

    def call(path: str) -> str:
        if next(turns) == 0:
            wrong(path)
        return path

    return call


def make(path: str) -> None:
    OS.create(path, b"{}\n")


def swept(path: str) -> None:
    os.unlink(path)
    raise FileNotFoundError(errno.ENOENT, "swept", path)


def test_what_is_put_is_there_in_the_place_of_what_was(tmp_path: Path) -> None:
    (tmp_path / "n").write_bytes(b"before")
    put(OS, f"{tmp_path.as_posix()}/n", b"after", fresh(f"{tmp_path.as_posix()}/.new-", OS.nonce))
    assert (tmp_path / "n").read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["n"]


@pytest.mark.parametrize("wrong", [swept, failing(OSError(errno.ESTALE, "swept by another host"))])
def test_what_is_swept_before_it_has_its_name_is_made_again(
    private: Callable[[int], str], wrong: Callable[[str], object]
) -> None:
    assert named(private, make, first(wrong), OS.remove) == private(1)
    assert os.path.exists(private(1))


def test_a_private_name_that_is_taken_is_left_alone(private: Callable[[int], str]) -> None:
    Path(private(0)).write_bytes(b"another's")
    assert named(private, make, str, OS.remove) == private(1)
    assert Path(private(0)).read_bytes() == b"another's"


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        OSError(errno.EIO, "broken"),
        FileExistsError(errno.EEXIST, "another has that name"),
        Unavailable("no answer"),
    ],
)
def test_nothing_private_is_left_after_an_error_or_an_interruption(
    tmp_path: Path, private: Callable[[int], str], error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        named(private, make, failing(error), OS.remove)
    assert raised.value is error
    assert os.listdir(tmp_path) == []


def test_nothing_half_made_is_left_after_an_interruption(tmp_path: Path, private: Callable[[int], str]) -> None:
    def interrupted(path: str) -> None:
        make(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        named(private, interrupted, str, OS.remove)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_removed_does_not_hide_what_went_wrong(private: Callable[[int], str]) -> None:
    error = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full") as raised:
        named(private, make, failing(error), failing(OSError(errno.EIO, "broken")))
    assert raised.value is error


def test_a_directory_that_is_missing_is_made(tmp_path: Path) -> None:
    below = f"{tmp_path.as_posix()}/room"
    found = named(fresh(f"{below}/.new-", OS.nonce), make, str, OS.remove, make_room=lambda: OS.mkdir(below))
    assert os.listdir(below) == [os.path.basename(found)]


def test_a_directory_that_is_missing_is_an_error_for_whoever_makes_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        named(fresh(f"{tmp_path.as_posix()}/room/.new-", OS.nonce), make, str, OS.remove)


def test_what_is_swept_for_ever_is_no_answer(private: Callable[[int], str]) -> None:
    with pytest.raises(Unavailable, match="removed by others as often as it is made; try again"):
        named(private, make, swept, OS.remove)
