"""`looop run` at a terminal, in the jobs of a real shell: whatever stdin is, its command is part of the job."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.capabilities import BASH, needs_bash, needs_proc, needs_stopping
from support.crew import until

from looop_portable import Claims

fcntl = pytest.importorskip("fcntl", reason="no ioctl(2), to take a terminal")
termios = pytest.importorskip("termios", reason="no terminals to be made")

pytestmark = [needs_bash, needs_stopping]

SOON = 30.0
LOOOP = [sys.executable, "-m", "looop_portable"]
RUNS = ["run", "--claim", "repo-x", "--"]
PYTHON = shlex.quote(sys.executable)
RUN = shlex.join([*LOOOP, *RUNS])
ASKS = "echo asks; read answer </dev/tty; echo answer:$answer"
COUNTS = (
    "import os, signal, sys; n = [signal.SIGINT, signal.SIGTERM]; signal.pthread_sigmask(signal.SIG_BLOCK, n);"
    ' print(f"runs:{os.getpid()}.", flush=True);'
    " [print(signal.Signals(s).name, flush=True) or (s == 15 and sys.exit(3)) for s in iter(lambda: signal.sigwait(n), 0)]"
)
SAVES = """
import os, signal, sys, time
def save(number, frame):
    time.sleep(0.3)
    os.write(1, b"saved.\\n")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGTSTP, save)
os.write(1, b"runs.\\n")  # As the handler does: it may come before a `print` has returned, and two of them break.
sys.stdin.readline() or time.sleep(600)
os.write(1, b"ends.\\n")
"""
ELSEWHERE = shlex.join([sys.executable, str(Path(__file__).parents[1] / "support" / "elsewhere.py"), *RUNS])
"""Where the system does not tell who has sent a signal."""
PARENT = (
    "import os, time; parent, command = os.getppid(), os.getpid(); child = os.fork();"
    " child and print(f'by:{parent}. runs:{command}. child:{child}.', flush=True); time.sleep(600)"
)
STDIN = {"a pipe": f"echo x | {RUN}", "the terminal": RUN, "no input": f"</dev/null {RUN}"}
STDIN |= {f"{name}, elsewhere": run.replace(RUN, ELSEWHERE) for name, run in STDIN.items()}


class Shell:
    """An interactive bash(1) at a terminal of its own."""

    def __init__(self, directory: Path) -> None:
        self.ours, theirs = os.openpty()
        modes = termios.tcgetattr(theirs)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, modes)

        def take_it() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # A script's `pytest &`, and nohup, ignore them.
                signal.signal(number, signal.SIG_DFL)

        keep = {key: value for key, value in os.environ.items() if not key.startswith("LOOOP_")}
        self.process = subprocess.Popen(
            [BASH, "--norc", "--noediting", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=take_it,  # noqa: PLW1509 (no threads)
            env={**keep, "LOOOP_DATA_DIR": str(directory), "PS1": "$ ", "TERM": "dumb"},
        )
        os.close(theirs)
        self.heard = ""

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def says(self, pattern: str) -> str:
        """The first group of what it says that is like this; what came before is not looked at any more."""
        ends = time.monotonic() + SOON
        while not (found := re.search(pattern, self.heard)):
            readable, _, _ = select.select([self.ours], [], [], max(ends - time.monotonic(), 0))
            assert readable, f"never said {pattern}: {self.heard!r}"
            self.heard += os.read(self.ours, 4096).decode(errors="replace")
        self.heard = self.heard[found.end() :]
        return found[1] if found.groups() else found[0]

    def code(self) -> int:
        """Of the command before."""
        self.type("echo code:$?.\n")
        return int(self.says(r"code:(\d+)\."))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.ours >= 0:
            os.close(self.ours)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path / "data")
    yield found
    found.close()


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path / "data"))


def is_gone(pid: int) -> bool:
    """Who has ended may not have been put away yet: by whom, the tests before this one decide."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] in ("Z", "X")
    except ProcessLookupError:
        return True
    except OSError:  # There is no /proc, or it has been put away in between: the next look tells.
        return False


def reads(shell: Shell) -> bool:
    """Whether the command, ASKS, waits at the terminal for what is typed. While it is lent it, a key may be missed."""
    front = os.tcgetpgrp(shell.ours)
    below = psutil.Process(shell.process.pid).children(recursive=True)
    asks = [each for each in below if each.name() in ("sh", "dash", "bash")]
    return bool(asks) and all(os.getpgid(each.pid) == front and each.status() == psutil.STATUS_SLEEPING for each in asks)


def answers(shell: Shell, claims: Claims) -> None:
    """The command in front, ASKS, is answered, and ends; nothing is held then."""
    shell.type("yes\n")
    shell.says("answer:yes")
    assert shell.code() == 0
    assert not claims.list()


@pytest.mark.parametrize("run", STDIN.values(), ids=STDIN)
def test_the_command_asks_at_the_terminal_and_is_answered(shell: Shell, claims: Claims, run: str) -> None:
    shell.type(f"{run} sh -c '{ASKS}'\n")
    shell.says("asks")
    answers(shell, claims)


def test_each_of_several_lines_asks(shell: Shell, claims: Claims) -> None:
    """As `while read host; do looop run -- ssh $host; done` has it, in a script that is the job."""
    asks = "echo $0 asks; read x </dev/tty; echo $0=$x"
    shell.type(f"printf 'a\\nb\\n' | while read host; do {RUN} sh -c '{asks}' $host; done\n")
    for host in ("a", "b"):
        shell.says(f"{host} asks")
        shell.type(f"{host}1\n")
        shell.says(f"{host}={host}1")
    assert until(lambda: not claims.list())


@pytest.mark.parametrize("run", STDIN.values(), ids=STDIN)
@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)], ids=["Ctrl-C", "Ctrl-\\"])
def test_keys_end_the_command_and_all_of_it(shell: Shell, claims: Claims, run: str, key: str, number: int) -> None:
    shell.type(f"ulimit -c 0; {run} sh -c '(echo runs:$$; exec sleep 600); echo more'\n")
    pid = int(shell.says(r"runs:(\d+)"))  # By its child: a dash(1) that is about to begin one may miss the key.
    shell.type(key)
    shell.says(r"\$ ")  # What is typed before is thrown away with the key.
    assert shell.code() == 128 + number
    assert not claims.list()
    assert until(lambda: is_gone(pid))


@pytest.mark.parametrize("run", STDIN.values(), ids=STDIN)
def test_ctrl_c_comes_once(shell: Shell, claims: Claims, run: str) -> None:
    shell.type(f"{run} {PYTHON} -S -c '{COUNTS}'\n")
    pid = int(shell.says(r"runs:(\d+)"))
    for _ in range(2):
        shell.type("\x03")
        shell.says("SIGINT")
    os.kill(pid, signal.SIGTERM)
    assert shell.says("(SIGINT|SIGTERM)") == "SIGTERM"
    assert shell.code() == 3


@pytest.mark.parametrize("run", STDIN.values(), ids=STDIN)
def test_ctrl_z_stops_it_and_fg_lets_it_go_on(shell: Shell, claims: Claims, run: str) -> None:
    shell.type(f"{run} sh -c '{ASKS}'\n")
    shell.says("asks")
    assert until(lambda: reads(shell))
    shell.type("\x1a")
    shell.says(r"Stopped.*\n")
    assert claims.list()
    shell.type("fg\n")
    shell.says("run --claim")
    answers(shell, claims)


@pytest.mark.parametrize("run", [RUN, ELSEWHERE], ids=["here", "elsewhere"])
def test_the_shell_is_told_of_a_stop_when_the_command_has_stopped(shell: Shell, tmp_path: Path, run: str) -> None:
    """What is typed is the command's, until it has."""
    program = tmp_path / "saves.py"
    program.write_text(SAVES)
    shell.type(f"{run} {PYTHON} -S {shlex.quote(str(program))}\n")
    shell.says("runs")
    shell.type("\x1a")
    assert "saved." in shell.says(r"(?s)(.*)Stopped.*\n")
    shell.type("fg\n")
    shell.says("run --claim")
    shell.type("on\n")
    shell.says("ends")
    assert shell.code() == 0


@pytest.mark.parametrize("run", STDIN.values(), ids=STDIN)
def test_a_command_that_ignores_ctrl_z_goes_on_and_so_does_what_keeps_its_claim(shell: Shell, run: str) -> None:
    shell.type(f"""{run} sh -c 'trap "" TSTP; {ASKS}'\n""")
    shell.says("asks")
    assert until(lambda: reads(shell))
    shell.type("\x1a")
    shell.type("yes\n")
    shell.says("answer:yes")
    assert shell.code() == 0


@pytest.mark.parametrize("run", STDIN.values(), ids=STDIN)
def test_in_the_background_it_stops_when_it_asks_and_goes_on_in_front(shell: Shell, claims: Claims, run: str) -> None:
    shell.type(f"{run} sh -c '{ASKS}' &\n")
    shell.says("asks")

    def is_stopped() -> bool:
        shell.type("jobs\n")
        return shell.says(r"(Stopped|Running).*\n") == "Stopped"

    assert until(is_stopped)
    assert claims.list()
    shell.type("fg\n")
    shell.says("run --claim")
    answers(shell, claims)


@needs_proc
def test_in_the_background_it_goes_on_as_long_as_it_does_not_ask(shell: Shell, claims: Claims) -> None:
    shell.type(f"{RUN} sh -c 'echo runs; kill -STOP $$; echo goes on' &\n")
    shell.says("runs")
    (lease,) = [status.lease for status in claims.list()]
    assert lease
    status = claims.sessions.status(lease.session)
    assert status
    pid = status.registration.pid
    assert until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    os.kill(pid, signal.SIGCONT)
    shell.says("goes on")
    assert until(lambda: not claims.list())


@pytest.mark.parametrize("run", STDIN.values(), ids=STDIN)
def test_when_the_terminal_hangs_up_all_of_it_ends(shell: Shell, claims: Claims, run: str) -> None:
    shell.type(f"{run} sh -c 'echo runs:$$; (setsid sleep 600 &) ; sleep 600; echo more'\n")
    pid = int(shell.says(r"runs:(\d+)"))
    os.close(shell.ours)
    shell.ours = -1
    assert until(lambda: not claims.list())
    assert until(lambda: is_gone(pid))


def test_as_the_leader_of_the_session_it_is_told_of_the_hang_up(tmp_path: Path, claims: Claims) -> None:
    """As `ssh -t host looop run` has it."""
    ours, theirs = os.openpty()

    def take_it() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    running = subprocess.Popen(
        [*LOOOP, *RUNS, "sh", "-c", "echo runs; sleep 600; echo more"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=take_it,  # noqa: PLW1509 (no threads)
        env={**os.environ, "LOOOP_DATA_DIR": str(tmp_path / "data")},
    )
    os.close(theirs)
    assert os.read(ours, 4)
    os.close(ours)
    assert running.wait(SOON) == 128 + signal.SIGHUP
    assert not claims.list()


@pytest.mark.parametrize("ignored", [[signal.SIGINT, signal.SIGQUIT], [signal.SIGHUP]], ids=["a script's job", "nohup"])
def test_what_the_caller_ignores_stays_ignored(tmp_path: Path, ignored: list[signal.Signals]) -> None:
    program = "import signal; print([n for n in (1, 2, 3, 15) if signal.getsignal(n) is signal.SIG_IGN])"

    def ignore() -> None:
        os.setsid()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    done = subprocess.run(
        [*LOOOP, *RUNS, sys.executable, "-I", "-S", "-c", program],
        preexec_fn=ignore,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LOOOP_DATA_DIR": str(tmp_path / "data")},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sorted(int(number) for number in ignored)}\n", "")


def test_without_a_controlling_terminal_the_command_leads_a_group(tmp_path: Path) -> None:
    """Also where stdin is a terminal, but another session's."""
    ours, theirs = os.openpty()
    done = subprocess.run(
        [*LOOOP, *RUNS, sys.executable, "-I", "-S", "-c", "import os; print(os.getpid() == os.getpgrp())"],
        stdin=theirs,
        capture_output=True,
        start_new_session=True,
        text=True,
        check=False,
        env={**os.environ, "LOOOP_DATA_DIR": str(tmp_path / "data")},
    )
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


# What goes round the command, whether the terminal is its own or lent to it.

WHERE = pytest.mark.parametrize("run", [RUN, ELSEWHERE], ids=["here", "elsewhere"])


@WHERE
def test_the_command_is_in_the_foreground(shell: Shell, run: str) -> None:
    """Many programs ask whether they are, before they show how far they are."""
    asks = "import os; print(f'front:{os.tcgetpgrp(0) == os.getpgrp()}.')"
    shell.type(f'{run} {PYTHON} -S -c "{asks}"\n')
    assert shell.says(r"front:(\w+)\.") == "True"
    assert shell.code() == 0


@WHERE
def test_a_pager_behind_it_has_the_keys(shell: Shell, claims: Claims, run: str) -> None:
    shell.type(f"{run} sh -c 'echo out; exec sleep 600' | sh -c 'read x; echo got:$x; read x </dev/tty; echo key:$x'\n")
    shell.says("got:out")
    shell.type("space\n")
    shell.says("key:space")
    shell.type("\x03")
    shell.says(r"\$ ")
    assert until(lambda: not claims.list())


@WHERE
def test_the_script_that_has_started_it_is_told_of_ctrl_c(shell: Shell, claims: Claims, tmp_path: Path, run: str) -> None:
    script = tmp_path / "script"
    script.write_text(f"trap 'echo told; exit 7' INT; {run} sh -c 'echo runs; exec sleep 600'; echo went on\n")
    shell.type(f"{BASH} {script}\n")
    shell.says("runs")
    shell.type("\x03")
    assert shell.says("(told|went on)") == "told"
    shell.says(r"\$ ")
    assert shell.code() == 7
    assert not claims.list()


@WHERE
def test_a_script_that_runs_it_in_the_background_keeps_the_terminal(shell: Shell, tmp_path: Path, run: str) -> None:
    script = tmp_path / "script"
    script.write_text(f"{run} sh -c 'echo runs; exec sleep 600' & read x; echo got:$x; kill $!; wait $!; echo code:$?.\n")
    shell.type(f"{BASH} {script}\n")
    shell.says("runs")
    shell.type("yes\n")
    shell.says("got:yes")
    assert shell.says(r"code:(\d+)\.") == str(128 + signal.SIGTERM)


@WHERE
def test_a_shell_as_the_command_has_jobs(shell: Shell, claims: Claims, run: str) -> None:
    shell.type(f"PS1='in> ' {run} {BASH} --norc --noediting -i\n")
    shell.says("in> ")
    shell.type("sh -c 'echo runs; exec sleep 600'\n")
    shell.says("runs")
    shell.type("\x1a")
    shell.says("Stopped")
    shell.type("kill %1; fg\n")
    shell.says("in> ")
    assert claims.list()
    shell.type("exit 3\n")
    assert until(lambda: not claims.list())
    assert shell.code() == 3


@WHERE
@needs_proc
def test_it_is_sent_what_stops_it_and_goes_on_in_the_background(shell: Shell, claims: Claims, run: str) -> None:
    """Not by keys: by somebody who knows its process id."""
    shell.type(f"{run} {PYTHON} -S -c '{COUNTS}'\n")
    pid = int(shell.says(r"runs:(\d+)"))
    running = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(running, signal.SIGTSTP)
    shell.says("Stopped")
    shell.type("bg\n")
    shell.says("&")
    assert until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T")
    os.kill(running, signal.SIGINT)
    shell.says("SIGINT")
    os.kill(running, signal.SIGTERM)
    shell.says("SIGTERM")
    assert until(lambda: not claims.list())


@WHERE
def test_killed_at_the_terminal_the_command_and_its_children_end(shell: Shell, run: str) -> None:
    shell.type(f'{run} {PYTHON} -I -S -c "{PARENT}"\n')
    running, command, child = [int(shell.says(rf"{what}:(\d+)\.")) for what in ("by", "runs", "child")]
    os.kill(running, signal.SIGKILL)
    assert until(lambda: is_gone(command) and is_gone(child))
