"""`doctor` with a backend that keeps its claims elsewhere: nothing of the race stays there, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_proc, needs_sqlite, needs_stopping
from support.crew import until
from support.engines import EXAMPLES, sqlite_engine

from looop_portable.backends.engine import CLAIM, SESSION
from looop_portable.backends.on_engine import OnEngine

pytestmark = needs_sqlite

Run = Callable[..., subprocess.CompletedProcess[str]]

PLUGIN = """
import os
from sqlite_engine import SqliteEngine
from looop_portable.backends.on_engine import OnEngine

def open_tape(data_dir, url):
    return OnEngine(SqliteEngine(os.environ["TAPE"]), "tape")
"""
URL = "tape://me:secret@server/0"
INTERRUPTED = """
import _thread, os, threading
from looop_portable.__main__ import main

def wait():
    os.read(0, 1)
    _thread.interrupt_main()

threading.Thread(target=wait, daemon=True).start()
main()
"""


@pytest.fixture(autouse=True)
def tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `pip` leaves a plug-in for `tape://`. The file in which all its claims are, wherever they are claimed."""
    site = tmp_path / "site"
    info = site / "looop_portable_tape-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: looop-portable-tape\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[looop_portable.backends]\ntape = tape_plugin:open_tape\n")
    (site / "tape_plugin.py").write_text(PLUGIN)
    paths = [str(site), str(EXAMPLES), os.environ.get("PYTHONPATH")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("TAPE", str(tmp_path / "claims.sqlite"))
    monkeypatch.setenv("LOOOP_BACKEND", URL)
    return tmp_path / "claims.sqlite"


def what_is_there(tape: Path) -> tuple[list[str], list[str]]:
    """Sessions, and claims that are held."""
    backend = OnEngine(sqlite_engine().SqliteEngine(str(tape)), "tape")
    return backend.sessions.ids(), [name for name, head in backend.scan() if head.lease]


def sessions(tape: Path) -> list[str]:
    return what_is_there(tape)[0] if tape.exists() else []


def test_no_session_is_left_there(looop: Run, tape: Path, tmp_path: Path) -> None:
    assert looop("session", "start", "ours", "--pid", str(os.getpid())).returncode == 0
    assert looop("claim", "x", "--session", "ours").returncode == 0
    done = looop("doctor", str(tmp_path), "--seconds", "0.2", "--processes", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert what_is_there(tape) == (["ours"], ["x"])


def begin(tmp_path: Path) -> subprocess.Popen[bytes]:
    args = ["doctor", str(tmp_path), "--seconds", "120", "--processes", "2"]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", INTERRUPTED, *args], stdin=pipe, stdout=pipe, stderr=pipe)


def test_after_an_interrupt_neither(tape: Path, tmp_path: Path) -> None:
    with begin(tmp_path) as doctor:
        assert until(lambda: len(sessions(tape)) == 2 or doctor.poll() is not None)
        doctor.communicate(timeout=60)
        assert doctor.returncode == 130
    assert what_is_there(tape) == ([], [])
    assert not list(tmp_path.glob(".looop-doctor-*"))


def racers_of(pid: int) -> list[int]:
    found = []
    for each in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{each}/stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(each))
    return found


@needs_proc
@needs_stopping
def test_that_of_a_racer_which_cannot_end_it_is_ended_for_it(tape: Path, tmp_path: Path) -> None:
    with begin(tmp_path) as doctor:
        assert until(lambda: len(sessions(tape)) == 2 or doctor.poll() is not None)
        for pid in racers_of(doctor.pid):
            os.kill(pid, signal.SIGSTOP)
        doctor.communicate(timeout=60)
    assert what_is_there(tape) == ([], [])


def test_the_generations_of_what_was_raced_for_stay(looop: Run, tape: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert looop("doctor", str(tmp_path), "--seconds", "0.2", "--processes", "2").returncode == 0
    engine = sqlite_engine().SqliteEngine(str(tape))
    assert (len(engine.scan(SESSION)), len(engine.scan(CLAIM))) == (0, 1)
