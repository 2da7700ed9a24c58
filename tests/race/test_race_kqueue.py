"""Who waits where kqueue(2) tells: real processes, which never look again by themselves. On Linux it is the tests'."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kqueues
from support.capabilities import needs_sh
from support.children import Child, Start, says, starting
from support.crew import until

if not kqueues.is_possible():
    pytest.skip("select.kqueue is missing, and what tells of the same", allow_module_level=True)

pytestmark = [needs_sh]
SOON = 60.0
NEVER_LOOKS = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from support import elsewhere, kqueues
kqueues.put_in_place()
elsewhere.take_away()
from looop_portable.system.processes import handle
from looop_portable.system.watch.shared import SharedWatcher
from looop_portable.waiting import pauses
from looop_portable.waiting import waits

def never(*_, **__):
    return 1000.0

pauses.Pauses._jittered = never
waits.REPORT_AFTER = 1000.0
from looop_portable.waiting.turns import Turns
Turns.patience = never
handle._LOOK = 1000.0
watches = SharedWatcher.watch
def watch(self, waiter, path):
    found = watches(self, waiter, path)
    print("watches", file=sys.stderr, flush=True)
    return found
SharedWatcher.watch = watch
from looop_portable.__main__ import main
main()
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    for name in ("LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID", "LOOOP_LEASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOOOP_DATA_DIR", str(tmp_path / "data"))
    with starting() as begin:
        yield begin


def runs(start: Start, script: str, timeout: float = 0) -> Child:
    looop = (sys.executable, "-c", NEVER_LOOKS, str(Path(__file__).parents[1]))
    return start(*looop, "run", "--claim", "repo-x", "--timeout", str(timeout), "--", "sh", "-c", script)


def waits(start: Start) -> Child:
    """One more in line, which hears what it waits for."""
    child = runs(start, "echo won", 600)
    assert child.stderr
    assert "watches" in child.stderr.readline()
    return child


def in_line(directory: Path) -> int:
    return len(list(directory.glob("data/claims/.queue/*/[0-9]*")))


def test_a_waiter_is_woken_by_the_release(start: Start, tmp_path: Path) -> None:
    holder = runs(start, "echo runs; read x")
    assert says(holder) == "runs"
    waiters = []
    for number in range(3):
        waiters.append(waits(start))
        assert until(lambda number=number: in_line(tmp_path) == number + 1)  # type: ignore[misc]
    holder.communicate("\n", timeout=SOON)
    for waiter in waiters:
        assert waiter.wait(SOON) == 0
        assert says(waiter) == "won"


def test_a_waiter_is_woken_by_the_end_of_the_holder_s_process(start: Start) -> None:
    holder = runs(start, "echo runs; exec sleep 600")
    assert says(holder) == "runs"
    waiter = waits(start)
    holder.kill()
    assert waiter.wait(SOON) == 0
    assert says(waiter) == "won"


def test_a_waiter_is_woken_by_the_end_of_one_before_it(start: Start, tmp_path: Path) -> None:
    holder = runs(start, "echo runs; read x")
    assert says(holder) == "runs"
    first = waits(start)
    assert until(lambda: in_line(tmp_path) == 1)
    second = waits(start)
    assert until(lambda: in_line(tmp_path) == 2)
    first.kill()
    first.wait()
    assert until(lambda: in_line(tmp_path) == 1)
    holder.communicate("\n", timeout=SOON)
    assert second.wait(SOON) == 0


KEEPER = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from support import elsewhere, kqueues
kqueues.put_in_place()
elsewhere.take_away()
from looop_portable.system.processes import handle
handle._LOOK = 1000.0
pid = int(sys.argv[1])
watch = handle.Watch(pid, handle.SYSTEM.start_of(pid))
print("watches", flush=True)
print(watch.ended(600), flush=True)
"""


def test_a_keeper_is_told_of_the_end_of_its_process(start: Start) -> None:
    process = start(sys.executable, "-I", "-S", "-c", "input()")
    keeper = start(sys.executable, "-c", KEEPER, str(Path(__file__).parents[1]), str(process.pid))
    assert says(keeper) == "watches"
    process.kill()
    assert says(keeper) == "True"
    assert keeper.wait(SOON) == 0


@pytest.mark.parametrize("limit", [6, 8, 10, 12, 16])
def test_with_few_descriptors_a_waiter_gets_it_all_the_same(start: Start, tmp_path: Path, limit: int) -> None:
    """It looks, then."""
    pytest.importorskip("resource")
    elsewhere = str(Path(__file__).parents[1] / "support" / "elsewhere.py")
    holder = runs(start, "echo runs; read x")
    assert says(holder) == "runs"
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2);"
        " del sys.argv[1]; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    claims = ("run", "--claim", "repo-x", "--timeout", "600", "--", "true")
    waiter = start(
        sys.executable,
        *("-c", program, str(limit), elsewhere, *claims),
        env={**os.environ, "ELSEWHERE": "kqueue", "PYTHONPATH": str(Path(elsewhere).parent)},
        stdout=subprocess.DEVNULL,
    )
    assert until(lambda: in_line(tmp_path) == 1 or waiter.poll() is not None)
    holder.communicate("\n", timeout=SOON)
    _, said = waiter.communicate(timeout=SOON)
    assert waiter.returncode == 0 or "Too many open files" in said
