"""A keeper's rhythm, what it makes of failures, and its end; with a clock that is moved."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import NATIVE, NativeFiles

from looop_portable import Claims, Unavailable, Won
from looop_portable.protocol.liveness import Here, ProcessState
from looop_portable.protocol.records import Holder, Registration
from looop_portable.running.keeper import Keeper, Rhythm
from looop_portable.running.keepers import Keepers
from looop_portable.system.files import OS
from looop_portable.system.processes import SYSTEM
from looop_portable.system.processes.handle import Watch

LEASE = 30
DAY = 24 * 3600


def test_a_heartbeat_is_due_every_third_of_the_lease_from_when_the_last_was_begun() -> None:
    rhythm = Rhythm(LEASE)
    assert rhythm.due_in(100.0) == 0
    rhythm.renewed(100.0)
    assert (rhythm.due_in(100.0), rhythm.due_in(107.0), rhythm.due_in(110.0), rhythm.due_in(500.0)) == (10, 3, 0, 0)


@pytest.mark.parametrize(("lease", "pause"), [(3, 0.1), (30, 1.0), (90, 3.0), (86400, 10.0)])
def test_after_a_failure_it_is_tried_again_soon(lease: int, pause: float) -> None:
    rhythm = Rhythm(lease)
    rhythm.renewed(0.0)
    rhythm.failed(1000000.0)
    assert rhythm.due_in(1000000.0) == pytest.approx(pause)
    rhythm.renewed(1000001.0)
    assert rhythm.due_in(1000001.0) == lease / 3


def test_a_keeper_that_begins_or_was_late_by_a_quarter_of_the_interval_was_silent() -> None:
    rhythm = Rhythm(LEASE)
    assert rhythm.is_silent(100.0)
    rhythm.renewed(100.0)
    assert [rhythm.is_silent(100.0 + passed) for passed in (0, 10, 12, 13, DAY)] == [False, False, False, True, True]


class World:
    """A store, a process that ends when a test says so, a clock that waiting moves, and what was said to the sessions."""

    def __init__(self, directory: Path) -> None:
        self.claims = Claims.open(str(directory), NATIVE)
        self.registration = self.claims.sessions.register("w1", lease_seconds=LEASE, kept=True)
        self.now = 1000.0
        self.ends_at = 1e9
        self.calls: list[tuple[str, float]] = []
        self.log: list[str] = []
        self.failing = ""
        self.resuming = False
        self.while_waiting: Callable[[], None] = lambda: None
        for verb in ("renew", "resume"):
            setattr(self.claims.sessions, verb, self._counted(verb, getattr(self.claims.sessions, verb)))
        self.keeper = Keeper(
            self.claims, self.registration, self.log.append, Watched(self), clock=lambda: self.now, sleep=self.wait
        )

    def _counted(self, verb: str, call: Callable[[Holder], bool]) -> Callable[[Holder], bool]:
        def counted(holder: Holder) -> bool:
            if self.resuming:
                return call(holder)  # To resume is to renew as well.
            self.calls.append((verb, self.now))
            if self.failing:
                raise Unavailable(self.failing)
            self.resuming = verb == "resume"
            try:
                return call(holder)
            finally:
                self.resuming = False

        return counted

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.while_waiting()


class Watched(Watch):
    def __init__(self, world: World) -> None:
        super().__init__(os.getpid(), "")
        self.close()
        self.world = world

    def ended(self, seconds: float) -> bool:
        self.world.wait(min(seconds, max(self.world.ends_at - self.world.now, 0.0)))
        return self.world.now >= self.world.ends_at


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_says_that_the_session_goes_on_and_then_gives_heartbeats(world: World) -> None:
    world.ends_at = 1035.0
    world.keeper.run()
    assert world.calls == [("resume", 1000.0), ("renew", 1010.0), ("renew", 1020.0), ("renew", 1030.0)]
    assert world.claims.sessions.registration(world.registration.holder) is None
    assert not world.keeper.troubled


def test_after_the_machine_has_slept_it_says_that_the_session_goes_on(world: World) -> None:
    def sleep_once() -> None:
        if world.now == 1010.0:
            world.now += DAY

    world.while_waiting = sleep_once
    world.ends_at = 1015.0 + DAY
    world.keeper.run()
    assert world.calls == [("resume", 1000.0), ("resume", 1010.0 + DAY)]


def test_a_failure_is_told_once_and_tried_again_every_tenth_of_the_interval(world: World) -> None:
    def fail_for_a_while() -> None:
        world.failing = "the server is away" if 1009.0 < world.now < 1022.5 else ""

    world.while_waiting = fail_for_a_while
    world.ends_at = 1030.0
    world.keeper.run()
    assert [at for _, at in world.calls] == [1000.0, *(1010.0 + n for n in range(14))]
    assert [verb for verb, at in world.calls if at > 1000] == ["renew"] * 3 + ["resume"] * 11
    assert [line for line in world.log if "trouble" in line] == ["trouble: the server is away"]
    assert [line for line in world.log if "recovered" in line] == [
        "recovered, after a silence that others may have taken for its end"
    ]
    assert world.keeper.troubled


def test_when_somebody_has_ended_the_session_it_is_over_and_its_claims_are_not_touched(world: World) -> None:
    world.claims.claim("n", world.registration.holder)

    def end_it_once() -> None:
        if world.now > 1005.0:
            world.claims.sessions.stop("w1")

    world.while_waiting = end_it_once
    world.keeper.run()
    assert world.log[-1] == "end: the session is over: it was ended, or its id registered anew"
    assert world.claims.check("n", 1).current


def test_when_its_process_ends_what_it_holds_is_released_and_no_more(world: World) -> None:
    other = world.claims.sessions.register("w2").holder
    for name, holder in (("a", world.registration.holder), ("b", other), ("c", world.registration.holder)):
        assert isinstance(world.claims.claim(name, holder), Won)
    world.ends_at = 1001.0
    world.keeper.run()
    assert [status.name for status in world.claims.list()] == ["b"]
    assert world.log == [
        "its process has ended",
        "released a: generation 2",
        "released c: generation 2",
        "end: the session has ended, and holds nothing any more",
    ]


def test_the_end_is_tried_again_until_everybody_knows_by_its_silence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*holder: str) -> bool:
        raise Unavailable("the server is away")

    monkeypatch.setattr(world.claims.sessions, "stop", away)
    world.ends_at = 1001.0
    world.keeper.run()
    assert 1001.0 + 2 * LEASE < world.now < 1001.0 + 2 * LEASE + 2
    assert world.log == ["its process has ended", "trouble: the server is away", "end: given up; its silence says it too"]
    assert world.keeper.troubled


def test_the_end_of_a_session_that_comes_late_is_the_end_all_the_same(world: World) -> None:
    won = world.claims.claim("n", world.registration.holder)
    assert isinstance(won, Won)
    stop, failures = world.claims.sessions.stop, iter([True, True])

    def away_twice(session: str, incarnation: str = "") -> bool:
        if next(failures, False):
            raise Unavailable("the server is away")
        return stop(session, incarnation)

    setattr(world.claims.sessions, "stop", away_twice)  # noqa: B010 (a method, for the type checker)
    world.ends_at = 1001.0
    world.keeper.run()
    assert world.claims.check("n", 2).head == 2
    assert world.log[-1] == "end: the session has ended, and holds nothing any more"


def test_a_session_that_is_not_there_any_more_is_over(world: World, tmp_path: Path) -> None:
    world.claims.sessions._store.forget("w1")
    world.keeper.run()
    assert world.log == ["end: the session is over: it was ended, or its id registered anew"]


@pytest.fixture
def idler() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_watch_tells_the_end_of_a_process_and_not_before(idler: subprocess.Popen[bytes]) -> None:
    watch = Watch(idler.pid, SYSTEM.start_of(idler.pid))
    assert not watch.ended(0.05)
    assert watch.end()
    assert watch.ended(20)
    assert not watch.end()
    idler.wait()
    assert watch.ended(0)
    watch.close()


def test_a_process_that_has_its_id_now_is_not_the_one_that_is_watched_and_is_left_alone(
    idler: subprocess.Popen[bytes],
) -> None:
    watch = Watch(idler.pid, f"{SYSTEM.start_of(idler.pid)}1")
    assert watch.ended(0)
    assert not watch.end()
    assert idler.poll() is None
    watch.close()


class Looked:
    """Processes without a kernel that tells of their end: it has ended when it is looked at the third time."""

    def __init__(self) -> None:
        self.states = [ProcessState.RUNNING, ProcessState.STOPPED, ProcessState.UNREADABLE]

    def state(self, pid: int, start: str) -> ProcessState:
        return self.states.pop(0) if self.states else ProcessState.GONE

    here = SYSTEM.here
    start_of = SYSTEM.start_of


def test_where_no_kernel_tells_it_is_looked_at_four_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("looop_portable.system.processes.handle._pidfd", lambda pid: None)
    monkeypatch.setattr("looop_portable.system.processes.handle._note_of_exit", lambda pid: None)
    monkeypatch.setattr("looop_portable.system.processes.handle._waits_on_windows", lambda pid, seconds: False)
    waited: list[float] = []
    watch = Watch(os.getpid(), "", Looked(), waited.append)
    assert watch.ended(10)
    assert waited == [0.25] * 3
    waited.clear()
    later = Watch(os.getpid(), "", Looked(), waited.append)
    assert not later.ended(0.3)
    assert waited == [0.25, pytest.approx(0.05)]


HOLDS = """
import sys
from looop_portable.system.files import OS
taken = OS.take(sys.argv[1])
print(taken is not None, flush=True)
sys.stdin.read()
"""


def holder_of(path: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", HOLDS, path], stdin=pipe, stdout=pipe, text=True)


def test_a_file_is_held_by_one_process_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    path = f"{tmp_path.as_posix()}/held"
    assert not OS.taken(path)
    with holder_of(path) as first:
        assert first.stdout
        assert first.stdout.readline() == "True\n"
        assert OS.taken(path)
        assert OS.take(path) is None
        first.kill()
    assert not OS.taken(path)
    mine = OS.take(path)
    assert mine is not None
    with holder_of(path) as second:
        assert second.stdout
        assert second.stdout.readline() == "False\n"
        second.kill()
    OS.unlock(mine)


def test_a_look_keeps_nobody_from_holding_it(tmp_path: Path) -> None:
    path = f"{tmp_path.as_posix()}/held"
    (tmp_path / "held").touch()
    files = NativeFiles()
    looks = 0
    while looks < 50:
        looks += 1
        assert not files.taken(path)
        taken = files.take(path)
        assert taken is not None
        files.unlock(taken)


def test_a_file_that_is_removed_while_it_is_opened_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "held"

    class Removed(NativeFiles):
        removed = False

        def _open_alone(self, name: str, *, make: bool) -> int:
            fd = super()._open_alone(name, make=make)
            if not self.removed:
                self.removed = True
                self.remove(name)
            return fd

    files = Removed()
    taken = files.take(path.as_posix())
    assert taken is not None
    assert os.path.samestat(os.fstat(taken), path.stat())
    files.unlock(taken)


HOLDER = Holder("w1", "0123456789abcdef")


@pytest.fixture
def keepers(tmp_path: Path) -> Keepers:
    return Keepers(f"{tmp_path.as_posix()}/state/keepers")


def test_a_keeper_is_there_from_its_beginning_until_it_is_released(keepers: Keepers) -> None:
    assert not keepers.is_there(HOLDER)
    assert keepers.pid(HOLDER) == 0
    taken = keepers.begin(HOLDER)
    assert taken is not None
    assert keepers.pid(HOLDER) == os.getpid()
    OS.unlock(taken)
    assert not keepers.is_there(HOLDER)


def test_what_a_killed_one_left_is_swept_when_it_is_old_and_nothing_else(keepers: Keepers, tmp_path: Path) -> None:
    directory = tmp_path / "state" / "keepers"
    living = Holder("living", "1")
    taken = keepers.begin(living)
    assert taken is not None
    for name in (f"{name}-{number}123456789abcdef" for name, number in (("old", 2), ("young", 3), ("elsewhere", 4))):
        for suffix in (".json", ".lock", ".log", ".log.1"):
            (directory / f"{name}{suffix}").write_text('{"host": "another"}\n' if name.startswith("elsewhere") else "")
    (directory / ".0123456789abcdef01234567-written").touch()
    for path in directory.iterdir():
        if not path.name.startswith("young"):
            os.utime(path, (path.stat().st_mtime - 2 * DAY,) * 2)
    keepers.sweep()
    left = {path.name.split("-")[0].split(".")[0] for path in directory.iterdir()}
    assert left == {"living", "young", "elsewhere"}
    OS.unlock(taken)


def test_its_log_is_bounded(keepers: Keepers, tmp_path: Path) -> None:
    OS.make_private(keepers.directory)
    for _ in range(300):
        keepers.log(HOLDER, "x" * 1000)
    sizes = [path.stat().st_size for path in Path(keepers.directory).iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 70_000


def test_a_line_of_its_log_is_one_line_whatever_names_are_in_it(keepers: Keepers) -> None:
    OS.make_private(keepers.directory)
    keepers.log(HOLDER, "released a\nb\x1b[2J\u2028\udcff: generation 2")
    (line,) = Path(f"{keepers.base(HOLDER)}.log").read_bytes().splitlines()
    assert line.split(b" ", 1)[1] == rb"released a\nb\x1b[2J\u2028\udcff: generation 2"


def test_a_keeper_that_is_not_first_waits_for_the_first_to_say_who_it_is(keepers: Keepers) -> None:
    OS.make_private(keepers.directory)
    first = OS.take(f"{keepers.base(HOLDER)}.lock")
    assert first is not None
    said = threading.Timer(0.05, Path(f"{keepers.base(HOLDER)}.json").write_text, ['{"pid": 7}'])
    said.start()
    assert keepers.wait_for_pid(HOLDER) == 7
    said.join()
    OS.unlock(first)


def test_to_end_one_ends_no_other_process_that_has_its_id(
    keepers: Keepers, idler: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("looop_portable.running.keepers._ENDING", 0.1)
    taken = keepers.begin(HOLDER)
    assert taken is not None
    record = Path(f"{keepers.base(HOLDER)}.json")
    said = record.read_text().replace(f'"pid": {os.getpid()},', f'"pid": {idler.pid},')
    record.unlink()
    record.write_text(said)
    with pytest.raises(Unavailable, match="could not be ended"):
        keepers.end(HOLDER)
    assert idler.poll() is None
    OS.unlock(taken)
    assert not keepers.end(HOLDER)
    assert not list(Path(keepers.directory).iterdir())


def test_the_longest_id_has_files_of_its_own(keepers: Keepers) -> None:
    names = {Path(keepers.base(Holder(session, "0123456789abcdef"))).name for session in ("x" * 199, "x" * 200, "é" * 300)}
    assert len(names) == 3
    assert max(len(f"{name}.log.1".encode()) for name in names) <= 255


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, True),
        ({"kept": False}, False),
        ({"boot": "another kernel"}, False),
        ({"namespace": "another container"}, False),
        ({"boot": ""}, False),
        ({"namespace": ""}, False),
    ],
    ids=["ours", "not kept", "another kernel", "another container", "an unknown kernel", "an unknown container"],
)
def test_who_is_kept_from_here(keepers: Keepers, fields: dict[str, str], kept: bool) -> None:
    here = SYSTEM.here()
    found = Registration("w1", "1", 1, boot=here.boot, namespace=here.namespace, lease_seconds=30, kept=True)
    assert keepers.is_for(found._replace(**fields)) is kept  # type: ignore[arg-type]


@pytest.mark.parametrize("known_to", ["who registers", "who asks"])
def test_a_session_may_be_kept_from_here_where_a_sandbox_hides_the_kernels_identity_from_one_of_the_two(
    keepers: Keepers, monkeypatch: pytest.MonkeyPatch, known_to: str
) -> None:
    boots = ("uuid-1", "") if known_to == "who registers" else ("", "uuid-1")
    monkeypatch.setattr(type(SYSTEM), "here", lambda processes: Here(boots[1], "pids of darwin"))
    found = Registration("w1", "1", 1, boot=boots[0], namespace="pids of darwin", lease_seconds=30, kept=True)
    assert keepers.may_be_for(found)
    assert not keepers.may_be_for(found._replace(kept=False))
    assert not keepers.may_be_for(found._replace(namespace="pids of win32"))
    assert not keepers.may_be_for(found._replace(boot="uuid-2")) or known_to == "who registers"


def test_a_host_s_name_that_changes_with_the_network_makes_no_other_host(
    keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = keepers.begin(HOLDER)
    assert taken is not None
    OS.unlock(taken)
    assert keepers.was_killed(HOLDER)
    monkeypatch.setattr("looop_portable.running.keepers.host", lambda: "another-network.example")
    assert keepers.was_killed(HOLDER)
    monkeypatch.setattr(type(SYSTEM), "here", lambda processes: Here("another kernel", "pid:[1]"))
    assert not keepers.was_killed(HOLDER)


@pytest.mark.parametrize(("namespace", "kept"), [("pid:[1]", True), ("", False)], ids=["known", "unknown"])
def test_without_a_kernels_identity_the_namespace_says_who_is_kept_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, kept: bool
) -> None:
    monkeypatch.setattr(type(SYSTEM), "here", lambda processes: Here("", namespace))
    found = Registration("w1", "1", 1, namespace=namespace, lease_seconds=30, kept=True)
    assert Keepers(tmp_path.as_posix()).is_for(found) is kept
