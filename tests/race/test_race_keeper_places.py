"""Where a keeper's files go, and what `session start` says, when the state directory cannot be used: on real mounts."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.capabilities import PIDS, needs_pids
from support.crew import until
from support.rooms import PROC, Room

from looop_portable import Claims

USER, GROUP = 63_123, 63_120
ANOTHER = ("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups")
READS_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""Our Python may be where other users cannot look."""

READ_ONLY = 'mount --bind "$HOME" "$HOME"; mount -o remount,ro,bind "$HOME"'
FULL = 'mount -t tmpfs -o size=64k tmpfs "$HOME"; ! dd if=/dev/zero of="$HOME/fill" bs=1k status=none 2>/dev/null'
FILE = 'mkdir -p "$HOME/.local/state"; touch "$HOME/.local/state/looop"'
NOT_OURS = f'mkdir -p "$HOME/.local/state/looop/keepers"; chown -R {USER} "$HOME/.local"'
LINK = 'mkdir -p "$HOME/.local/state/looop" "$HOME/else"; ln -sfn "$HOME/else" "$HOME/.local/state/looop/keepers"'
NOTHING_TEMPORARY = (
    'for each in /tmp /var/tmp "$TMPDIR"; do mount --bind "$each" "$each"; mount -o remount,ro,bind "$each"; done'
)
BROKEN = {"read-only": READ_ONLY, "full": FULL, "a file": FILE, "another's": NOT_OURS, "a link": LINK}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a user who has his state, and temporary files, below it. Not below tmp_path, which is shut to other users."""
    directory = Path(tempfile.mkdtemp(prefix="home-"))
    directory.chmod(0o755)
    for name in ("home", "temporary", "data", "runtime"):
        (directory / name).mkdir()
    (directory / "temporary").chmod(0o1777)
    (directory / "data").chmod(0o777)
    (directory / "runtime").chmod(0o700)
    monkeypatch.setenv("HOME", str(directory / "home"))
    monkeypatch.setenv("TMPDIR", str(directory / "temporary"))
    monkeypatch.setenv("LOOOP_DATA_DIR", str(directory / "data"))
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID", "LOOOP_LEASE"):
        monkeypatch.delenv(name, raising=False)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


def start(room: Room, *more: str) -> dict[str, object]:
    done = room.looop("--json", "session", "start", "w1", "--pid", str(room.idle()), "--lease", "3", *more)
    assert (done.code, done.err) == (0, ""), done
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def check_that_it_is_kept(room: Room, stack: ExitStack, started: dict[str, object], place: str) -> None:
    """It is there, and said where; it is found there; and it beats, so that another container does not take over."""
    assert started["keeper"]
    assert f"the keeper's files are in {place}, as the state directory cannot be used: " in str(started["trouble"])
    there = json.loads(room.looop("--json", "session", "keep", "w1").out)
    assert (there["outcome"], there["keeper"]) == ("there", started["keeper"])
    assert str(there["log"]).startswith(f"{place}/w1-")
    assert room.looop("claim", "repo-x", "--session", "w1") == (0, "claimed repo-x\n", "")
    another = stack.enter_context(Room(PROC))
    (beat,) = Path(os.environ["LOOOP_DATA_DIR"]).glob("sessions/w1/heartbeat-*")
    for _ in range(5):  # A third of the lease each; the fourth is when another might take over.
        last = beat.stat().st_mtime_ns
        assert until(lambda last=last: beat.stat().st_mtime_ns != last, 20)  # type: ignore[misc]
        assert another.looop("claim", "repo-x", "--session", "w2").code == 1
    room.end()
    claims = Claims.open(os.environ["LOOOP_DATA_DIR"])
    assert until(lambda: claims.check("repo-x", 1).lease is None, 20)


@pytest.mark.parametrize("how", BROKEN)
def test_a_state_directory_that_cannot_be_used(stack: ExitStack, home: Path, how: str) -> None:
    room = stack.enter_context(Room(f"{PROC}; {BROKEN[how]}"))
    check_that_it_is_kept(room, stack, start(room), f"{home}/temporary/looop-keepers-{os.geteuid()}")
    assert list((home / "home" / "else").glob("*")) == []


def test_the_runtime_directory_comes_first(stack: ExitStack, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "runtime"))
    room = stack.enter_context(Room(f"{PROC}; {READ_ONLY}"))
    check_that_it_is_kept(room, stack, start(room), f"{home}/runtime/looop/keepers")


@pytest.mark.parametrize("where", ["/nonexistent", None], ids=["nonexistent", "unset"])
def test_a_user_without_a_home(stack: ExitStack, home: Path, monkeypatch: pytest.MonkeyPatch, where: str | None) -> None:
    """No entry in passwd either: as in a container with `--user`."""
    monkeypatch.delenv("HOME")
    if where:
        monkeypatch.setenv("HOME", where)
    room = stack.enter_context(Room(PROC, (*ANOTHER, *READS_ALL)))
    check_that_it_is_kept(room, stack, start(room), f"{home}/temporary/looop-keepers-{USER}")


def test_people_are_told_on_stderr_and_the_shell_is_not_disturbed(stack: ExitStack, home: Path) -> None:
    room = stack.enter_context(Room(f"{PROC}; {READ_ONLY}"))
    done = room.looop("session", "start", "w1", "--pid", str(room.idle()), "--lease", "3", "--shell")
    assert (done.code, done.out, done.err.count("\n")) == (0, "export LOOOP_SESSION_ID=w1\n", 1)
    assert f"the keeper's files are in {home}/temporary/looop-keepers-" in done.err
    assert "Read-only file system" in done.err


def test_it_is_found_where_it_began_when_the_state_directory_can_be_used_again(stack: ExitStack, home: Path) -> None:
    (home / "home" / ".local").touch()
    room = stack.enter_context(Room(PROC))
    started = start(room)
    assert started["trouble"]
    (home / "home" / ".local").unlink()
    assert room.looop("claim", "repo-x", "--session", "w1").code == 0
    assert json.loads(room.looop("--json", "session", "keep", "w1").out)["keeper"] == started["keeper"]
    assert room.looop("session", "stop", "w1") == (0, "", "")
    assert not list((home / "temporary").glob("looop-keepers-*/*"))


def test_where_there_is_no_place_at_all_no_session_is_started(stack: ExitStack, home: Path) -> None:
    room = stack.enter_context(Room(f"{PROC}; {NOTHING_TEMPORARY}; {READ_ONLY}; mount -t tmpfs tmpfs {home}/data"))
    done = room.looop("session", "start", "--pid", str(room.idle()), "--lease", "3")
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert "Read-only file system" in done.err
    assert room.looop("session", "list") == (0, "", "no sessions are registered\n")


@pytest.fixture
def group() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="looop-", dir=PIDS))
    yield found
    assert until(lambda: not (found / "cgroup.procs").read_text())
    found.rmdir()


@needs_pids
def test_where_no_process_can_be_made_no_session_is_started_and_else_there_is_a_keeper(
    group: Path, stack: ExitStack
) -> None:
    room = stack.enter_context(Room(PROC))
    idler = room.idle()
    room.enter(group)
    (running,) = (group / "pids.current").read_text().split()
    outcomes = []
    for more in range(1, 6):
        (group / "pids.max").write_text(str(int(running) + more))
        done = room.looop("--json", "session", "start", "--pid", str(idler), "--lease", "30")
        (group / "pids.max").write_text("max")
        outcomes.append(done.code)
        found = json.loads(done.out)
        listed = room.looop("session", "list")
        if done.code:
            assert "no more processes can be made here" in found["message"] or "limit of processes" in found["message"]
            assert listed.err == "no sessions are registered\n"
        else:
            assert json.loads(room.looop("--json", "session", "keep", found["session"]).out)["keeper"] == found["keeper"]
            assert room.looop("session", "stop", found["session"]).code == 0
            room.looop("reap")
    assert sorted(outcomes, reverse=True) == outcomes
    assert set(outcomes) == {0, 3}
