"""What the operating system says of real processes: running, stopped, dead, re-used, hidden, elsewhere."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from support.capabilities import NATIVE, needs_fork, needs_namespaces_shown, needs_proc, needs_stopping, needs_zombies

from looop_portable import Claims
from looop_portable.protocol.liveness import Here, Liveness, ProcessState
from looop_portable.sessions.registrar import Sessions
from looop_portable.system import processes
from looop_portable.system.processes import LinuxProcesses, PortableProcesses, Processes

SLEEPER = "import sys; print('ready', flush=True); sys.stdin.read()"
WITHOUT_ITS_FIRST_THREAD = """
import ctypes, sys, threading
def rest():
    print("ready", flush=True)
    sys.stdin.read()
    import os
    os._exit(0)
threading.Thread(target=rest).start()
ctypes.CDLL(None).pthread_exit(None)
"""

Spawn = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a Python program and wait for its first line; it ends at the latest with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(params=[pytest.param("linux", marks=needs_proc), "portable"])
def system(request: pytest.FixtureRequest) -> Processes:
    if request.param == "portable":
        pytest.importorskip("psutil", reason="psutil is not installed")
        return PortableProcesses()
    return LinuxProcesses()


def stopped(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)


def zombie(process: "subprocess.Popen[str]") -> None:
    """Dead, and its parent has not asked."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_process_that_runs_is_running(system: Processes, spawn: Spawn) -> None:
    pid = spawn(SLEEPER).pid
    start = system.start_of(pid)
    assert start
    assert system.start_of(pid) == start
    assert system.state(pid, start) is ProcessState.RUNNING
    assert system.state(pid, "") is ProcessState.RUNNING
    assert system.state(os.getpid(), system.start_of(os.getpid())) is ProcessState.RUNNING


@needs_stopping
def test_a_stopped_process_is_not_dead(system: Processes, spawn: Spawn) -> None:
    process = spawn(SLEEPER)
    start = system.start_of(process.pid)
    stopped(process)
    assert system.state(process.pid, start) is ProcessState.STOPPED
    process.send_signal(signal.SIGCONT)
    os.waitpid(process.pid, os.WCONTINUED)
    assert system.state(process.pid, start) is ProcessState.RUNNING


@needs_zombies
def test_a_process_that_ended_unasked_for_is_a_zombie_and_not_alive(system: Processes, spawn: Spawn) -> None:
    process = spawn(SLEEPER)
    start = system.start_of(process.pid)
    zombie(process)
    assert system.state(process.pid, start) is ProcessState.ZOMBIE
    assert system.state(process.pid, "") is ProcessState.ZOMBIE


@needs_proc
def test_a_zombie_has_no_start_to_register(spawn: Spawn) -> None:
    process = spawn(SLEEPER)
    zombie(process)
    assert LinuxProcesses().start_of(process.pid) == ""


def test_a_process_that_ended_is_gone(system: Processes, spawn: Spawn) -> None:
    process = spawn(SLEEPER)
    start = system.start_of(process.pid)
    process.kill()
    process.wait()
    assert system.state(process.pid, start) is ProcessState.GONE
    assert system.start_of(process.pid) == ""


def test_a_later_process_with_the_same_pid_is_not_the_one_that_was_recorded(system: Processes, spawn: Spawn) -> None:
    process = spawn(SLEEPER)
    assert system.state(process.pid, "never") is ProcessState.REUSED


@needs_stopping
def test_nor_is_it_when_it_is_stopped(system: Processes, spawn: Spawn) -> None:
    process = spawn(SLEEPER)
    stopped(process)
    assert system.state(process.pid, "never") is ProcessState.REUSED


def test_two_processes_have_different_starts_even_if_they_have_one_pid(system: Processes, spawn: Spawn) -> None:
    """The test's own process started long enough before its child that no clock tick is shared."""
    assert system.start_of(os.getpid()) != system.start_of(spawn(SLEEPER).pid)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**31 - 1, 2**31, 2**63, 2**64, 10**30])
def test_a_pid_that_nobody_can_have_is_gone(system: Processes, pid: int) -> None:
    assert system.state(pid, "") is ProcessState.GONE
    assert system.start_of(pid) == ""


def test_a_pid_of_hundreds_of_digits_is_not_alive_and_not_an_error(system: Processes) -> None:
    assert system.state(10**4000, "") in (ProcessState.GONE, ProcessState.UNREADABLE)


@needs_proc
@pytest.mark.skipif(sys.platform != "linux", reason="pthread_exit of the first thread leaves the process only on Linux")
def test_a_process_whose_first_thread_has_ended_is_alive_while_others_run(spawn: Spawn) -> None:
    process = spawn(WITHOUT_ITS_FIRST_THREAD)
    stat = Path(f"/proc/{process.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":  # The first thread is on its way out.
        os.sched_yield()
    system = LinuxProcesses()
    start = system.start_of(process.pid)
    assert start
    assert system.state(process.pid, start) is ProcessState.RUNNING
    process.kill()
    process.wait()
    assert system.state(process.pid, start) is ProcessState.GONE


@needs_proc
def test_a_command_s_name_cannot_pretend_to_be_another_state(spawn: Spawn) -> None:
    process = spawn("import sys; open('/proc/self/comm', 'w').write('a) Z 1 (b) X'); " + SLEEPER)
    assert Path(f"/proc/{process.pid}/comm").read_text() == "a) Z 1 (b) X\n"
    system = LinuxProcesses()
    assert system.state(process.pid, system.start_of(process.pid)) is ProcessState.RUNNING


@pytest.mark.parametrize("act", [lambda process: None, stopped, zombie], ids=["running", "stopped", "zombie"])
@needs_proc
def test_psutil_and_proc_agree_on_a_process(act: Callable[["subprocess.Popen[str]"], None], spawn: Spawn) -> None:
    pytest.importorskip("psutil", reason="psutil is not installed")
    process = spawn(SLEEPER)
    linux, portable = LinuxProcesses(), PortableProcesses()
    recorded, also_recorded = linux.start_of(process.pid), portable.start_of(process.pid)
    assert recorded
    assert also_recorded
    act(process)
    assert linux.state(process.pid, recorded) is portable.state(process.pid, also_recorded)
    assert linux.state(process.pid, "0") is portable.state(process.pid, "0") is ProcessState.REUSED
    process.kill()
    process.wait()
    assert linux.state(process.pid, recorded) is portable.state(process.pid, also_recorded) is ProcessState.GONE


@needs_proc
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE])
def test_a_process_that_may_not_be_read_is_unreadable(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> IO[bytes]:
        raise OSError(number, os.strerror(number), "/proc")

    monkeypatch.setattr(processes, "open", refuse, raising=False)
    assert LinuxProcesses().state(os.getpid(), "1") is ProcessState.UNREADABLE


@needs_proc
@pytest.mark.parametrize("kill", [None, PermissionError(errno.EPERM, "not yours")])
def test_a_process_that_proc_hides_is_unreadable_and_not_gone(
    kill: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc mounted with hidepid has no directory for another user's process; a signal to it is refused, or arrives."""

    def hidden(*args: object, **kwargs: object) -> IO[bytes]:
        raise FileNotFoundError(errno.ENOENT, "hidden")

    def signalled(pid: int, number: int) -> None:
        assert number == 0
        if kill:
            raise kill

    monkeypatch.setattr(processes, "open", hidden, raising=False)
    monkeypatch.setattr(os, "kill", signalled)
    assert LinuxProcesses().state(os.getpid(), "1") is ProcessState.UNREADABLE


@needs_proc
@pytest.mark.parametrize("gone", [FileNotFoundError(errno.ENOENT, "gone"), ProcessLookupError(errno.ESRCH, "gone")])
def test_a_process_that_neither_proc_nor_kill_knows_is_gone(gone: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: object, **kwargs: object) -> IO[bytes]:
        raise gone

    def no_such_process(pid: int, number: int) -> None:
        raise ProcessLookupError(errno.ESRCH, "no such process")

    monkeypatch.setattr(processes, "open", absent, raising=False)
    monkeypatch.setattr(os, "kill", no_such_process)
    assert LinuxProcesses().state(4242, "1") is ProcessState.GONE


@needs_proc
@pytest.mark.parametrize("line", [b"", b"1", b"1 (x", b"1 (x)", b"1 (x) S", b"1 (x) S a b c"])
def test_a_statistic_that_makes_no_sense_is_unreadable_and_not_an_error(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "open", lambda *args, **kwargs: io.BytesIO(line), raising=False)
    assert LinuxProcesses().state(os.getpid(), "1") is ProcessState.UNREADABLE
    assert LinuxProcesses().state(2**22 + 1, "1") is ProcessState.GONE  # Whatever /proc says: no pid is so great.


def test_psutil_s_trouble_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")

    def refuse(pid: int) -> object:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", refuse)
    assert PortableProcesses().state(4242, "1") is ProcessState.UNREADABLE
    assert PortableProcesses().start_of(4242) == ""


def test_here_is_told_and_does_not_change(system: Processes) -> None:
    here = system.here()
    assert here.boot
    assert here.namespace
    assert system.here() == here


def in_python(program: str, *prefix: str, **environment: str) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", program],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("system", [pytest.param("LinuxProcesses", marks=needs_proc), "PortableProcesses"])
def test_a_user_who_knows_better_names_the_kernel(system: str) -> None:
    if system == "PortableProcesses":
        pytest.importorskip("psutil", reason="psutil is not installed")
    program = f"from looop_portable.system.processes import {system} as P; print(P().here().boot)"
    assert in_python(program, LOOOP_HOST_ID="rack-7") == "rack-7"
    assert in_python(program, LOOOP_HOST_ID="") not in ("", "rack-7")


def test_the_other_processes_of_this_kernel_see_the_same_here(system: Processes) -> None:
    program = f"from looop_portable.system.processes import {type(system).__name__} as P; print(*P().here()[:3])"
    assert in_python(program, LOOOP_HOST_ID="") == " ".join(map(str, system.here()[:3]))


@needs_proc
def test_without_the_identity_of_the_kernel_or_the_namespace_here_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> IO[bytes]:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.delenv("LOOOP_HOST_ID", raising=False)
    monkeypatch.setattr(processes, "_known", {})
    with monkeypatch.context() as patch:
        patch.setattr(processes, "open", refuse, raising=False)
        assert LinuxProcesses().here()[:2] == ("", "")
    assert all(LinuxProcesses().here()[:2])  # Asked again.
    processes._known.clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", lambda path: "1" if path == "/proc/self" else "pid:[1]")
        assert LinuxProcesses().here().namespace == ""
    with monkeypatch.context() as patch:
        status = b"Name:\tpython\nNSpid:\t%d\t7\n" % os.getpid()  # As a /proc of the namespace above has it.
        patch.setattr(processes, "open", lambda *args, **kwargs: io.BytesIO(status), raising=False)
        assert LinuxProcesses().here().namespace == ""


@pytest.fixture
def unshare() -> list[str]:
    """A command that runs another in a pid namespace of its own."""
    command = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("unshare --pid --mount-proc is not possible here")
    return command


REGISTER = """
import sys
from looop_portable import Claims
claims = Claims.open(sys.argv[1], "auto")
claims.sessions.register("inside")
claims.claim("repo-x", "inside")
"""
JUDGE = """
import sys
from looop_portable import Claims
print(Claims.open(sys.argv[1], "auto").show("repo-x").verdict.liveness.value)
"""


@needs_namespaces_shown
def test_a_session_in_another_pid_namespace_is_unknown_though_its_pid_is_gone(unshare: list[str], tmp_path: Path) -> None:
    subprocess.run([*unshare, sys.executable, "-c", REGISTER, str(tmp_path)], check=True)
    seen = subprocess.run([sys.executable, "-c", JUDGE, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True)
    assert seen.stdout == "unknown\n"


@needs_namespaces_shown
def test_a_session_outside_of_a_pid_namespace_is_unknown_inside(unshare: list[str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", REGISTER, str(tmp_path)], check=True)
    inside = subprocess.run(
        [*unshare, sys.executable, "-c", JUDGE, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True
    )
    outside = subprocess.run([sys.executable, "-c", JUDGE, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True)
    assert (inside.stdout, outside.stdout) == ("unknown\n", "dead\n")


@needs_namespaces_shown
def test_with_the_proc_of_another_pid_namespace_no_namespace_is_claimed(unshare: list[str]) -> None:
    """Without --mount-proc the pids in /proc are the outer ones, which are not the ones that the process knows."""
    program = "from looop_portable.system.processes import LinuxProcesses as P; print(repr(P().here().namespace))"
    without_its_own_proc = [argument for argument in unshare if argument != "--mount-proc"]
    assert in_python(program, *without_its_own_proc) == "''"
    assert in_python(program, *unshare) not in ("''", repr(LinuxProcesses().here().namespace))


@needs_proc
def test_another_boot_identity_is_a_reboot_for_processes_of_our_own_namespace_and_a_hint_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rebooted(LinuxProcesses):
        namespace = ""

        def here(self) -> Here:
            here = super().here()
            return here._replace(boot="another boot", namespace=self.namespace or here.namespace)

    before, rebooted = Claims.open(str(tmp_path), NATIVE), Rebooted()
    after = Sessions(before.backend.sessions, rebooted)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    registered = {}
    for disk in ("linux ext4", "linux tmpfs", ""):
        monkeypatch.setattr(before.backend.sessions.signs, "disk", lambda disk=disk: disk)
        registered[disk] = before.sessions.register(pid=process.pid)
        rebooted.namespace = ""
        assert after.verdict(*registered[disk].holder).liveness is (Liveness.ALIVE if disk else Liveness.UNKNOWN)
    process.kill()
    process.wait()
    for disk, at_once in (("linux ext4", Liveness.DEAD), ("linux tmpfs", Liveness.DEAD), ("", Liveness.UNKNOWN)):
        monkeypatch.setattr(before.backend.sessions.signs, "disk", lambda disk=disk: disk)
        rebooted.namespace = ""
        assert after.verdict(*registered[disk].holder).liveness is at_once
        rebooted.namespace = "pid:[of a container]"
        assert after.verdict(*registered[disk].holder).liveness is Liveness.UNKNOWN


@needs_fork
@needs_proc
def test_a_forked_child_looks_for_its_own_namespace() -> None:
    program = """
import os
from looop_portable.system import processes
processes.LinuxProcesses().here()
child = os.fork()
if not child:
    os._exit(processes.LinuxProcesses().here().pid == os.getpid() != os.getppid())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_python(program) == "1"


def test_the_user_is_who_the_environment_says_else_who_the_system_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(processes, "_listed_user", lambda: "listed")
    assert processes.user() == "listed"
    monkeypatch.setenv("USER", "\udcff" + "u" * 1000)
    assert processes.user() == "?" + "u" * 254
    monkeypatch.setenv("LOGNAME", "ann")
    assert processes.user() == "ann"


def test_a_user_whom_nobody_has_listed_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pwd = pytest.importorskip("pwd", reason="there is no list of users")
    listed = {os.geteuid(): SimpleNamespace(pw_name="ann")}
    monkeypatch.setattr(pwd, "getpwuid", listed.__getitem__)
    assert processes._listed_user() == "ann"
    listed.clear()
    assert processes._listed_user() == ""
