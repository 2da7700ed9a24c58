"""The keeper that `session start` leaves behind: heartbeats, the end of its process, and that there is exactly one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.capabilities import SH, needs_sh
from support.crew import until

from looop_portable import Claims
from looop_portable.config import state_dir
from looop_portable.protocol.records import Holder
from looop_portable.running.keepers import Keepers

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Idlers = Callable[[], "subprocess.Popen[bytes]"]

IDLER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]


class Kept:
    """A session with a keeper."""

    def __init__(self, run: Run, data_dir: Path, process: subprocess.Popen[bytes], session: str) -> None:
        done = run("--json", "session", "start", session, "--pid", str(process.pid), "--lease", "3")
        assert done.returncode == 0, done
        self.started = json.loads(done.stdout)
        assert self.started["trouble"] is None
        self.process = process
        self.holder = Holder(session, self.started["incarnation"])
        self.keeper: int = self.started["keeper"]
        self.claims = Claims.open(str(data_dir))
        self.keepers = Keepers(f"{state_dir()}/keepers")

    def running(self) -> list[int]:
        """The keepers of this session that there are, by their command lines: one each, launchers left out."""
        found = {
            process.info["pid"]: process.info["ppid"]
            for process in psutil.process_iter(["pid", "ppid", "cmdline"])
            if self.holder.incarnation in (process.info["cmdline"] or [])
        }
        return [pid for pid in found if pid not in found.values()]

    def ended(self) -> bool:
        return not self.keepers.is_there(self.holder)

    def kill_keeper(self) -> None:
        psutil.Process(self.keepers.pid(self.holder)).kill()
        assert until(self.ended)

    def files(self) -> list[str]:
        base = Path(self.keepers.base(self.holder))
        return sorted(path.name[len(base.name) :] for path in base.parent.iterdir() if path.name.startswith(base.name))

    def log(self) -> str:
        return Path(f"{self.keepers.base(self.holder)}.log").read_text(encoding="utf-8")


@pytest.fixture
def kept(run: Run, data_dir: Path) -> Iterator[Callable[[str], Kept]]:
    """Starts a session with a keeper, for a process of its own. Both end with the test: the keeper by itself."""
    started: list[Kept] = []
    processes: list[subprocess.Popen[bytes]] = []

    def start(session: str) -> Kept:
        processes.append(subprocess.Popen(IDLER, stdin=subprocess.DEVNULL))
        started.append(Kept(run, data_dir, processes[-1], session))
        return started[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
    for each in started:
        assert until(each.ended), each.log()
        assert until(lambda each=each: not each.running()), each.log()  # type: ignore[misc]


def test_heartbeats_go_on_while_the_process_lives(kept: Callable[[str], Kept], data_dir: Path) -> None:
    session = kept("w1")
    beat = data_dir / "sessions" / "w1" / f"heartbeat-{session.holder.incarnation}"
    for _ in range(3):
        last = beat.stat().st_mtime_ns
        assert until(lambda last=last: beat.stat().st_mtime_ns != last)  # type: ignore[misc]
    assert session.claims.sessions.registration(session.holder)


def test_when_its_process_is_killed_its_claims_are_released_without_anybody_asking(
    run: Run, kept: Callable[[str], Kept]
) -> None:
    session = kept("w1")
    for name in ("repo-x", "repo-y"):
        assert run("claim", name, "--session", "w1").stdout == f"claimed {name}\n"
    session.process.kill()
    session.process.wait()
    assert until(lambda: not any(session.claims.check(name, 1).lease for name in ("repo-x", "repo-y")), 10)
    assert session.claims.check("repo-x", 2).head == 2  # Released; nobody has come to take it over.
    events = [json.loads(line) for line in run("--json", "events").stdout.splitlines()]
    assert [(each["event"], each["claim"]) for each in events[-3:]] == [
        ("session_died", None),
        ("died", "repo-x"),
        ("died", "repo-y"),
    ]
    assert {each["evidence"] for each in events[-3:]} == {f"pid {session.process.pid} is gone"}
    assert session.claims.sessions.registration(session.holder) is None
    assert until(lambda: not session.files())


def test_a_keeper_that_was_killed_is_started_again_by_claim(run: Run, kept: Callable[[str], Kept]) -> None:
    session = kept("w1")
    session.kill_keeper()
    done = run("claim", "repo-x", "--session", "w1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "claimed repo-x\n", "")
    second = session.keepers.pid(session.holder)
    assert second != session.keeper
    assert session.running() == [second]
    run("claim", "repo-x", "--session", "w1")
    assert session.running() == [second]
    session.kill_keeper()
    held = kept("w2")
    run("claim", "repo-y", "--session", "w2")
    assert run("claim", "repo-y", "--session", "w1").returncode == 1
    assert not session.ended()
    assert not held.ended()


def test_claims_that_find_it_gone_at_once_start_one(kept: Callable[[str], Kept]) -> None:
    session = kept("w1")
    session.kill_keeper()
    command = [sys.executable, "-m", "looop_portable", "claim", "repo-x", "--session", "w1"]
    claiming = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    found = [(*process.communicate(timeout=60), process.returncode) for process in claiming]
    assert [code for _, _, code in found] == [0] * 4, found
    assert sorted(err for _, err, _ in found) == [b""] * 4
    assert until(lambda: session.running() == [session.keepers.pid(session.holder)])


def test_a_second_keeper_ends_at_once(looop: Run, kept: Callable[[str], Kept]) -> None:
    session = kept("w1")
    done = looop("session", "keep", "w1", "--incarnation", session.holder.incarnation, "--foreground")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"kept by {session.keeper}\n", "")
    assert session.running() == [session.keeper]


def test_session_stop_ends_it(run: Run, kept: Callable[[str], Kept]) -> None:
    session = kept("w1")
    assert session.files() == [".json", ".lock", ".log"]
    assert run("session", "stop", "w1").returncode == 0
    assert session.ended()
    assert session.files() == []
    assert session.process.poll() is None


def test_where_its_end_is_published_it_ends_by_itself(kept: Callable[[str], Kept]) -> None:
    session = kept("w1")
    assert session.claims.sessions.stop(*session.holder)  # As another host does.
    assert until(session.ended)
    assert until(lambda: not session.files())


def test_session_keep_starts_it_again_and_says_so(run: Run, kept: Callable[[str], Kept]) -> None:
    session = kept("w1")
    there = run("session", "keep", "w1")
    assert (there.returncode, there.stdout) == (0, f"session 'w1': its keeper is there: pid {session.keeper}\n")
    session.kill_keeper()
    started = json.loads(run("--json", "session", "keep", "w1").stdout)
    assert (started["verb"], started["outcome"], started["session"]) == ("session keep", "started", "w1")
    assert session.running() == [started["keeper"]]
    assert Path(started["log"]).is_file()
    assert json.loads(run("--json", "session", "keep", "w1").stdout) == {**started, "outcome": "there"}


def test_session_keep_where_there_is_nothing_to_keep_is_usage(run: Run, alive: Living) -> None:
    alive("w1")
    for session, why in (("w1", "has no keeper"), ("w9", "no such session")):
        done = run("session", "keep", session)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert why in done.stderr


def test_a_session_of_another_host_is_not_kept_from_here(
    run: Run, kept: Callable[[str], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = kept("w1")
    monkeypatch.setattr("looop_portable.running.keepers.Keepers.is_for", lambda self, registration: False)
    session.kill_keeper()
    done = run("session", "keep", "w1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not of this host" in done.stderr
    assert run("claim", "repo-x", "--session", "w1").returncode == 0
    assert session.ended()


def test_it_holds_no_pipe_open(looop: Run, kept: Callable[[str], Kept], data_dir: Path) -> None:
    process = subprocess.Popen(IDLER, stdin=subprocess.DEVNULL)
    try:
        # Who reads to the end of the pipes would wait for the keeper, that is for an hour.
        done = looop("session", "start", "w1", "--pid", str(process.pid), "--lease", "3", "--shell", timeout=45)
        assert (done.returncode, done.stdout, done.stderr) == (0, "export LOOOP_SESSION_ID=w1\n", "")
        keepers = Keepers(f"{state_dir()}/keepers")
        holder = Claims.open(str(data_dir)).sessions.holder("w1")
        assert keepers.is_there(holder)
    finally:
        process.kill()
        process.wait()
    assert until(lambda: not keepers.is_there(holder))


@needs_sh
def test_a_shell_that_evals_it_goes_on_at_once_and_its_claims_are_free_when_it_ends(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOOP_LEASE", "3")
    looop = f'"{sys.executable}" -m looop_portable'
    script = f'eval "$({looop} session start w1 --pid $$ --shell)" || exit 9\n{looop} claim repo-x\n'
    done = subprocess.run([SH, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "claimed repo-x\n", "")
    claims = Claims.open(str(data_dir))
    assert until(lambda: claims.check("repo-x", 1).lease is None)
    keepers = Path(f"{state_dir()}/keepers")
    assert until(lambda: not list(keepers.glob("w1-*")))


def test_it_has_nothing_to_do_with_the_terminal_or_the_directory_of_whoever_starts_it(kept: Callable[[str], Kept]) -> None:
    process = psutil.Process(kept("w1").keeper)
    assert process.cwd() != os.getcwd()
    if hasattr(os, "getsid"):
        assert os.getsid(process.pid) == process.pid
        assert process.terminal() is None
    assert "--foreground" in process.cmdline()


def test_its_log_says_what_it_does(kept: Callable[[str], Kept]) -> None:
    session = kept("w1")
    (line,) = session.log().splitlines()
    stamp, said = line.split(" ", 1)
    assert time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")
    assert said.startswith(f"start: pid {session.keeper} for session 'w1', process {session.process.pid}: ")


def test_trouble_is_logged_once_and_so_is_the_recovery(kept: Callable[[str], Kept], data_dir: Path) -> None:
    session = kept("w1")
    beat = data_dir / "sessions" / "w1" / f"heartbeat-{session.holder.incarnation}"
    beat.rename(data_dir / "away")
    assert until(lambda: "trouble: " in session.log())
    (data_dir / "away").rename(beat)
    assert until(lambda: "recovered" in session.log())
    assert session.log().count("trouble: ") == 1
    session.process.kill()
    session.process.wait()
    assert until(session.ended)
    assert session.files() == [".log"]  # It is worth reading.
    assert session.log().splitlines()[-1].split(" ", 1)[1] == "end: the session has ended, and holds nothing any more"


def test_it_ends_when_the_store_is_removed_under_it(kept: Callable[[str], Kept], data_dir: Path) -> None:
    session = kept("w1")
    said_to_go_on = data_dir / "sessions" / ".ledger" / "w1" / "2"
    assert until(said_to_go_on.exists)  # Until that is complete it may make anew what is removed.
    beat = data_dir / "sessions" / "w1" / f"heartbeat-{session.holder.incarnation}"
    last = beat.stat().st_mtime_ns
    assert until(lambda: beat.stat().st_mtime_ns != last)

    def remove() -> bool:
        shutil.rmtree(data_dir, ignore_errors=True)  # On Windows a file goes when it is closed, and its directory then.
        return not data_dir.exists()

    assert until(remove)
    assert until(session.ended)
    assert not data_dir.exists()


@pytest.fixture
def no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No directory can be used for a keeper's files: what is there is a file."""
    (tmp_path / "a file").touch()
    monkeypatch.setattr("looop_portable.running.state._candidates", lambda name: iter([(f"{tmp_path}/a file/{name}", 0)]))


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper's Python says something, and fails."""
    program = "import sys; sys.exit('no encodings')"
    monkeypatch.setattr(Keepers, "_command", lambda *given, **named: [sys.executable, "-I", "-S", "-c", program])


@pytest.mark.parametrize(("lack", "why"), [("no_place", "a file"), ("no_start", "no encodings (it ended with code 1)")])
def test_where_it_cannot_be_started_there_is_no_session_either(
    run: Run, data_dir: Path, request: pytest.FixtureRequest, lack: str, why: str
) -> None:
    request.getfixturevalue(lack)
    start = ("session", "start", "--pid", str(os.getpid()), "--lease", "30")
    done = run(*start)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert done.stderr.startswith("looop: no session is started: ")
    assert why in done.stderr
    assert Claims.open(str(data_dir)).sessions.statuses() == []
    assert run(*start, "--shell").stdout == "unset LOOOP_SESSION_ID; false\n"
    found = json.loads(run("--json", *start, "w1").stdout)
    assert (found["outcome"], found["code"], why in found["message"]) == ("error", "unavailable", True)
    assert [status.verdict.dead for status in Claims.open(str(data_dir)).sessions.statuses()] in ([], [True])
    assert run("session", "start", "w1", "--pid", str(os.getpid()), "--lease", "0").returncode == 0  # It needs none.


def test_where_no_thread_can_be_started_there_is_no_session_either(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    done = run("session", "start", "--pid", str(os.getpid()), "--lease", "30")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "raise the limit of processes" in done.stderr
    assert Claims.open(str(data_dir)).sessions.statuses() == []


@pytest.mark.parametrize("lack", ["no_place", "no_start"])
@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["words", "json"])
def test_claim_says_that_it_cannot_start_it_again(
    run: Run, kept: Callable[[str], Kept], request: pytest.FixtureRequest, lack: str, json_too: tuple[str, ...]
) -> None:
    session = kept("w1")
    session.kill_keeper()
    request.getfixturevalue(lack)
    done = run(*json_too, "claim", "repo-x", "--session", "w1")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("looop: warning: ")
    assert "looop session keep w1" in done.stderr


def test_claim_says_that_it_is_gone_where_it_cannot_be_told_whose_process_it_is(
    run: Run, kept: Callable[[str], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = kept("w1")
    monkeypatch.setattr(Keepers, "is_for", lambda *given: False)
    assert run("claim", "repo-x", "--session", "w1").stderr == ""
    session.kill_keeper()
    done = run("claim", "repo-x", "--session", "w1")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("looop: warning: session 'w1' is not kept any more: its keeper is gone. ")


def test_a_session_is_kept_again_before_it_waits(run: Run, kept: Callable[[str], Kept], alive: Living) -> None:
    """Else it would be taken for dead while it waits, and lose its turn."""
    alive("w2")
    assert run("claim", "repo-x", "--session", "w2").returncode == 0
    session = kept("w1")
    session.kill_keeper()
    command = [sys.executable, "-m", "looop_portable", "claim", "repo-x", "--session", "w1", "--wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert until(lambda: not session.ended(), 20)
            assert run("unclaim", "repo-x", "--session", "w2").returncode == 0
            out, err = waiting.communicate(timeout=60)
        finally:
            waiting.kill()
    assert (waiting.returncode, out) == (0, "claimed repo-x\n")
    assert "warning" not in err


def test_a_waiter_is_told_once_that_its_keeper_cannot_be_started_again(
    run: Run, kept: Callable[[str], Kept], request: pytest.FixtureRequest
) -> None:
    session = kept("w1")
    session.kill_keeper()
    request.getfixturevalue("no_start")
    done = run("claim", "repo-x", "--session", "w1", "--wait")
    assert (done.returncode, done.stderr.count("warning")) == (0, 1)


def test_a_start_that_is_interrupted_leaves_no_session(run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: list[str], environment: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("looop_portable.running.keepers.launch", interrupted)
    assert run("session", "start", "--pid", str(os.getpid()), "--lease", "30").returncode == 130
    assert Claims.open(str(data_dir)).sessions.statuses() == []


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import os, signal; os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))", "it said nothing"),
        ("print('kept by 1', flush=True)", "has ended again at once"),
    ],
    ids=["before it says so", "after it has said so"],
)
def test_a_keeper_that_is_killed_before_its_first_heartbeat_is_none(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch, program: str, why: str
) -> None:
    monkeypatch.setattr(Keepers, "_command", lambda *given, **named: [sys.executable, "-I", "-S", "-c", program])
    done = run("session", "start", "--pid", str(os.getpid()), "--lease", "30")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert why in done.stderr
    assert Claims.open(str(data_dir)).sessions.statuses() == []


def test_one_of_two_starts_of_one_session_is_refused_and_the_other_is_kept(data_dir: Path) -> None:
    idler = subprocess.Popen(IDLER, stdin=subprocess.DEVNULL)
    command = [sys.executable, "-m", "looop_portable", "--json", "session", "start", "w1", "--pid", str(idler.pid)]
    pipe = subprocess.PIPE
    try:
        both = [subprocess.Popen([*command, "--lease", "3"], stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
        found = sorted((each.communicate(timeout=60)[0], each.returncode) for each in both)
        codes = sorted(code for _, code in found)
        (started,) = [json.loads(out) for out, code in found if code == 0]
        holder = Holder("w1", started["incarnation"])
        assert codes == [0, 1]
        assert Claims.open(str(data_dir)).sessions.holder("w1") == holder
        keepers = Keepers(f"{state_dir()}/keepers")
        assert (keepers.is_there(holder), keepers.pid(holder)) == (True, started["keeper"])
    finally:
        idler.kill()
        idler.wait()
    assert until(lambda: not keepers.is_there(holder))


@pytest.mark.parametrize("lease", ["1", "2"])
def test_a_lease_that_is_too_short_is_usage(run: Run, data_dir: Path, lease: str) -> None:
    done = run("session", "start", "w1", "--pid", str(os.getpid()), "--lease", lease)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "too short for heartbeats" in done.stderr
    assert not data_dir.exists()


@pytest.mark.parametrize("lease", ["-1", "x"])
def test_what_is_no_lease_is_usage_in_the_environment_too(
    run: Run, data_dir: Path, lease: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOOP_LEASE", lease)
    done = run("session", "start", "w1", "--pid", str(os.getpid()))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "LOOOP_LEASE" in done.stderr
    assert not data_dir.exists()


def test_without_a_lease_there_is_no_keeper(run: Run, alive: Living) -> None:
    started = json.loads(run("--json", "session", "start", "w1", "--pid", str(os.getpid()), "--lease", "0").stdout)
    alive("w2")  # As a program that registers itself.
    for session in ("w1", "w2"):
        assert run("claim", f"repo-{session}", "--session", session).returncode == 0
        assert not list(Path(f"{state_dir()}/keepers").glob(f"{session}-{started['incarnation']}*"))
    assert started["keeper"] is None


def test_where_it_is_there_claim_pays_for_no_more_than_a_look(kept: Callable[[str], Kept], alive: Living) -> None:
    kept("w1")
    alive("w2")
    program = """
import sys
from looop_portable.cli import main
before = set(sys.modules)
try:
    main(["claim", "repo-x", "--session", "w1"])
finally:
    print(*sorted({"filelock", "portalocker", "psutil", "subprocess", "threading"} & (set(sys.modules) - before)), "end")
"""
    without = program.replace('"w1"', '"w2"').replace("repo-x", "repo-y")
    found = [
        subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True).stdout.splitlines()
        for each in (program, without)
    ]
    assert found[0][0] == "claimed repo-x"
    assert found[0][1] == found[1][1]
