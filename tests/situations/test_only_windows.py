"""What Windows alone can tell, and not Wine: open files stand in the way, and ended processes stay as long as a handle.

The rest of what is Windows' is in `tests/unit/system/test_windows.py`, which Wine can tell too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import works_or_skip

from looop_portable import Claims, Held, Won
from looop_portable.protocol.liveness import ProcessState
from looop_portable.system.processes import SYSTEM

HERE = "from looop_portable.system.processes import SYSTEM; print(SYSTEM.here().boot)"


@pytest.fixture(autouse=True)
def _a_real_one() -> None:
    """Found by trying: Wine's ntdll tells its version, and Windows' has no such call."""
    works_or_skip("Windows", ["cmd", "/c", "ver"])
    ntdll = ctypes.CDLL("ntdll")
    if hasattr(ntdll, "wine_get_version"):
        pytest.skip("Windows cannot be had here: this is Wine")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_reader_of_the_records_is_in_nobody_s_way(tmp_path: Path) -> None:
    """As an indexer or a backup does, by a handle that lets nobody rename or remove what it reads."""
    claims = Claims.open(str(tmp_path), "auto")
    claims.sessions.register("w1")
    claims.sessions.register("w2")
    for _ in range(3):
        assert isinstance(claims.claim("repo-x", "w1"), Won)
        with contextlib.ExitStack() as reading:
            for path in [found for found in tmp_path.rglob("*") if found.is_file()]:
                with contextlib.suppress(PermissionError):  # One that its owner shares with nobody.
                    reading.enter_context(path.open("rb"))
            claims.release("repo-x", "w1")
            assert isinstance(claims.claim("repo-x", "w2"), Won)
            assert isinstance(claims.claim("repo-x", "w1"), Held)
        claims.release("repo-x", "w2")


def test_a_process_that_has_ended_is_gone_though_somebody_has_a_handle_of_it(child: subprocess.Popen[bytes]) -> None:
    start = SYSTEM.start_of(child.pid)
    assert SYSTEM.state(child.pid, start) is ProcessState.RUNNING
    child.kill()
    child.wait()  # Its handle stays open until `child` is collected, and the process's id is kept for it.
    assert SYSTEM.state(child.pid, start) is not ProcessState.RUNNING
    assert SYSTEM.start_of(child.pid) == "" or SYSTEM.state(child.pid, start) is ProcessState.GONE


@pytest.mark.parametrize("name", ["ANOTHER", None], ids=["another name", "no name"])
def test_the_kernels_identity_is_no_variable(name: str | None) -> None:
    changed = {key: value for key, value in os.environ.items() if key.upper() != "COMPUTERNAME"}
    if name:
        changed["COMPUTERNAME"] = name
    told = subprocess.run([sys.executable, "-c", HERE], env=changed, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == SYSTEM.here().boot != ""
