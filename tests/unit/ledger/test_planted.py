"""Whatever kind of file stands in whatever place: nobody hangs, no other name is refused, that one gets a line."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.capabilities import FIFOS, NATIVE, SYMLINKS, open_or_skip

from looop_portable import Claims, LooopError, Released, Won

pytestmark = pytest.mark.timeout(60)
"""The watchdog."""

NONCE = "0123456789abcdef01234567"
OF_A_NAME = [
    *("claims/n.json", "claims/.ledger/n", "claims/.ledger/n/99", f"claims/.ledger/n/.5-{NONCE}-0"),
    *("claims/.queue/n", f"claims/.queue/n/000000000001-{NONCE}", f"claims/.queue/n/.000000000001-{NONCE}"),
    *("sessions/s", "sessions/s/meta.json", "sessions/s/status.json", f"sessions/s/heartbeat-{NONCE}"),
    *(f"sessions/s/lock-{NONCE}", f"sessions/s/.meta.json-{NONCE}", "sessions/.ledger/s", "sessions/.ledger/s/99"),
]
IN_NOBODYS_WAY = [
    *("claims/.ledger/.guard", f"claims/.ledger/.stamp-{NONCE}", f"claims/.ledger/.dir-{NONCE}"),
    *(f"claims/.age-{NONCE[:16]}", f"claims/.guard-{NONCE}", "events.jsonl", "events.jsonl.1"),
]
OF_THE_STORE = [
    "claims",
    "claims/.ledger",
    "claims/.ledger/.protocol.json",
    "claims/.dirlock",
    "claims/.ledger/.guard",
    "sessions",
    "sessions/.ledger",
]
KINDS = ["directory", "full directory", "socket", "device", "immutable", "another's"]
KINDS += ["fifo", "fifo that somebody writes to"] if FIFOS else []
KINDS += ["dangling", "loop", "link to a device"] if SYMLINKS else []


@contextmanager
def planted(path: Path, kind: str) -> Iterator[None]:
    """Skips, and says why, where that kind cannot be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    undo: list[Callable[[], object]] = []
    try:
        _plant(path, kind, undo)
        yield
    finally:
        for step in undo:
            step()


def _plant(path: Path, kind: str, undo: list[Callable[[], object]]) -> None:
    if kind in ("dangling", "loop", "link to a device"):
        path.symlink_to({"dangling": "nowhere", "loop": path.name}.get(kind, "/dev/zero"))
    elif "directory" in kind:
        path.mkdir()
        if kind.startswith("full"):
            (path / "x").mkdir()
            (path / "x" / "1").write_text("x")
    elif "fifo" in kind:
        os.mkfifo(path)
        if kind != "fifo":
            fd = os.open(path, os.O_RDWR)
            undo.append(lambda: os.close(fd))
    elif kind == "socket":
        _plant_socket(path, undo)
    elif kind == "device":
        _plant_device(path)
    else:
        path.write_text("x")
        path.chmod(0o000)
        if kind == "immutable":
            _make_immutable(path, undo)


def _plant_socket(path: Path, undo: list[Callable[[], object]]) -> None:
    """It is made where paths are short, since a socket's has some hundred bytes, and renamed."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no sockets that are files")
    listening = socket.socket(socket.AF_UNIX)
    undo.append(listening.close)
    with tempfile.TemporaryDirectory() as short:
        listening.bind(f"{short}/s")
        try:
            os.rename(f"{short}/s", path)
        except OSError as error:
            pytest.skip(f"a socket cannot be renamed to where the test is: {error}")
    listening.listen()


def _plant_device(path: Path) -> None:
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))
    except (OSError, AttributeError):
        pytest.skip("no device can be made (needs CAP_MKNOD)")


def _make_immutable(path: Path, undo: list[Callable[[], object]]) -> None:
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", path], check=False, capture_output=True).returncode:
        pytest.skip("no file can be made immutable (needs chattr, and CAP_LINUX_IMMUTABLE)")
    undo.append(lambda: subprocess.run([chattr, "-i", path], check=True))


def answered(call: Callable[[], object]) -> None:
    """An answer, or one line."""
    try:
        call()
    except LooopError as error:
        line = str(error)
    else:
        return
    assert line
    assert "\n" not in line


def ask(claims: Claims) -> None:
    sessions = claims.sessions
    calls: list[Callable[[], object]] = [
        *(claims.list, lambda: claims.show("n"), sessions.statuses, lambda: sessions.verdict("s", NONCE)),
        lambda: claims.claim("n", "s"),
        lambda: claims.release("n", "s"),
        lambda: sessions.register("s"),
        lambda: sessions.stop("s"),
        claims.reap,
    ]
    for call in calls:
        answered(call)


@pytest.fixture(scope="module", params=[NATIVE, "advisory"])
def backend(request: pytest.FixtureRequest) -> str:
    with tempfile.TemporaryDirectory() as tried:
        open_or_skip(request.param, Path(tried))
    return str(request.param)


def store(data_dir: Path, backend: str) -> None:
    claims = Claims.open(str(data_dir), backend)
    claims.sessions.register("s")
    claims.claim("n", "s")
    claims.release("n", "s")
    claims.claim("kept", "s")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [*OF_A_NAME, *IN_NOBODYS_WAY])
def test_an_object_in_a_names_place_is_in_the_way_of_no_other(tmp_path: Path, backend: str, place: str, kind: str) -> None:
    store(tmp_path, backend)
    if place.endswith("/.guard") and (tmp_path / place).exists():
        pytest.skip("hard links are missing: there this is the store's own guard")
    with planted(tmp_path / place, kind):
        claims = Claims.open(str(tmp_path), backend)
        for name in ("other", "another"):
            me = claims.sessions.register(f"of-{name}").holder
            assert isinstance(claims.claim(name, me), Won)
            tickets = claims.backend.tickets
            assert tickets
            assert tickets.line(name) == []
            tickets.give_back(name, tickets.take(name, claims.sessions.evidence.this_process()))
            assert isinstance(claims.release(name, me), Released)
            ask(claims)
        swept = claims.reap()
        assert swept.skipped == ""
        assert {name for name, _ in swept.failed} <= {"", "n"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", OF_THE_STORE)
def test_an_object_in_the_stores_own_place_hangs_nobody(tmp_path: Path, backend: str, place: str, kind: str) -> None:
    store(tmp_path, backend)
    with planted(tmp_path / place, kind):
        ask(Claims.open(str(tmp_path), backend))


def test_what_stands_where_a_session_is_shown_is_told_by_its_own_name(tmp_path: Path) -> None:
    """It was the name of a file of ours that was to be renamed to it, and is gone again."""
    claims = open_or_skip("advisory", tmp_path)  # Which may be shared with looop: it looks there.
    claims.sessions.register("worker")
    shown = tmp_path / "sessions" / "worker" / "meta.json"
    shown.unlink()
    shown.mkdir()
    with pytest.raises(LooopError, match=rf"{re.escape(shown.as_posix())}( \(|$)"):
        claims.claim("n", "worker")
