"""What a command of `looop run` has started, when the command, or `looop run`, is killed; beside flock(1).

The oracle is a list of process ids, which each of them enters before anything is killed.
"""

from __future__ import annotations

import codecs
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import (
    PID_NAMESPACE,
    namespaces_or_skip,
    needs_fork,
    needs_other_users,
    needs_proc,
    needs_sh,
    program_or_skip,
)
from support.crew import until
from support.users import as_user

from looop_portable import Claims, Held, Won

pytestmark = [needs_fork, needs_proc, needs_sh]

LOOOP = (sys.executable, "-m", "looop_portable")
ELSEWHERE = (sys.executable, str(Path(__file__).parents[1] / "support" / "elsewhere.py"))
"""Without /proc, pidfds, prctl(2) and locks that are inherited."""
PYTHON = (sys.executable, "-I", "-S", "-c")
SOON = 30.0
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows collects this file, too.
FAMILY = """
import os, signal, sys, time
path, then, *kinds = sys.argv[1:]
def enter():
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
def live(kind):
    if "stubborn" in kind:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "tells" in kind:
        signal.signal(signal.SIGTERM, lambda *_: (open(path + ".told", "a").write("asked\\n"), os._exit(0)))
    if "stopped" in kind:
        enter()
        os.kill(os.getpid(), signal.SIGSTOP)
    if "closed" in kind:
        os.closerange(0, 256)
    if "cleared" in kind:
        program = f"import os, time; open({path!r}, 'a').write(f'{os.getpid()}\\\\n'); time.sleep(600)"
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", program], {})
    if "stopped" not in kind:
        enter()
    time.sleep(600)
for kind in kinds:
    if os.fork() == 0:
        if "session" in kind:
            os.setsid()
        if "orphan" not in kind or os.fork() == 0:
            live(kind)
        os._exit(0)
enter()
while not os.path.exists(path) or len(open(path).read().split()) <= len(kinds):
    time.sleep(0.01)
def is_stopped(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "T"
while sum(map(is_stopped, open(path).read().split())) < sum("stopped" in kind for kind in kinds):
    time.sleep(0.01)
print("runs", os.getpid(), flush=True)
if then == "stays":
    time.sleep(600)
elif then.startswith("-"):
    os.kill(os.getpid(), int(then[1:]))
sys.exit(int(then))
"""
KINDS = [
    ("child",),
    ("orphan",),
    ("session",),
    ("orphan session",),
    ("orphan session cleared",),
    ("orphan session closed",),
    ("closed cleared",),
    ("stopped", "orphan stopped session"),
    ("stubborn", "orphan session stubborn"),
    ("child", "orphan", "session", "orphan session", "stopped", "closed") * 3,
]
CHECK = """
import sys
def lives(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
print([pid for pid in open(sys.argv[1]).read().split() if lives(pid)])
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID", "LOOOP_LEASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOOOP_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def claims(store: Path) -> Claims:
    return Claims.open(str(store))


class Family:
    """A command under `runner`, and all of its descendants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = 0
        self.process: subprocess.Popen[str] | None = None

    def begin(self, runner: tuple[str, ...], then: str, *kinds: str, **options: object) -> subprocess.Popen[str]:
        command = (*runner, *PYTHON, FAMILY, str(self.path), then, *kinds)
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        assert self.process
        assert self.process.stdout
        self.pid = int(self.process.stdout.readline().split()[1])
        return self.process

    def living(self) -> list[int]:
        return [pid for pid in map(int, self.path.read_text().split()) if lives(pid)]

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                assert stream
                stream.close()
        for pid in self.living() if self.path.exists() else []:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    found = Family(tmp_path / "family")
    yield found
    found.end()


RUN = (*LOOOP, "run", "--claim", "repo-x", "--")


def next_one(family: Family, looop: tuple[str, ...] = LOOOP) -> str:
    """What lives of it when the next command begins."""
    waits = (*looop, "run", "--claim", "repo-x", "--timeout", str(SOON), "--", *PYTHON, CHECK, str(family.path))
    done = subprocess.run(waits, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("kinds", "session"), [*((kinds, "") for kinds in KINDS), (KINDS[-1], "nightly")])
def test_killed_all_of_the_command_ends_before_the_claim_is_free(
    family: Family, kinds: tuple[str, ...], session: str
) -> None:
    named = ("--session", session) if session else ()
    running = family.begin((*RUN[:-1], *named, "--"), "stays", *kinds)
    assert len(family.living()) == len(kinds) + 1
    running.kill()
    assert next_one(family) == "[]"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kinds", [kinds for kinds in KINDS if "orphan session cleared" not in kinds])
def test_killed_elsewhere_all_of_the_command_that_can_be_found_ends_before_the_claim_is_free(
    family: Family, kinds: tuple[str, ...]
) -> None:
    running = family.begin((*ELSEWHERE, *RUN[len(LOOOP) :]), "stays", *kinds)
    assert len(family.living()) == len(kinds) + 1
    running.kill()
    assert next_one(family, ELSEWHERE) == "[]"


@pytest.mark.usefixtures("store")
def test_elsewhere_the_group_of_a_command_that_a_signal_ends_is_asked_first_and_ends_before_the_claim_is_free(
    family: Family,
) -> None:
    kinds = ("child tells", "orphan tells", "orphan stubborn")
    running = family.begin((*ELSEWHERE, *RUN[len(LOOOP) :]), "stays", *kinds)
    os.kill(family.pid, signal.SIGTERM)
    assert until(lambda: len(family.living()) == 1)
    running.terminate()  # Somebody is impatient.
    assert next_one(family, ELSEWHERE) == "[]"
    assert running.wait(SOON) == 128 + signal.SIGTERM
    assert Path(f"{family.path}.told").read_text() == 2 * "asked\n"


UNLISTED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import psutil
from support import elsewhere
elsewhere.take_away()
def refused():
    raise PermissionError(1, "Operation not permitted")
psutil.process_iter = refused
from looop_portable.__main__ import main
main()
"""


@pytest.mark.usefixtures("store")
def test_killed_where_nobody_lists_processes_the_command_and_its_group_end(family: Family) -> None:
    """As in a sandbox."""
    run = (sys.executable, "-c", UNLISTED, str(Path(__file__).parents[1]), *RUN[len(LOOOP) :])
    running = family.begin(run, "stays", "child", "orphan", "stopped", "stubborn")
    running.kill()
    assert until(lambda: not family.living())


@pytest.fixture
def of_root() -> Iterator[Path]:
    """A program that sleeps, as root, whoever runs it. Not below tmp_path, which is shut to other users."""
    directory = Path(tempfile.mkdtemp(prefix="program-"))
    try:
        if os.statvfs(directory).f_flag & os.ST_NOSUID:
            pytest.skip(f"a set-user-ID program counts for nothing in {directory.parent}")
        directory.chmod(0o755)
        program = directory / "program"
        shutil.copy(os.path.realpath(program_or_skip("sleep")), program)
        program.chmod(0o4755)
        yield program
    finally:
        shutil.rmtree(directory)


@needs_other_users
@pytest.mark.parametrize("seen", [True, False], ids=["here", "without a /proc"])
def test_killed_a_set_user_id_command_ends_too(of_root: Path, monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    """Which the kernel clears the death signal of (prctl(2))."""
    from looop_portable.running.child import posix
    from looop_portable.system.processes import descendants

    if not seen:
        for module in (descendants, posix):
            monkeypatch.setattr(module, "are_seen", lambda: False)
    program = of_root

    def run() -> None:
        """As `looop run` does, in a process that is killed."""
        child = posix.Child([str(program), "600"])
        told.append(child.prepare())
        child.begin(dict(os.environ), lambda _: None)
        os.write(writer, b"%d" % told[0])
        child.wait()

    def work() -> None:
        running = os.fork()
        if not running:
            os.close(reader)
            try:
                run()
            finally:
                os._exit(1)
        os.close(writer)
        pid = int(os.read(reader, 20))
        assert until(lambda: is_running(pid, program))
        os.kill(running, KILL)
        os.waitpid(running, 0)
        assert until(lambda: not is_running(pid, program))

    told: list[int] = []
    codecs.lookup("ascii"), codecs.lookup("latin-1")  # That user may not be able to read this Python.
    reader, writer = os.pipe()
    try:
        as_user(65534, 65534, work)
    finally:
        os.close(reader)
        os.close(writer)


def is_running(pid: int, program: Path) -> bool:
    """As root, by now. Who has ended may not have been put away yet: by whom, the tests before this one decide."""
    try:
        name, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rsplit(") ", 1)
        return (name, state[0] in "ZX", os.stat(f"/proc/{pid}").st_uid) == (program.name, False, 0)
    except OSError:
        return False


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("kinds", "number"),
    [*((kinds, KILL) for kinds in KINDS), (KINDS[-1], signal.SIGTERM), (KINDS[-1], signal.SIGSEGV)],
)
def test_what_a_command_has_started_that_a_signal_ends_ends_before_the_claim_is_free(
    family: Family, kinds: tuple[str, ...], number: signal.Signals
) -> None:
    running = family.begin(RUN, "stays", *kinds)
    os.kill(family.pid, number)
    if "stubborn" in kinds:
        assert until(lambda: not lives(family.pid))
        running.terminate()  # Somebody is impatient.
    assert next_one(family) == "[]"
    assert running.wait(SOON) == 128 + number
    assert running.stderr
    assert running.stderr.read() == ""


@pytest.mark.usefixtures("store")
def test_killed_together_with_its_command_nothing_is_left(family: Family) -> None:
    running = family.begin(RUN, "stays", "child", "orphan session closed", "orphan session cleared")
    os.kill(family.pid, signal.SIGKILL)
    running.kill()
    assert next_one(family) == "[]"


def test_its_guardian_killed_too_the_claim_is_held_as_long_as_any_of_it_lives(family: Family, claims: Claims) -> None:
    """As `pkill -9 -f looop` has it."""
    running = family.begin(RUN, "stays", "child", "orphan session")
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    known = set(map(int, family.path.read_text().split()))
    (guardian,) = {int(pid) for pid in children} - known
    os.kill(guardian, signal.SIGKILL)
    running.kill()
    running.wait()
    claims.sessions.register("other")
    for pid in sorted(known - {family.pid}, key=lambda pid: pid != family.pid):
        assert isinstance(claims.claim("repo-x", "other"), Held)
        if lives(family.pid):
            os.kill(family.pid, signal.SIGKILL)
            assert until(lambda: not lives(family.pid))
            outcome = claims.claim("repo-x", "other")
            assert isinstance(outcome, Held)
            assert "but what it started is left" in outcome.verdict.evidence
        os.kill(pid, signal.SIGKILL)
        assert until(lambda pid=pid: not lives(pid))  # type: ignore[misc]
    assert isinstance(claims.claim("repo-x", "other"), Won)


def test_what_is_left_by_one_that_exits_is_named_and_holds_nothing(family: Family, claims: Claims) -> None:
    running = family.begin(RUN, "3", "child", "orphan session")
    assert running.wait(SOON) == 3
    left = family.living()
    assert len(left) == 2
    assert running.stderr
    said = running.stderr.readline()  # What is left has it open too.
    assert said.startswith("looop: left behind by the command, and holding nothing: pid ")
    assert all(f"pid {pid} (" in said for pid in left)
    assert not claims.list()


def test_until_all_end_it_holds(family: Family, claims: Claims) -> None:
    running = family.begin((*RUN[:-1], "--until-all-end", "--"), "3", "child", "orphan session", "orphan session closed")
    assert until(lambda: not lives(family.pid))
    claims.sessions.register("other")
    left = family.living()
    assert len(left) == 3
    for pid in left:
        assert running.poll() is None
        assert isinstance(claims.claim("repo-x", "other"), Held)
        os.kill(pid, signal.SIGKILL)
    assert running.wait(SOON) == 3
    assert running.stderr
    assert running.stderr.read() == ""
    assert isinstance(claims.claim("repo-x", "other"), Won)


def test_until_all_end_signals_are_passed_on_to_what_is_left(family: Family, claims: Claims) -> None:
    running = family.begin((*RUN[:-1], "--until-all-end", "--"), "3", "child", "orphan session closed")
    assert until(lambda: not lives(family.pid))
    running.terminate()
    assert running.wait(SOON) == 3
    assert not family.living()
    assert not claims.list()


def test_until_all_end_killed_all_of_it_ends(family: Family) -> None:
    running = family.begin((*RUN[:-1], "--until-all-end", "--"), "3", "child", "orphan session", "orphan session closed")
    assert until(lambda: not lives(family.pid))
    running.kill()
    assert next_one(family) == "[]"


@pytest.mark.parametrize("then", ["stays", "3"])
def test_what_has_lost_ends_with_all_that_it_has_started(family: Family, claims: Claims, then: str) -> None:
    options = ("--until-all-end", "--lease", "3", "--")
    running = family.begin((*RUN[:-1], *options), then, "child", "orphan session stubborn")
    if then == "3":
        assert until(lambda: not lives(family.pid))
    claims.break_claim("repo-x", 1, "test")
    assert running.wait(SOON) == (128 + signal.SIGTERM if then == "stays" else 3)
    assert not family.living()


def test_what_was_there_before_is_not_the_command_s(family: Family, claims: Claims, tmp_path: Path) -> None:
    """As an entry point's script has it: it starts a helper, and becomes `looop run`."""
    helper = tmp_path / "helper"
    words = (f'sleep 600 & echo $! > "{helper}"; (sleep 600 & echo $! >> "{helper}"); exec "$@"', "sh", *RUN)
    running = family.begin(("sh", "-c", *words), "-9", "child", "orphan session", "orphan session closed")
    try:
        assert running.wait(SOON) == 128 + signal.SIGKILL
        assert not family.living()
        assert all(lives(int(pid)) for pid in helper.read_text().split())
        assert not claims.list()
    finally:
        for pid in helper.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.usefixtures("claims")
def test_as_process_1_it_ends_what_a_killed_command_has_started_and_no_more(family: Family, tmp_path: Path) -> None:
    namespaces_or_skip()
    helper = '(trap "echo helper >>"$0.told"" TERM; sleep 600 & wait) & exec "$@"'
    run = (*PID_NAMESPACE, "sh", "-c", helper, str(family.path), *RUN)
    kinds = ("child tells", "orphan session tells", "orphan session closed tells")
    command = (*run, *PYTHON, FAMILY, str(family.path), "-9", *kinds)
    done = subprocess.run(command, capture_output=True, text=True, timeout=SOON, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGKILL, "")
    told = Path(f"{family.path}.told").read_text()  # By the kernel, as process 1 exits, all would be killed unasked.
    assert told == len(kinds) * "asked\n"
    family.path.unlink()  # These process ids are another namespace's.


# Beside flock(1).

Taken = Callable[[], bool]
LEAVES = {
    "nothing": "exit 3",
    "a child": 'sleep 600 & echo $! >> "$1"; exit 3',
    "an orphan": '(sleep 600 & echo $! >> "$1"); exit 3',
    "a session": '(setsid sleep 600 & echo $! >> "$1"); exit 4',
    "killed": "kill -KILL $$",
    "asked": "kill -TERM $$",
}


@pytest.mark.parametrize("script", LEAVES.values(), ids=LEAVES)
def test_until_all_end_it_answers_as_flock_does(family: Family, store: Path, tmp_path: Path, script: str) -> None:
    """Its code, and whether another gets in while what it has left lives, and after."""
    flock, lock = program_or_skip("flock"), str(tmp_path / "lock")
    answers = []
    for runner, asks in (
        ((flock, lock), (flock, "-n", lock, "true")),
        ((*RUN[:-1], "--until-all-end", "--"), (*RUN, "true")),
    ):
        family.path.write_text("")
        running = subprocess.Popen([*runner, "sh", "-c", script, "sh", str(family.path)], stdin=subprocess.DEVNULL)
        if "sleep" not in script:
            running.wait(SOON)
        else:
            assert until(lambda: bool(family.path.read_text().strip()))
        found = [subprocess.run(asks, stderr=subprocess.DEVNULL, check=False).returncode]
        for pid in family.living():
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: not family.living())
        code = running.wait(SOON)
        assert until(lambda asks=asks: subprocess.run(asks, check=False).returncode == 0)  # type: ignore[misc]
        answers.append((code, found))
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("store")
def test_killed_like_flock_it_lets_nobody_in_beside_what_is_left(family: Family, tmp_path: Path) -> None:
    flock, lock = program_or_skip("flock"), str(tmp_path / "lock")
    for runner, asks in (((flock, lock), (flock, "-n", lock, "true")), (RUN, (*RUN, "true"))):
        family.path.unlink(missing_ok=True)
        running = family.begin(runner, "stays", "child", "orphan session")
        running.kill()
        running.wait()
        if runner is RUN:  # What is left does not outlive the wait.
            assert next_one(family) == "[]"
        began, refused = time.monotonic(), 0
        while family.living() and time.monotonic() - began < 1:
            code = subprocess.run(asks, capture_output=True, check=False).returncode
            assert code == 1 or not family.living()
            refused += code == 1
        assert refused or runner is RUN
        family.end()
