"""`run`: a command that runs while its claims are held. Its words, codes, environment, signals, and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.capabilities import SH, needs_fork, needs_proc, needs_sh, needs_stopping
from support.crew import until
from support.refusals import facts

from looop_portable import Claims, Held, Won
from looop_portable.running.child.environment import variable

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

SOON = 30.0
"""Seconds, by which what is to happen at once has happened, on a machine that does much else."""
PYTHON = (sys.executable, "-I", "-S", "-c")
TELL = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
SLEEP = "import time; print('runs', flush=True); time.sleep(600)"
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"asked\\n"))
os.write(1, b"runs\\n")  # No `print`: the handler comes in the middle of it.
while True:
    time.sleep(600)
"""
SIGNALS = """
import os, signal, sys
names = [signal.Signals[name] for name in sys.argv[1:]]
signal.pthread_sigmask(signal.SIG_BLOCK, names)
print("runs", flush=True)
while True:
    number = signal.sigwait(names)
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(5)
"""
FAULTY = """
import os, sys, threading
from looop_portable.claims.gate import Claims
from looop_portable.system.files import OS
from looop_portable.system.threads.standby import Standby

fault, broken, sys.argv[1:] = sys.argv[1], sys.argv[2], sys.argv[3:]
beat, retire, do = OS.beat, Claims.retire, Standby.do
failed = []

def give(path):
    if fault == "beat" and "heartbeat" in path and os.path.exists(broken):
        raise OSError(5, "Input/output error")
    beat(path)

def end(self, holder):
    if fault == "retire hangs":
        threading.Event().wait()
    return retire(self, holder)

def begin(self, work):
    if fault == "no memory once" and work.__name__ == "_end" and not failed:
        failed.append(work)
        raise MemoryError
    do(self, work)

OS.beat, Claims.retire, Standby.do = give, end, begin
from looop_portable.__main__ import main
main()
"""


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


class Running:
    """`looop run` as a process, and what its command says."""

    def __init__(self, *args: str, before: tuple[str, ...] = (), **options: Any) -> None:
        command = [*(before or (sys.executable, "-m", "looop_portable")), *args]
        pipe = subprocess.PIPE
        options = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True, **options}
        self.process = subprocess.Popen(command, **options)

    def says(self) -> str:
        assert self.process.stdout
        return str(self.process.stdout.readline()).rstrip("\n")

    def ends(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=SOON)
        assert "Traceback" not in err
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*args: str, **options: Any) -> Running:
        started.append(Running(*args, **options))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.wait()
        for stream in (each.process.stdin, each.process.stdout, each.process.stderr):
            if stream:
                stream.close()  # Without a look at what comes: a command that was left behind holds them open.


@pytest.fixture
def claims(data_dir: Path) -> Claims:
    return Claims.open(str(data_dir))


def nothing_left(claims: Claims) -> bool:
    return not claims.list() and not claims.sessions.ids()


def holder(claims: Claims, name: str) -> int:
    """The process by which the session lives that holds `name`."""
    lease = claims.show(name).lease
    assert lease
    status = claims.sessions.status(lease.session)
    assert status
    assert status.verdict.liveness.value == "alive"
    return status.registration.pid


# The command: its words, environment and streams.


def test_the_command_runs_with_its_words_and_says_what_it_says(looop: Run, claims: Claims) -> None:
    words = ["a b", "", "-x", "--claim", "--", "ünï\u2603", 'quo"te', "*", "\\"]
    code, out, err = said(looop("run", "--claim", "repo-x", "--", *PYTHON, TELL, *words))
    assert (code, err) == (0, "")
    assert json.loads(out)[0] == words
    assert nothing_left(claims)
    assert claims.check("repo-x", 1).head == 2


def test_its_environment_says_who_it_is_and_with_what_generations(
    looop: Run, claims: Claims, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOOP_SESSION_ID", "inherited")
    monkeypatch.setenv("LOOOP_GENERATION_A_B", "99")
    for _ in range(2):
        looop("run", "--claim", "repo-x", "--", *PYTHON, "pass")
    names = ["b", "repo-x", "a.b", "a-b", "é"]
    code, out, err = said(looop("run", *[word for name in names for word in ("--claim", name)], "--", *PYTHON, TELL))
    assert (code, err) == (0, "")
    found = {key: value for key, value in json.loads(out)[1].items() if key.startswith("LOOOP_")}
    assert found.pop("LOOOP_SESSION_ID").startswith("auto-")
    assert Path(found.pop("LOOOP_DATA_DIR")) == data_dir
    assert found == {
        "LOOOP_BACKEND": "auto",
        "LOOOP_LEASE": "0",
        "LOOOP_CLAIM_GENERATION": "1",
        "LOOOP_GENERATION_B": "1",
        "LOOOP_GENERATION_REPO_X": "5",
        "LOOOP_GENERATION__": "1",
    }


def test_without_a_claim_it_is_just_a_session(looop: Run, claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_CLAIM_GENERATION", "99")
    code, out, err = said(looop("run", "--session", "nightly", "--", *PYTHON, TELL))
    assert (code, err) == (0, "")
    found = json.loads(out)[1]
    assert found["LOOOP_SESSION_ID"] == "nightly"
    assert "LOOOP_CLAIM_GENERATION" not in found
    assert claims.sessions.registration(claims.sessions.holder("nightly")) is None


def test_stdin_and_stdout_are_the_command_s_byte_by_byte(data_dir: Path) -> None:
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"
    data = bytes(range(256)) * 1000
    command = [sys.executable, "-m", "looop_portable", "run", "--claim", "repo-x", "--", *PYTHON, program]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, data[::-1], b"")


@pytest.mark.parametrize("code", [0, 1, 3, 7, 255])
def test_its_exit_code_is_passed_on(looop: Run, claims: Claims, code: int) -> None:
    assert said(looop("run", "--claim", "repo-x", "--", *PYTHON, f"raise SystemExit({code})")) == (code, "", "")
    assert nothing_left(claims)


@needs_fork
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, 9])
def test_the_code_of_a_command_that_a_signal_ended_is_128_and_the_signal(looop: Run, claims: Claims, number: int) -> None:
    program = f"import os, signal; signal.signal({number}, 0) if {number} != 9 else 0; os.kill(os.getpid(), {number})"
    assert said(looop("run", "--claim", "repo-x", "--", *PYTHON, program)) == (128 + number, "", "")
    assert nothing_left(claims)


def test_what_the_command_claims_itself_is_released_with_it(looop: Run, claims: Claims) -> None:
    inner = [sys.executable, "-m", "looop_portable", "claim", "repo-y"]
    assert said(looop("run", "--claim", "repo-x", "--", *inner)) == (0, "claimed repo-y\n", "")
    assert nothing_left(claims)
    assert claims.check("repo-y", 1).head == 2


def test_it_may_claim_what_is_its_own_already(looop: Run, claims: Claims) -> None:
    again = ["run", "--claim", "repo-x", "--", sys.executable, "-m", "looop_portable"]
    assert said(looop(*again, "claim", "repo-x")) == (0, "", "")
    assert nothing_left(claims)


def test_a_command_that_is_not_there_is_127(looop: Run, claims: Claims, tmp_path: Path) -> None:
    for name in ("no-such-command", str(tmp_path / "nothing")):
        done = said(looop("run", "--claim", "repo-x", "--", name))
        assert done == (127, "", f"looop: {name}: command not found\n")
    assert nothing_left(claims)


@needs_fork
def test_a_command_that_cannot_be_executed_is_126(looop: Run, claims: Claims, tmp_path: Path) -> None:
    script, no_interpreter, no_program = tmp_path / "script", tmp_path / "lost", tmp_path / "text"
    script.write_text("#!/bin/sh\n")
    for path, text in ((no_interpreter, "#!/no/such/interpreter\n"), (no_program, "\0 echo hello\n")):
        path.write_text(text)
        path.chmod(0o755)
    for path in (tmp_path, script, no_interpreter, no_program):
        code, out, err = said(looop("run", "--claim", "repo-x", "--", str(path)))
        assert (code, out, err.count("\n")) == (126, "", 1)
        assert err.startswith(f"looop: {path}: ")
    assert nothing_left(claims)


# Refused, and bad input.


def test_while_it_runs_its_claim_is_held_by_its_process(looop: Run, start: Callable[..., Running], claims: Claims) -> None:
    running = start("run", "--claim", "repo-x", "--", *PYTHON, f"import os; print(os.getpid(), flush=True); {SLEEP}")
    pid = int(running.says())
    assert holder(claims, "repo-x") == pid
    code, out, err = said(looop("run", "--claim", "repo-w", "--claim", "repo-x", "--", "no-such-command"))
    assert (code, out) == (1, "")
    assert err.startswith("run repo-x: held by live session 'auto-")
    assert facts(err)["evidence"] == f"pid {pid} runs (seen now)"
    assert [status.name for status in claims.list()] == ["repo-x"]
    assert len(claims.sessions.ids()) == 1


@pytest.mark.parametrize("option", [("-E", "75"), ("--conflict-exit-code", "75")])
def test_what_is_held_has_the_exit_code_that_was_asked_for(looop: Run, alive: Living, option: tuple[str, str]) -> None:
    alive("w1")
    Claims.open().claim("repo-x", "w1")
    for held in (("--claim", "repo-x"), ("--session", "w1")):
        assert said(looop("run", *held, *option, "--", *PYTHON, "print('ran')"))[:2] == (75, "")
        assert said(looop("run", *held, "--", *PYTHON, "print('ran')"))[:2] == (1, "")


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--claim", "repo-x"),
        ("--claim", "a/b", "--", "x"),
        ("--claim", "", "--", "x"),
        ("--session", "auto-x", "--", "x"),
        ("--lease", "1", "--", "x"),
        ("--on-lost", "pray", "--", "x"),
        ("--timeout", "-1", "--", "x"),
        ("-E", "256", "--", "x"),
        ("--nonsense", "--", "x"),
    ],
    ids=" ".join,
)
def test_bad_input_is_usage_and_leaves_nothing(looop: Run, claims: Claims, args: tuple[str, ...]) -> None:
    code, out, err = said(looop("run", *args))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not claims.sessions.ids()


def test_a_store_that_cannot_answer_is_3_and_the_command_does_not_run(looop: Run, data_dir: Path) -> None:
    data_dir.write_text("a file")
    code, out, err = said(looop("run", "--claim", "repo-x", "--", *PYTHON, "print('ran')"))
    assert (code, out, err.count("\n")) == (3, "", 1)


def test_with_json_all_of_looop_s_own_words_are_objects_on_stderr(looop: Run, alive: Living) -> None:
    alive("w1")
    Claims.open().claim("held", "w1")
    code, out, err = said(looop("--json", "run", "--claim", "repo-x", "--", *PYTHON, "print('ran')"))
    found = json.loads(err)
    assert (code, out) == (0, "ran\n")
    assert (found["verb"], found["outcome"], found["name"], found["generation"]) == ("run", "won", "repo-x", 1)
    for args, outcome, expected in (
        (("--claim", "held", "--", "x"), "held", 1),
        (("--", "no-such-command"), "error", 127),
        (("--nonsense",), "error", 2),
    ):
        code, out, err = said(looop("--json", "run", *args))
        assert (code, out, json.loads(err)["outcome"]) == (expected, "", outcome)


# Signals.


@needs_stopping
def test_signals_are_passed_on_to_the_command(start: Callable[..., Running], claims: Claims) -> None:
    names = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH", "SIGTERM"]
    running = start("run", "--claim", "repo-x", "--", *PYTHON, SIGNALS, *names)
    assert running.says() == "runs"
    for name in names:
        running.process.send_signal(signal.Signals[name])
        assert running.says() == name
    assert running.ends() == (5, "", "")
    assert nothing_left(claims)


@needs_sh
@needs_stopping
def test_without_a_terminal_they_go_to_all_that_the_command_has_started(start: Callable[..., Running]) -> None:
    running = start("run", "--", SH, "-c", f'"{PYTHON[0]}" -I -S -c "$1" SIGTERM & wait $!; wait', "-", SIGNALS)
    assert running.says() == "runs"
    running.process.terminate()
    assert running.says() == "SIGTERM"
    assert running.ends()[0] == 128 + signal.SIGTERM


@needs_stopping
def test_what_is_ignored_stays_ignored(start: Callable[..., Running]) -> None:
    program = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)"
    running = start(
        "run", "--", *PYTHON, f"{program}; {SLEEP}", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert (running.says(), running.says()) == ("True", "runs")
    running.process.send_signal(signal.SIGHUP)
    running.process.terminate()
    assert running.ends()[0] == 128 + signal.SIGTERM


@needs_stopping
def test_the_command_begins_with_no_signal_blocked_or_ignored(looop: Run) -> None:
    program = """
import signal
ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), ignored)
"""
    command = [sys.executable, "-I", "-S", "-c", program]
    alone = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said(looop("run", "--", *command)) == (0, alone.stdout, "")


CLAIMING = """
import os, sys, threading
from looop_portable.waiting import claiming
from looop_portable.claims.gate import Claims
claim = Claims.claim
def slowly(self, name, session=None):
    found = claim(self, name, session)
    print("claimed", flush=True)
    threading.Event().wait(2)  # As on a slow filesystem.
Claims.claim = slowly
from looop_portable.__main__ import main
main()
"""


@needs_stopping
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_one_that_comes_while_claims_are_claimed_leaves_nothing(
    start: Callable[..., Running], claims: Claims, name: str
) -> None:
    number = signal.Signals[name]
    running = start("run", "--claim", "repo-x", "--", *PYTHON, "print('ran')", before=(sys.executable, "-c", CLAIMING))
    assert running.says() == "claimed"
    running.process.send_signal(number)
    assert running.ends() == (128 + number, "", "")
    assert nothing_left(claims)


# Lost.


def faulty(fault: str, broken: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", FAULTY, fault, str(broken))


def test_a_claim_that_is_broken_ends_the_command(start: Callable[..., Running], claims: Claims) -> None:
    running = start("run", "--claim", "repo-x", "--claim", "repo-y", "--lease", "3", "--", *PYTHON, SLEEP)
    assert running.says() == "runs"
    claims.break_claim("repo-x", 1, "test")
    code, out, err = running.ends()
    assert (code, out) == (128 + 15, "")
    assert err == "looop: claim repo-x: lost: generation 1 was superseded (it is at 2); the command is ended\n"
    assert nothing_left(claims)


@pytest.mark.parametrize("loss", ["broken", "stopped"])
def test_it_is_ended_though_there_was_no_memory_to_do_it_the_first_time(
    start: Callable[..., Running], claims: Claims, loss: str
) -> None:
    before = (sys.executable, "-c", FAULTY, "no memory once", "")
    run = ("run", "--claim", "repo-x", "--session", "w1", "--lease", "3", "--", *PYTHON, SLEEP)
    running = start(*run, before=before)
    assert running.says() == "runs"
    if loss == "broken":
        claims.break_claim("repo-x", 1, "test")
    else:
        claims.sessions.stop("w1")
    code, _, err = running.ends()
    why = "generation 1 was superseded (it is at 2)" if loss == "broken" else "its session has ended"
    assert (code, err) == (128 + 15, f"looop: claim repo-x: lost: {why}; the command is ended\n")


def test_a_session_that_is_stopped_ends_it_too(run: Run, start: Callable[..., Running], claims: Claims) -> None:
    running = start("run", "--claim", "repo-x", "--session", "w1", "--lease", "3", "--", *PYTHON, SLEEP)
    assert running.says() == "runs"
    assert run("session", "stop", "w1").returncode == 0
    code, _, err = running.ends()
    assert (code, err) == (128 + 15, "looop: claim repo-x: lost: its session has ended; the command is ended\n")


@needs_stopping
def test_a_command_that_does_not_end_when_asked_is_killed(start: Callable[..., Running], claims: Claims) -> None:
    running = start("run", "--claim", "repo-x", "--lease", "3", "--", *PYTHON, STUBBORN)
    assert running.says() == "runs"
    claims.break_claim("repo-x", 1, "test")
    code, out, err = running.ends()
    assert (code, out, err.count("\n")) == (128 + 9, "asked\n", 1)


def test_with_warn_it_goes_on(start: Callable[..., Running], claims: Claims) -> None:
    program = "print('runs', flush=True); input(); raise SystemExit(4)"
    running = start(
        "--json",
        "run",
        "--claim",
        "repo-x",
        "--lease",
        "3",
        "--on-lost",
        "warn",
        "--",
        *PYTHON,
        program,
        stdin=subprocess.PIPE,
    )
    assert running.says() == "runs"
    claims.break_claim("repo-x", 1, "test")
    assert running.process.stderr
    lines = [json.loads(running.process.stderr.readline()) for _ in range(2)]
    assert [line["outcome"] for line in lines] == ["won", "lost"]
    assert (lines[1]["names"], lines[1]["ends"]) == (["repo-x"], False)
    assert running.process.poll() is None
    assert running.process.stdin
    running.process.stdin.write("\n")
    running.process.stdin.flush()
    assert running.ends() == (4, "", "")


def test_heartbeats_that_fail_end_it(start: Callable[..., Running], claims: Claims, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    running = start("run", "--claim", "repo-x", "--lease", "3", "--", *PYTHON, SLEEP, before=faulty("beat", broken))
    assert running.says() == "runs"
    broken.touch()
    code, _, err = running.ends()
    assert (code, err.count("\n")) == (128 + 15, 1)
    assert err.startswith("looop: claim repo-x: lost: no heartbeat could be given for ")
    assert nothing_left(claims)


def test_heartbeats_are_given_while_it_runs(start: Callable[..., Running], claims: Claims, data_dir: Path) -> None:
    running = start("run", "--session", "w1", "--lease", "3", "--", *PYTHON, SLEEP)
    assert running.says() == "runs"
    beat = data_dir / "sessions" / "w1" / f"heartbeat-{claims.sessions.holder('w1').incarnation}"
    for _ in range(2):
        last = beat.stat().st_mtime_ns
        assert until(lambda last=last: beat.stat().st_mtime_ns != last)  # type: ignore[misc]


# The end.


def test_killed_it_takes_the_command_with_it_or_the_claim_stays_held(start: Callable[..., Running], claims: Claims) -> None:
    program = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    running = start("run", "--claim", "repo-x", "--", *PYTHON, program, stdin=subprocess.PIPE)
    pid = int(running.says())

    def is_gone() -> bool:
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    psutil.Process(psutil.Process(pid).ppid()).kill()  # A launcher may stand between it and us.
    if sys.platform in ("linux", "win32"):
        assert until(is_gone)
    elif not is_gone():
        assert isinstance(claims.claim("repo-x", "w1"), Held)
        assert running.process.stdin
        running.process.stdin.close()
    assert until(lambda: isinstance(claims.claim("repo-x", "w1"), Won))
    assert is_gone()


def test_a_store_that_does_not_answer_at_the_end_is_a_warning(
    start: Callable[..., Running], claims: Claims, tmp_path: Path
) -> None:
    args = ("run", "--claim", "repo-x", "--lease", "3", "--", *PYTHON, "raise SystemExit(6)")
    code, out, err = start(*args, before=faulty("retire hangs", tmp_path)).ends()
    assert (code, out) == (6, "")
    assert (
        err
        == "looop: warning: what was held: not released, but free to be taken over: the store has not answered for 3 s\n"
    )
    assert isinstance(claims.claim("repo-x", "w1"), Won)


def test_a_store_that_is_removed_meanwhile_is_a_warning_too(looop: Run, data_dir: Path) -> None:
    code, out, err = said(
        looop("run", "--claim", "repo-x", "--", *PYTHON, f"import shutil; shutil.rmtree({str(data_dir)!r})")
    )
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert err.startswith("looop: warning: what was held: not released")


@pytest.fixture
def container() -> tuple[str, ...]:
    words = ("unshare", "--pid", "--fork", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*words, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("unshare --pid --mount-proc is not possible here")
    return words


ORPHANS = """
import os, signal, sys, time
for _ in range(3):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.2)
        os._exit(0)
    os.wait()
assert os.getppid() == 1
def states():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) not in (1, os.getpid()):
            found.append(pid)
    return found
while states():
    time.sleep(0.01)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("runs", flush=True)
time.sleep(600)
"""


@needs_fork
@needs_proc
def test_as_process_1_it_puts_orphans_away_and_passes_signals_on(
    start: Callable[..., Running], claims: Claims, container: tuple[str, ...]
) -> None:
    python = (sys.executable, "-m", "looop_portable")
    running = start("run", "--claim", "repo-x", "--", *PYTHON, ORPHANS, before=(*container, *python))
    assert running.says() == "runs"
    (init,) = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    os.kill(int(init), signal.SIGTERM)
    assert running.ends() == (5, "", "")
    assert nothing_left(claims)


@pytest.mark.parametrize(
    ("name", "expected"), [("repo-x", "REPO_X"), ("a.b c", "A_B_C"), ("Zahl9", "ZAHL9"), ("ß", "_"), ("é1", "_1")]
)
def test_the_name_of_a_claim_s_variable(name: str, expected: str) -> None:
    assert variable(name) == f"LOOOP_GENERATION_{expected}"
