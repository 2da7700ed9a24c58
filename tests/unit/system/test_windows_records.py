"""On Windows: no projection is a name of the ledger's record, and no guard keeps anybody out where hard links exclude."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE, NativeBackend, NativeFiles

from looop_portable import Claims, Held, Released, Won
from looop_portable.errors import CannotExclude, Unavailable
from looop_portable.system.files import OS

pytest.importorskip("_winapi", reason="files are not opened by handles")

handles: Any = sys.modules["looop_portable.system.opening.handles"]
windows: Any = sys.modules["looop_portable.system.files.windows"]
guards: Any = sys.modules["looop_portable.system.locks.guard_windows"]

DENIED, BEING_REMOVED = 0xC0000022, 0xC0000056
HOLDER = """
import sys
from looop_portable.system.files import OS
with OS.guard(sys.argv[1]):
    print("inside", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path), NATIVE)


def save_in_place(path: Path, text: str) -> None:
    with path.open("r+") as file:
        file.truncate()
        file.write(text)


@pytest.mark.parametrize("text", ["", "x", '{"session": "me", "na', '{"released": true}', '{"session": "me", "name": "n"}'])
def test_an_editor_that_saves_a_projection_in_place_frees_no_claim(claims: Claims, tmp_path: Path, text: str) -> None:
    holder = claims.sessions.register("one", lease_seconds=0).holder
    won = claims.claim("n", holder)
    assert isinstance(won, Won)
    save_in_place(tmp_path / "claims/n.json", text)
    assert isinstance(claims.claim("n", "two"), Held)
    assert claims.check("n", won.lease.generation).is_still(won.lease)
    assert isinstance(Claims.open(str(tmp_path), NATIVE).claim("n", "two"), Held)
    assert claims.reap().reaped == ()
    assert isinstance(claims.release("n", holder), Released)
    assert isinstance(claims.claim("n", "two"), Won)


def test_a_projection_is_a_file_of_its_own(claims: Claims, tmp_path: Path) -> None:
    claims.sessions.register("one")
    for turn in range(3):
        claims.claim("n", "one")
        shown, record = tmp_path / "claims/n.json", tmp_path / f"claims/.ledger/n/{2 * turn + 1}"
        assert shown.read_bytes() == record.read_bytes()
        assert not os.path.samefile(shown, record)
        assert not list(record.parent.glob(".*"))
        claims.release("n", "one")


@contextmanager
def stopped_inside(path: str) -> Iterator[None]:
    """Another process is inside the guard at `path`, and does nothing more."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout
        assert process.stdout.readline() == "inside\n"
        yield
    finally:
        process.communicate()


def test_a_process_stopped_inside_the_guard_keeps_nobody_out_where_there_are_hard_links(
    claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process of an earlier version is, which holds one there."""
    claims.sessions.register("one")
    claims.claim("first", "one")
    monkeypatch.setattr(guards.guard, "__defaults__", (0.0,))
    with stopped_inside(f"{tmp_path.as_posix()}/claims/.ledger/.guard"):
        assert isinstance(claims.claim("n", "one"), Won)
        assert isinstance(claims.release("n", "one"), Released)
        assert claims.reap().failed == ()
        assert claims.backend.unavailable() is None


class Linkless(NativeFiles):
    """A filesystem without hard links, as FAT is."""

    def link(self, private: str, public: str) -> None:
        raise OSError(errno.EINVAL, "no hard links", public, 1)


def test_a_waiter_for_the_guard_is_told_how_long_and_what_to_do(tmp_path: Path) -> None:
    path = f"{tmp_path.as_posix()}/guard"
    with stopped_inside(path):
        assert guards.excludes(path)
        with pytest.raises(Unavailable, match="waited for 0 s: another process has held this guard"), guards.guard(path, 0):
            pass
    with guards.guard(path, 0):
        pass


@pytest.mark.parametrize("access", ["reading", "all"])
def test_the_guard_is_waited_for_while_a_scanner_has_it(tmp_path: Path, access: str) -> None:
    """One that lets others read at most, as scanners, backups and indexers do."""
    backend = NativeBackend(str(tmp_path), files=Linkless())
    claims = Claims(backend)
    claims.claim("first", "one")
    path = handles.exact(f"{tmp_path.as_posix()}/claims/.ledger/.guard")
    scanner = handles.handle(path, handles.READ_DATA, handles.OPEN_EXISTING, share=1 if access == "reading" else 0)
    over = threading.Timer(
        0.7, lambda: handles._winapi.CloseHandle(scanner)
    )  # For longer than any other file is waited for.
    over.start()
    try:
        assert isinstance(claims.claim("n", "one"), Won)
        assert isinstance(claims.release("n", "one"), Released)
    finally:
        over.join()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_guard_that_a_filesystem_does_not_know_is_refused_when_the_stamp_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    r"""As \\wsl$ has no such locks."""

    def locking(fd: int, mode: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("msvcrt.locking", locking)
    claims = Claims(NativeBackend(str(tmp_path), files=Linkless()))
    with pytest.raises(CannotExclude, match=r"no guard can be held here .* choose a directory on another filesystem"):
        claims.claim("n", "one")
    assert not (tmp_path / "claims/.ledger/.protocol.json").exists()


def denied(path: str) -> OSError:
    return PermissionError(errno.EACCES, "Access is denied", path, 5)


class Script:
    """Windows, where each call fails with error 5, and `status`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
        self.slept = 0.0
        self.status = status
        monkeypatch.setattr(handles, "status", lambda: self.status)
        monkeypatch.setattr(handles.time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds

    def call(self) -> None:
        raise denied("\\\\?\\C:\\x")


def test_what_is_denied_for_good_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, DENIED)
    with pytest.raises(PermissionError):
        handles.patiently(script.call)
    assert script.slept < 0.01
    script.status = BEING_REMOVED
    with pytest.raises(PermissionError):
        handles.patiently(script.call)
    assert script.slept > 0.4


def test_a_denial_that_is_said_of_what_is_open_too_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, DENIED)
    with pytest.raises(PermissionError):
        handles.patiently(script.call, is_in_use=lambda: True)
    assert script.slept > 0.4


def test_a_name_that_is_being_removed_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, BEING_REMOVED)

    def fails(path: str, *_: object, **__: object) -> None:
        raise denied(path)

    monkeypatch.setattr(handles._winapi, "CreateFile", fails)
    for call in ("unlink", "listdir", "lstat", "stat"):
        monkeypatch.setattr(os, call, fails)
    path = f"{tmp_path.as_posix()}/x"
    assert OS.read(path) is None
    assert OS.changed(path) is None
    assert OS.remove(path) is False
    for look in (OS.list, OS.refuse_link, OS.shared_bits):
        with pytest.raises(FileNotFoundError):
            look(path)
    assert script.slept == 0


def test_a_directory_that_somebody_watches_stays_and_is_used_again(tmp_path: Path) -> None:
    from looop_portable.system.watch.waking import new_watcher

    path = f"{tmp_path.as_posix()}/watched"
    OS.mkdir(path)
    watcher = new_watcher()
    try:
        assert watcher.watch([path])
        OS.rmdir(path)
        assert os.path.isdir(path)
        OS.create(f"{path}/x", b"x")
    finally:
        watcher.close()
    with pytest.raises(OSError, match="not empty"):
        OS.rmdir(path)
    OS.remove(f"{path}/x")
    OS.rmdir(path)
    assert not os.path.exists(path)
    with pytest.raises(FileNotFoundError):
        OS.rmdir(path)


def test_a_directory_is_not_removed_where_windows_says_that_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wine removes it when it is closed, but lets its name be used until then, as Windows does not."""
    path, shares = f"{tmp_path.as_posix()}/watched", []

    def is_open(name: str, access: int, share: int, *_: object) -> None:
        shares.append((access & handles.DELETE, share))
        raise PermissionError(errno.EACCES, "in use", name, 32)

    OS.mkdir(path)
    monkeypatch.setattr(handles._winapi, "CreateFile", is_open)
    OS.rmdir(path)
    assert shares == [(handles.DELETE, 0)]
    assert os.path.isdir(path)


def test_every_call_takes_a_path_longer_than_260_characters(tmp_path: Path) -> None:
    deep = f"{tmp_path.as_posix()}/{'d' * 200}/{'e' * 200}"
    OS.mkdir(os.path.dirname(deep))
    OS.mkdir(deep)
    assert OS.now(deep) > 0
    OS.make_beat(f"{deep}/beat")
    age = OS.age(f"{deep}/beat")
    assert age is not None
    before = OS.changed(f"{deep}/beat")
    os.utime(handles.exact(f"{deep}/beat"), (1, 1))
    OS.keep_young(f"{deep}/beat", 0)
    after = OS.changed(f"{deep}/beat")
    assert before
    assert after
    assert after >= before
    OS.link(f"{deep}/beat", f"{deep}/other")
    assert OS.is_same(f"{deep}/beat", f"{deep}/other")
    assert OS.raise_floor(f"{deep}/floors", 7, 3)
    assert OS.floor(f"{deep}/floors", 7) == 3
    with OS.guard(f"{deep}/guard"):
        pass
    assert OS.guard_excludes(f"{deep}/guard")
    near, far = OS.mount_of(str(tmp_path)), OS.mount_of(deep)
    assert near == far
    for name in OS.list(deep):
        assert OS.remove(f"{deep}/{name}")
    OS.rmdir(deep)


def test_no_call_is_given_a_prefix_with_other_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""`//?/` is no prefix: Windows parses such a path, up to 260 characters."""
    asked: list[str] = []

    def noted(real: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *rest: object, **named: object) -> object:
            asked.append(str(path))
            return real(path, *rest, **named)

        return call

    for name in ("unlink", "lstat", "stat", "utime", "listdir", "mkdir"):
        monkeypatch.setattr(os, name, noted(getattr(os, name)))
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.sessions.register("one")
    claims.claim("n", "one")
    claims.reap()
    OS.now(tmp_path.as_posix())
    assert asked
    assert not [path for path in asked if path.startswith("//?/") or ("/" in path and path.startswith("\\\\?\\"))]
