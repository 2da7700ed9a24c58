"""What Windows does otherwise: files that others have open, paths, the boot time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.capabilities import NATIVE, NativeBackend, needs_one_case

from looop_portable import Claims, Held, Released, Won
from looop_portable.ledger.ledger import KEEP
from looop_portable.system.files import OS
from looop_portable.system.processes import SYSTEM


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path), NATIVE)


def test_an_open_projection_and_ledger_make_no_verb_fail(claims: Claims, tmp_path: Path) -> None:
    """As an editor or `type` has them, in another process: on Windows such a file can be neither replaced nor removed."""
    claims.sessions.register("one")
    claims.sessions.register("two")
    generation = 0
    with ExitStack() as readers:
        for turn in range(3):
            won = claims.claim("n", ("one", "two")[turn % 2])
            assert isinstance(won, Won)
            assert won.generation == generation + 1
            for path in (*(tmp_path / "claims").glob("*.json"), *(tmp_path / "claims/.ledger/n").glob("[0-9]*")):
                readers.enter_context(path.open("rb"))
            released = claims.release("n", ("one", "two")[turn % 2])
            assert isinstance(released, Released)
            generation = released.generation
            sweep = claims.reap()
            assert (sweep.reaped, sweep.failed, sweep.skipped) == ((), (), "")
        assert claims.show("n").lease is None
        claims.claim("n", "one")
        assert isinstance(claims.claim("n", "two"), Held)
    assert claims.reap().failed == ()
    assert (tmp_path / "claims/n.json").read_bytes() == (tmp_path / f"claims/.ledger/n/{generation + 1}").read_bytes()
    assert not list((tmp_path / "claims/.ledger/n").glob(".*"))


def test_readers_that_come_and_go_make_no_verb_fail_nor_wait_long(claims: Claims, tmp_path: Path) -> None:
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            for path in tmp_path.rglob("*"):
                if path.is_file() and not path.name.startswith(".guard"):
                    try:
                        path.read_bytes()
                    except OSError:
                        continue  # It is being removed.

    me = claims.sessions.register("one").holder
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(30):
            won = claims.claim("n", me)
            assert isinstance(won, Won)
            assert won.generation == 2 * turn + 1
            assert isinstance(claims.release("n", me), Released)
        assert claims.reap().failed == ()
    finally:
        over.set()
        reader.join()


def test_records_that_are_read_only_are_pruned_and_replaced(tmp_path: Path) -> None:
    """As POSIX hosts write them; Windows removes no file with that attribute."""
    backend = NativeBackend(str(tmp_path))
    claims = Claims(backend)
    for turn in range(KEEP):
        assert isinstance(claims.claim("n", f"w{turn}"), Won)
        for path in (tmp_path / "claims").rglob("*"):
            if path.is_file() and path.name != ".guard":
                path.chmod(stat.S_IREAD)
    assert isinstance(claims.claim("n", "last"), Won)
    numbers = [path.name for path in (tmp_path / "claims/.ledger/n").iterdir() if path.name.isdecimal()]
    assert sorted(map(int, numbers)) == list(range(2, KEEP + 2))
    assert isinstance(claims.release("n", "last"), Released)
    assert not (tmp_path / "claims/n.json").exists()


@needs_one_case
def test_names_that_differ_only_in_case_are_one_claim(claims: Claims) -> None:
    claims.sessions.register("one")
    claims.sessions.register("two")
    assert isinstance(claims.claim("Repo", "one"), Won)
    assert isinstance(claims.claim("repo", "two"), Held)
    assert isinstance(claims.release("repo", "one"), Released)
    assert isinstance(claims.claim("REPO", "two"), Won)


@pytest.mark.parametrize("name", ["with some spaces", "\u00e9t\u00e9 \u65e5\u672c", "n" * 120])
def test_a_store_may_be_anywhere_and_deep(tmp_path: Path, name: str) -> None:
    """The longest path is longer than the 260 characters that Windows takes without being told otherwise."""
    claims = Claims.open(str(tmp_path / name), NATIVE)
    long = "x" * 200
    me = claims.sessions.register(long).holder
    assert isinstance(claims.claim(long, me), Won)
    assert [status.name for status in claims.list()] == [long]
    assert isinstance(claims.release(long, me), Released)
    assert claims.reap().failed == ()


def test_a_directory_is_the_same_with_either_slash(tmp_path: Path) -> None:
    assert isinstance(Claims.open(str(tmp_path), NATIVE).claim("n", "one"), Won)
    seen = Claims.open(tmp_path.as_posix(), NATIVE).show("n")
    assert seen.lease
    assert seen.lease.session == "one"


def test_a_start_token_and_this_kernel_are_the_same_to_every_process() -> None:
    """Each of several asks afresh: of a kernel that boots anew with every question nothing would ever be known."""
    program = (
        f"from looop_portable.system.processes import SYSTEM; print(SYSTEM.start_of({os.getpid()}), *SYSTEM.here()[:3])"
    )
    command = [sys.executable, "-c", program]
    seen = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert seen == {" ".join([SYSTEM.start_of(os.getpid()), *map(str, SYSTEM.here()[:3])]) + "\n"}


Call = Callable[[str], object]


@pytest.mark.parametrize("call", [OS.read, OS.list, OS.mkdir, lambda path: OS.create(path, b"x")])
def test_a_path_through_a_file_is_an_error_and_not_a_place_where_nothing_is(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        call(f"{tmp_path.as_posix()}/file/below")


@pytest.mark.skipif(
    "looop_portable.system.files.windows" not in sys.modules, reason="paths need no prefix to mean what they say"
)
@pytest.mark.parametrize(
    ("path", "exact", "told"),
    [
        ("C:/data/x.", r"\\?\C:\data\x.", "C:/data/x."),
        (r"C:\data/.", r"\\?\C:\data", "C:/data"),
        ("C:", "\\\\?\\C:\\", "C:/"),
        ("//server/share/x", r"\\?\UNC\server\share\x", "//server/share/x"),
        (r"\\?\C:\data", r"\\?\C:\data", "C:/data"),
        ("//./nul", r"\\.\nul", "//./nul"),
        ("data/x", r"data\x", "data/x"),
    ],
)
def test_a_path_means_what_it_says_and_is_told_as_it_was_given(path: str, exact: str, told: str) -> None:
    files = sys.modules["looop_portable.system.files.windows"]
    assert files._exact(path) == exact
    assert files._told(exact) == told
