"""`looop run` that is killed, cut off, and at a terminal, with real processes.

The oracle is a flock that the command takes without waiting, which knows nothing of us, and the kernel drops with it; in
its file stands the highest generation that ever ran.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_proc, needs_stopping
from support.children import Start, says, starting
from support.crew import LONG_ENOUGH, until

from looop_portable import Claims, Won

fcntl = pytest.importorskip("fcntl", reason="no flock(2), which is the oracle")
termios = pytest.importorskip("termios", reason="no terminals to be made")

LOOOP = (sys.executable, "-m", "looop_portable")
ELSEWHERE = (sys.executable, str(Path(__file__).parents[1] / "support" / "elsewhere.py"))
"""Where the system does not tell who has sent a signal."""
PYTHON = (sys.executable, "-I", "-S", "-c")
SOON = 30.0
ORACLE = """
import fcntl, os, signal, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
fd = os.open(path, os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    os.write(os.open(path + ".overlaps", os.O_WRONLY | os.O_CREAT | os.O_APPEND), b"x")
    sys.exit(9)
before, mine = int(os.read(fd, 20) or 0), int(os.environ["LOOOP_CLAIM_GENERATION"])
if before >= mine:
    os.write(os.open(path + ".backwards", os.O_WRONLY | os.O_CREAT | os.O_APPEND), b"x")
os.pwrite(fd, b"%d" % mine, 0)
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"asked\\n"))
os.write(1, b"runs %d\\n" % os.getpid())  # No `print`: a handler comes in the middle of it.
ends = time.monotonic() + seconds
while time.monotonic() < ends:
    time.sleep(max(ends - time.monotonic(), 0))
"""


def is_free(oracle: Path) -> bool:
    with oracle.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOOP_DATA_DIR", str(tmp_path / "data"))
    for name in ("LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID", "LOOOP_LEASE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


@pytest.fixture
def start(store: Path) -> Iterator[Start]:  # It is in the environment.
    with starting(stdin=subprocess.DEVNULL) as begin:
        yield begin


@needs_proc
def test_killed_it_takes_the_command_with_it_and_the_claim_is_free_at_once(
    start: Start, store: Path, tmp_path: Path
) -> None:
    claims, oracle = Claims.open(str(store)), tmp_path / "oracle"
    claims.sessions.register("other")
    for _ in range(5):
        running = start(*LOOOP, "run", "--claim", "repo-x", "--", *PYTHON, ORACLE, str(oracle), "600")
        pid = int(says(running).removeprefix("runs "))
        assert not isinstance(claims.claim("repo-x", "other"), Won)
        running.kill()
        began = time.monotonic()
        while not isinstance(claims.claim("repo-x", "other"), Won):
            assert time.monotonic() - began < 1
        assert is_free(oracle)
        status = Path(f"/proc/{pid}/stat")
        assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] in "ZX"
        claims.release("repo-x", "other")


@needs_proc
def test_never_two_run_of_those_that_are_killed_all_the_time(start: Start, store: Path, tmp_path: Path) -> None:
    oracle = tmp_path / "oracle"
    command = [*LOOOP, "run", "--claim", "repo-x", "--", *PYTHON, ORACLE, str(oracle), "0.3"]
    began = time.monotonic()
    codes: list[int] = []

    def goes_on() -> bool:
        """On a slow machine for longer: until all has been seen."""
        seen = {0, 1, -signal.SIGKILL} <= set(codes)
        return time.monotonic() - began < (LONG_ENOUGH if seen else SOON)

    def member(seed: int) -> None:
        chance = random.Random(seed)
        while goes_on():
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            assert process.stdout
            how = chance.choice(["ends", "killed while it runs", "killed"])
            if how != "killed":
                process.stdout.readline()
            if how == "killed":
                time.sleep(chance.uniform(0.0, 0.5))
            if how != "ends":
                process.kill()
            codes.append(process.wait())
            process.stdout.close()

    members = [threading.Thread(target=member, args=(seed,)) for seed in range(4)]
    for each in members:
        each.start()
    for each in members:
        each.join()
    assert set(codes) <= {0, 1, -signal.SIGKILL}, codes
    assert {0, 1, -signal.SIGKILL} <= set(codes), codes
    assert not Path(f"{oracle}.overlaps").exists()
    assert not Path(f"{oracle}.backwards").exists()
    assert subprocess.run([*LOOOP, "run", "--claim", "repo-x", "--", "true"], check=False).returncode == 0


CUT_OFF = """
import os, sys
from looop_portable.system.files import OS
broken, sys.argv[1:] = sys.argv[1], sys.argv[2:]
beat = OS.beat
def give(path):
    if "heartbeat" in path and os.path.exists(broken):
        raise OSError(5, "Input/output error")
    beat(path)
OS.beat = give
from looop_portable.__main__ import main
main()
"""
TAKER = """
import time
from looop_portable import Claims, Won
claims = Claims.open()
claims.sessions.register("other")
while not isinstance(claims.claim("repo-x", "other"), Won):
    time.sleep(0.005)
print("won", flush=True)
time.sleep(600)
"""


@needs_proc
def test_cut_off_the_command_is_dead_before_another_host_takes_over(start: Start, tmp_path: Path) -> None:
    """One that does not end when it is asked to."""
    broken, oracle = tmp_path / "broken", tmp_path / "oracle"
    args = ("run", "--claim", "repo-x", "--lease", "3", "--", *PYTHON, ORACLE, str(oracle), "600")
    one, two = ({**os.environ, "LOOOP_HOST_ID": host} for host in ("one", "two"))
    running = start(sys.executable, "-c", CUT_OFF, str(broken), *args, env=one)
    assert says(running).startswith("runs ")
    taker = start(sys.executable, "-c", TAKER, env=two)
    broken.touch()
    assert says(taker) == "won"
    assert is_free(oracle)
    assert running.wait(SOON) == 128 + signal.SIGKILL
    assert says(running) == "asked"
    assert running.stderr
    assert "repo-x: lost: no heartbeat could be given" in running.stderr.read()


# At a terminal.

KEYS = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGWINCH])
os.write(1, b"runs %d\\n" % os.getpid())
while True:
    number = signal.sigwait([signal.SIGINT, signal.SIGTERM, signal.SIGWINCH])
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if number == signal.SIGTERM:
        sys.exit(5)
"""
SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if not pid:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpid())
    print("stopped", os.WSTOPSIG(status), flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
print("ended", os.waitstatus_to_exitcode(status), flush=True)
"""
LATE = """
import os, signal, sys
from looop_portable.__main__ import start
from looop_portable.running.child.posix import Child
asks, told = sys.argv.pop(1), sys.argv.pop(1)
send = Child.send
def sends_late(self, number):
    if number == signal.SIGCONT:
        open(asks, "w").close()
        open(told).close()
    return send(self, number)
Child.send = sends_late
start()
"""
"""`looop` that waits, before it passes a SIGCONT on, until somebody has opened the one pipe, and then the other."""


class Terminal:
    """A terminal, and a shell at it that has `command` in its foreground."""

    def __init__(self, start: Start, *command: str) -> None:
        self._ours, theirs = os.openpty()
        modes = termios.tcgetattr(theirs)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, modes)

        def be_at_it() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        shell = (sys.executable, "-c", SHELL, *command)
        self.process = start(*shell, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=be_at_it)
        os.close(theirs)
        self._lines = os.fdopen(os.dup(self._ours), "r", encoding="utf-8", errors="replace", newline="\n")

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def says(self) -> str:
        return self._lines.readline().strip()

    def resize(self) -> None:
        termios.tcsetwinsize(self._ours, (40, 100))

    def close(self) -> None:
        self._lines.close()
        os.close(self._ours)


@pytest.fixture(params=[LOOOP, ELSEWHERE], ids=["here", "elsewhere"])
def terminal(request: pytest.FixtureRequest, start: Start) -> Iterator[Terminal]:
    """With `looop run` of KEYS at it."""
    found = Terminal(start, *request.param, "run", "--claim", "repo-x", "--lease", "3", "--", *PYTHON, KEYS)
    yield found
    found.process.kill()
    found.close()


@needs_proc
@needs_stopping
def test_ctrl_z_just_after_fg_stops_the_command_that_is_let_go_on_late(start: Start, store: Path, tmp_path: Path) -> None:
    asks, told = tmp_path / "asks", tmp_path / "told"
    os.mkfifo(asks)
    os.mkfifo(told)
    late = (sys.executable, "-c", LATE, str(asks), str(told), "run", "--claim", "repo-x", "--", *PYTHON, KEYS)
    terminal = Terminal(start, *late)
    child = int(terminal.says().removeprefix("runs "))
    terminal.type(b"\x1a")
    assert terminal.says() == f"stopped {int(signal.SIGTSTP)}"
    terminal.type(b"fg\n")
    asks.open().close()
    terminal.type(b"\x1a")  # The shell has let both go on; `looop run` has not told the command to, yet.
    assert until(lambda: state_of(child) == "T")
    told.open("w").close()
    assert terminal.says() == f"stopped {int(signal.SIGTSTP)}"
    assert state_of(child) == "T"
    os.kill(run_of(child), signal.SIGKILL)
    terminal.close()


def run_of(child: int) -> int:
    """The process that has started `child`."""
    return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])


def handles_signal(pid: int, number: int) -> bool:
    """Whether this signal has been sent to it, and not taken yet: another of that number would be one with it."""
    pending = re.search(r"^ShdPnd:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), flags=re.MULTILINE)
    assert pending
    return bool(int(pending[1], 16) >> (number - 1) & 1)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@needs_proc
@needs_stopping
def test_what_the_terminal_sends_is_not_doubled(terminal: Terminal) -> None:
    child = int(terminal.says().removeprefix("runs "))
    terminal.type(b"\x03")
    assert terminal.says() == "SIGINT"
    terminal.resize()
    assert terminal.says() == "SIGWINCH"
    assert until(lambda: not handles_signal(run_of(child), signal.SIGINT))
    os.kill(run_of(child), signal.SIGINT)  # As somebody does who knows its process id: this one is passed on.
    assert terminal.says() == "SIGINT"
    os.kill(run_of(child), signal.SIGTERM)
    assert [terminal.says(), terminal.says()] == ["SIGTERM", "ended 5"]


@needs_proc
@needs_stopping
def test_ctrl_z_stops_both_and_the_shell_lets_both_go_on(terminal: Terminal, store: Path) -> None:
    child = int(terminal.says().removeprefix("runs "))
    running = run_of(child)
    for _ in range(2):
        terminal.type(b"\x1a")
        assert terminal.says() == f"stopped {int(signal.SIGTSTP)}"
        while (state_of(running), state_of(child)) != (
            "T",
            "T",
        ):  # Both were told; which of them stops first, nobody knows.
            os.sched_yield()
        terminal.type(b"fg\n")
        while state_of(running) == "T" or state_of(child) == "T":
            os.sched_yield()
    claims = Claims.open(str(store))
    assert claims.check("repo-x", 1).current
    os.kill(running, signal.SIGTERM)
    assert [terminal.says(), terminal.says()] == ["SIGTERM", "ended 5"]
    assert not claims.list()
