"""A holder that is given no process, thread or descriptor any more, or no memory: it stops all the same when it has lost.

Or it never begins: then it says why in one line, and leaves nothing behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import NATIVE, PIDS, needs_fork, needs_other_users, needs_pids, needs_proc
from support.children import Start, says, starting

from looop_portable import Claims, Won

pytestmark = [needs_fork, needs_proc]

LOOOP = (sys.executable, "-m", "looop_portable")
SLEEP = "import time; print('runs', flush=True); time.sleep(600)"
SOON = 60.0


@pytest.fixture
def store() -> Iterator[Path]:
    """Not below tmp_path, which is shut to other users."""
    with tempfile.TemporaryDirectory(prefix="exhausted-") as made:
        Path(made).chmod(0o777)
        yield Path(made) / "data"


@pytest.fixture
def claims(store: Path) -> Claims:
    return Claims.open(str(store), NATIVE)


@pytest.fixture
def start(store: Path) -> Iterator[Start]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOOP_")}
    with starting(env={**environment, "LOOOP_DATA_DIR": str(store)}) as begin:
        yield begin


class Group:
    """A control group for processes, which can be given no more of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def enter(self) -> None:
        """For `preexec_fn`."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, more: int = 0) -> None:
        (self.path / "pids.max").write_text(str(int((self.path / "pids.current").read_text()) + more))


@pytest.fixture
def group() -> Iterator[Group]:
    path = Path(tempfile.mkdtemp(prefix="looop-", dir=PIDS))
    yield Group(path)
    for pid in (path / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    while (path / "cgroup.procs").read_text():
        threading.Event().wait(0.01)
    path.rmdir()


def ends(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SOON)
    assert "Traceback" not in err
    assert "Exception in thread" not in err
    return process.returncode, out, err


def nothing_left(claims: Claims) -> bool:
    return not claims.list() and not claims.sessions.ids()


@needs_pids
def test_without_any_process_left_a_command_that_has_lost_is_ended(start: Start, claims: Claims, group: Group) -> None:
    run = ("run", "--claim", "repo-x", "--lease", "3", "--", sys.executable, "-S", "-c", SLEEP)
    running = start(*LOOOP, *run, preexec_fn=group.enter)
    assert says(running) == "runs"
    group.limit()
    claims.break_claim("repo-x", 1, "test")
    code, _, err = ends(running)
    assert code == 128 + signal.SIGTERM
    assert err == "looop: claim repo-x: lost: generation 1 was superseded (it is at 2); the command is ended\n"
    assert nothing_left(claims)


@needs_pids
def test_without_any_process_left_it_leaves_as_ever(start: Start, claims: Claims, group: Group) -> None:
    run = (
        "run",
        "--claim",
        "repo-x",
        "--",
        sys.executable,
        "-S",
        "-c",
        "import sys; print('runs', flush=True); sys.stdin.readline()",
    )
    running = start(*LOOOP, *run, preexec_fn=group.enter)
    assert says(running) == "runs"
    group.limit()
    assert ends(running)[0] == 0
    assert nothing_left(claims)


@needs_pids
@pytest.mark.parametrize("more", range(4))
def test_a_command_that_could_not_be_ended_is_not_begun(start: Start, claims: Claims, group: Group, more: int) -> None:
    """For the command's own process, and for three threads."""
    waits = "import sys; print('ready', flush=True); sys.stdin.readline(); from looop_portable.__main__ import main; main()"
    running = start(
        *(sys.executable, "-c", waits, "run", "--claim", "repo-x", "--", sys.executable, "-S", "-c", SLEEP),
        preexec_fn=group.enter,
    )
    assert says(running) == "ready"
    group.limit(more)
    code, out, err = ends(running)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "could not be " in err
    assert nothing_left(claims)


HOLDS = """
import sys, threading
from looop_portable import aio, hold
print("ready", flush=True)
sys.stdin.readline()
told = threading.Event()
with hold("repo-x", data_dir=sys.argv[1], lease_seconds=3, on_lost=lambda _: told.set()) as lease:
    print("holds", flush=True)
    assert lease.lost.wait(60)
    assert told.wait(60)
    print("told", flush=True)
"""
AWAITS = """
import asyncio, sys
from looop_portable import aio
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    async with aio.hold("repo-x", data_dir=sys.argv[1], lease_seconds=3) as lease:
        print("holds", flush=True)
        await asyncio.wait_for(lease.lost.wait(), 60)
        print("told", flush=True)
asyncio.run(main())
"""


@needs_pids
@pytest.mark.parametrize("program", [HOLDS, AWAITS], ids=["hold", "aio"])
def test_without_any_thread_left_a_block_is_told(
    start: Start, claims: Claims, group: Group, program: str, store: Path
) -> None:
    holding = start(sys.executable, "-c", program, str(store), preexec_fn=group.enter)
    assert says(holding) == "ready"
    assert holding.stdin
    holding.stdin.write("\n")
    holding.stdin.flush()
    assert says(holding) == "holds"
    group.limit()
    claims.sessions.stop(claims.show("repo-x").lease.session)  # type: ignore[union-attr]
    assert says(holding) == "told"
    _, err = holding.communicate(timeout=SOON)
    assert "ClaimLost: claim repo-x: generation 1 is lost: its session has ended" in err
    assert "can't start new thread" not in err
    assert isinstance(claims.claim("repo-x", claims.sessions.register("other").holder), Won)


@needs_pids
@pytest.mark.parametrize(
    ("program", "more"),
    [*((HOLDS, more) for more in range(4)), *((AWAITS, more) for more in range(7))],
    ids=[*(f"hold-{more}" for more in range(4)), *(f"aio-{more}" for more in range(7))],
)
def test_a_block_that_could_not_be_told_is_not_entered(
    start: Start, claims: Claims, group: Group, program: str, more: int, store: Path
) -> None:
    holding = start(sys.executable, "-c", program, str(store), preexec_fn=group.enter)
    assert says(holding) == "ready"
    group.limit(more)
    out, err = holding.communicate("\n", timeout=SOON)
    assert out == ""
    assert "Unavailable: a thread that is needed to hold a claim could not be started: can't start new thread" in err
    assert nothing_left(claims)


@needs_pids
@pytest.mark.parametrize("more", range(2))
def test_a_keeper_that_cannot_be_started_is_told(
    start: Start, claims: Claims, group: Group, more: int, tmp_path: Path
) -> None:
    """For the thread that listens to it, and for its process."""
    waits = "import sys; print('ready', flush=True); sys.stdin.readline(); from looop_portable.__main__ import main; main()"
    environment = f"import os; os.environ['XDG_STATE_HOME'] = {str(tmp_path)!r}; "
    command = ("session", "start", "w1", "--pid", str(os.getpid()))
    starting = start(sys.executable, "-c", environment + waits, *command, preexec_fn=group.enter)
    assert says(starting) == "ready"
    group.limit(more)
    code, out, err = ends(starting)
    assert (code, out) == (3, "")
    assert "a fault of looop" not in err
    assert "could not be started" in err
    assert not [
        status for status in claims.sessions.statuses() if status.registration.session == "w1" and not status.verdict.dead
    ]


AS_ANOTHER = """
import contextlib, os, resource, sys, tempfile
from looop_portable.cli import main
with contextlib.suppress(SystemExit), tempfile.TemporaryDirectory() as made:
    # What is imported now, another user need not be able to read.
    main(["--data-dir", made, "run", "--claim", "repo-x", "--", "true"])
os.setgroups([])
os.setresgid(63123, 63123, 63123)
os.setresuid(63123, 63123, 63123)
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""


@needs_other_users
@pytest.mark.parametrize("most", range(1, 4))
def test_a_user_who_may_have_no_more_processes_is_told_so(start: Start, claims: Claims, most: int) -> None:
    running = start(sys.executable, "-c", AS_ANOTHER, str(most), "run", "--claim", "repo-x", "--", "true")
    code, out, err = ends(running)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "could not be " in err
    assert nothing_left(claims)


WITHOUT_DESCRIPTORS = """
import os, sys, threading
from looop_portable import hold
told = threading.Event()
block = hold("repo-x", data_dir=sys.argv[1], lease_seconds=3, on_lost=lambda _: told.set())
with block as lease:
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    if sys.argv[2] == "leaves":
        sys.stdout.write("leaves\\n")
    else:
        assert lease.lost.wait(60)
        assert told.wait(60)
        sys.stdout.write("told\\n")
    sys.stdout.flush()
    if sys.argv[2] == "leaves":
        block.__exit__(None, None, None)
        os.write(1, b"left\\n")
        sys.stdin.readline()
        os._exit(0)
"""


def test_without_any_descriptor_left_a_claim_is_released(start: Start, claims: Claims, store: Path) -> None:
    holding = start(sys.executable, "-c", WITHOUT_DESCRIPTORS, str(store), "leaves")
    assert [says(holding), says(holding)] == ["leaves", "left"]
    assert not claims.list()


def test_without_any_descriptor_left_a_block_is_told(start: Start, store: Path) -> None:
    holding = start(sys.executable, "-c", WITHOUT_DESCRIPTORS, str(store), "stays")
    assert says(holding) == "told"


WITHOUT_MEMORY = """
import os, resource, sys
from looop_portable import Claims, hold
others = Claims.open(sys.argv[1])
with hold("repo-x", data_dir=sys.argv[1], lease_seconds=3, on_lost=lambda _: os.write(1, b"told\\n")) as lease:
    others.sessions.stop(lease.session)
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
    taken = []
    for size in (1 << 20, 1 << 16, 1 << 12, 1 << 9, 64, 32):
        try:
            while True:
                taken.append(bytes(size))
        except MemoryError:
            pass
    lease.lost.wait(60)
    sys.stdin.readline()
"""


def test_without_any_memory_left_a_block_is_told(start: Start, store: Path) -> None:
    holding = start(sys.executable, "-c", WITHOUT_MEMORY, str(store))
    assert says(holding) == "told"


FAULTY = """
import os, sys
from looop_portable.system.files import OS
broken, sys.argv[1:] = sys.argv[1], sys.argv[2:]
beat = OS.beat
def give(path):
    if "heartbeat" in path and os.path.exists(broken):
        raise {error}
    beat(path)
OS.beat = give
from looop_portable.__main__ import main
main()
"""


@pytest.mark.parametrize("error", ["MemoryError", "RuntimeError('no thread')", "OSError(24, 'Too many open files')"])
def test_whatever_error_a_heartbeat_ends_with_its_holder_stops(
    start: Start, claims: Claims, tmp_path: Path, error: str
) -> None:
    broken = tmp_path / "broken"
    run = ("run", "--claim", "repo-x", "--lease", "3", "--", sys.executable, "-S", "-c", SLEEP)
    running = start(sys.executable, "-c", FAULTY.format(error=error), str(broken), *run)
    assert says(running) == "runs"
    broken.touch()
    code, _, err = ends(running)
    assert code == 128 + signal.SIGTERM
    assert "claim repo-x: lost: no heartbeat could be given for " in err
    assert error.partition("(")[0] in err or "Too many open files" in err
    assert isinstance(claims.claim("repo-x", claims.sessions.register("other").holder), Won)
