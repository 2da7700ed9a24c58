"""A filesystem that is full, or has become read-only: what needs no room is done there all the same."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import NATIVE, mounted_or_skipped, needs_fork, needs_proc
from support.children import Start, starting
from support.crew import until

from looop_portable import Claims, hold
from looop_portable.errors import ClaimLost, NotEnded, Unavailable

pytestmark = [needs_fork, needs_proc]

LISTENS = "import sys; print('runs', flush=True); sys.exit(len(sys.stdin.readline()))"
KINDS = {"tmpfs": 2, "ext4": 8, "btrfs": 120}
"""And the size of each in MiB."""
SOON = 60.0
LEASE = 3


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with mounted_or_skipped(request.param, tmp_path, KINDS[request.param]) as mounted:
        yield mounted / "data"


@pytest.fixture
def start() -> Iterator[Start]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOOP_")}
    with starting(env=environment) as begin:
        yield lambda store, *args: begin(sys.executable, "-m", "looop_portable", "--data-dir", str(store), *args)


def fill(directory: Path) -> None:
    """Until there is no byte left, nor any for a new file."""
    for turn in range(3):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError), (directory / f"fill-{turn}-{size}").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(size))
        os.sync()
    with pytest.raises(OSError, match="No space left"):
        (directory / "one-more").write_bytes(bytes(1 << 12))


def runs(start: Start, store: Path) -> subprocess.Popen[str]:
    running = start(store, "run", "--claim", "repo-x", "--lease", str(LEASE), "--", sys.executable, "-S", "-c", LISTENS)
    assert running.stdout
    assert running.stdout.readline() == "runs\n"
    return running


def heartbeat(store: Path) -> int:
    (found,) = store.glob("sessions/*/heartbeat-*")
    return found.stat().st_mtime_ns


def test_on_a_full_disk_heartbeats_go_on_and_the_end_releases(start: Start, store: Path) -> None:
    running = runs(start, store)
    fill(store.parent)
    for _ in range(LEASE + 1):  # So many thirds of the lease: longer than one that gives none is let live.
        before = heartbeat(store)
        while heartbeat(store) == before:
            assert running.poll() is None, running.communicate()
            threading.Event().wait(0.01)
    out, err = running.communicate("\n", timeout=SOON)
    assert (running.returncode, out, err) == (1, "", "")
    assert not Claims.open(str(store)).list()


def test_what_a_session_held_is_released_though_its_end_cannot_be_written(store: Path) -> None:
    claims = Claims.open(str(store), NATIVE)
    one = claims.sessions.register("one", locked=True).holder
    for name in ("a", "b"):
        claims.claim(name, one)
    fill(store.parent)
    with pytest.raises(NotEnded, match="No space left") as found:
        claims.retire(one)
    assert found.value.failed == ()
    assert not claims.list()
    for file in store.parent.glob("fill-*"):
        file.unlink()
    os.sync()
    assert claims.retire(one).stopped


def test_a_block_that_is_lost_releases_on_a_full_disk(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from looop_portable.system.files import OS

    def fail(path: str) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), path)

    claims = Claims.open(str(store), NATIVE)
    block = hold("repo-x", data_dir=str(store), backend=NATIVE, lease_seconds=LEASE)
    block.__enter__()
    fill(store.parent)
    monkeypatch.setattr(OS, "beat", fail)
    assert block.lost.wait(SOON)
    with pytest.raises(ClaimLost):
        block.__exit__(None, None, None)
    assert until(lambda: not claims.list())
    monkeypatch.undo()
    for file in store.parent.glob("fill-*"):
        file.unlink()
    assert until(lambda: not claims.sessions.ids()), "then the session ends as well"


def test_one_whose_disk_becomes_read_only_is_ended(start: Start, tmp_path: Path) -> None:
    with mounted_or_skipped("ext4", tmp_path, KINDS["ext4"], options=",errors=remount-ro") as mounted:
        device = os.stat(mounted).st_dev
        fault = Path(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
        fault = Path("/sys/fs/ext4") / fault.name / "trigger_fs_error"
        if not os.access(fault, os.W_OK):
            pytest.skip("the kernel lets nobody make an ext4 fail (trigger_fs_error)")
        running = runs(start, mounted / "data")
        fault.write_text("looop")
        assert running.wait(SOON) == 128 + signal.SIGTERM
        assert running.stderr
        err = running.stderr.read()
        assert "claim repo-x: lost: no heartbeat could be given for " in err
        assert "Traceback" not in err


def test_an_end_that_cannot_be_written_keeps_no_other_from_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, where what is held cannot be listed either."""
    claims = Claims.open(str(tmp_path), NATIVE)
    one = claims.sessions.register("one").holder
    claims.claim("a", one)

    def fail(*_: object) -> bool:
        raise Unavailable("no room")

    monkeypatch.setattr(claims.sessions, "stop", fail)
    monkeypatch.setattr(claims.backend, "held_by", fail)
    with pytest.raises(NotEnded, match="no room") as found:
        claims.retire(one)
    assert found.value.failed == (("", "no room"),)
