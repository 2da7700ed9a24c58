"""Sessions: who may register which id, how one ends, and how they and looop's own sessions respect each other."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE

from looop_portable import Claims, Held, InvalidName, Lease, NoSession, Renewed, SessionAlive, Unavailable, Won
from looop_portable.backends.base import HolderSigns, SessionHead
from looop_portable.backends.memory import MemoryBackend
from looop_portable.errors import NoSuchProcess, UsageError
from looop_portable.protocol.liveness import Here, Liveness, ProcessState
from looop_portable.protocol.records import Registration
from looop_portable.sessions.registrar import Sessions

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
STARTED_AT = "2026-01-02T03:04:05.123456789Z"


class Scripted:
    """Processes as a test says they are; every pid has a start until it is said to be gone."""

    def __init__(self) -> None:
        self.states: dict[int, ProcessState] = {}

    def here(self) -> Here:
        return Here("boot", "namespace")

    def start_of(self, pid: int) -> str:
        return "" if self.states.get(pid) is ProcessState.GONE else f"start of {pid}"

    def state(self, pid: int, start: str) -> ProcessState:
        assert start in ("", f"start of {pid}")
        return self.states.get(pid, ProcessState.RUNNING)


@pytest.fixture
def processes() -> Scripted:
    return Scripted()


@pytest.fixture(params=[NATIVE, "memory"])
def claims(request: pytest.FixtureRequest, tmp_path: Path, processes: Scripted) -> Claims:
    opened = Claims.open(str(tmp_path), request.param)
    return Claims(opened.backend, sessions=Sessions(opened.backend.sessions, processes))


@pytest.fixture
def on_disk(tmp_path: Path, processes: Scripted) -> Claims:
    opened = Claims.open(str(tmp_path), NATIVE)
    return Claims(opened.backend, sessions=Sessions(opened.backend.sessions, processes))


@pytest.fixture
def sleeper() -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_registration_says_what_is_needed_to_judge_it(claims: Claims) -> None:
    found = claims.sessions.register("s", pid=7)
    assert found[:6] == ("s", found.incarnation, 7, "start of 7", "boot", "namespace")
    assert re.fullmatch(r"[0-9a-f]{16}", found.incarnation)
    assert RFC3339.fullmatch(found.started_at)
    assert (found.ended, found.foreign) == (False, False)
    assert claims.sessions.verdict("s", found.incarnation).liveness is Liveness.ALIVE
    assert claims.sessions.ids() == ["s"]


def test_without_a_pid_this_process_is_registered(claims: Claims) -> None:
    assert claims.sessions.register("s").pid == os.getpid()


@pytest.mark.parametrize("state", [ProcessState.RUNNING, ProcessState.STOPPED, ProcessState.UNREADABLE])
def test_an_id_that_may_be_alive_is_refused(claims: Claims, processes: Scripted, state: ProcessState) -> None:
    first = claims.sessions.register("s", pid=7)
    processes.states[7] = state
    with pytest.raises(SessionAlive) as refusal:
        claims.sessions.register("s", pid=8)
    assert refusal.value.session == "s"
    assert "pid 7" in refusal.value.evidence
    assert claims.sessions.holder("s").incarnation == first.incarnation


@pytest.mark.parametrize("state", [ProcessState.ZOMBIE, ProcessState.GONE, ProcessState.REUSED])
def test_the_id_of_a_dead_session_starts_a_new_incarnation(
    claims: Claims, processes: Scripted, state: ProcessState
) -> None:
    first = claims.sessions.register("s", pid=7)
    processes.states[7] = state
    second = claims.sessions.register("s", pid=8)
    assert second.incarnation != first.incarnation
    assert claims.sessions.verdict("s", first.incarnation).dead
    assert "registered anew" in claims.sessions.verdict("s", first.incarnation).evidence
    assert claims.sessions.verdict("s", second.incarnation).liveness is Liveness.ALIVE


def test_a_new_incarnation_does_not_inherit_and_takes_over(claims: Claims, processes: Scripted) -> None:
    claims.sessions.register("s", pid=7)
    assert isinstance(claims.claim("n", "s"), Won)
    assert isinstance(claims.claim("n", "s"), Renewed)
    processes.states[7] = ProcessState.GONE
    second = claims.sessions.register("s", pid=8)
    won = claims.claim("n", "s")
    assert isinstance(won, Won)
    assert won.generation == 2
    assert won.lease.incarnation == second.incarnation


def test_one_of_two_that_race_for_an_id_is_refused(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other registers after we looked, and before we publish."""
    store = claims.backend.sessions
    rival = Sessions(store, Scripted())
    publish = store.advance
    overtaken: list[str] = []

    def late(session: str, expected: int, registration: Registration) -> bool:
        if not overtaken:
            overtaken.append(session)
            rival.register(session, pid=9)
        return publish(session, expected, registration)

    monkeypatch.setattr(store, "advance", late)
    with pytest.raises(SessionAlive, match="pid 9"):
        claims.sessions.register("s", pid=7)
    status = claims.sessions.status("s")
    assert status is not None
    assert status.registration.pid == 9


@pytest.mark.parametrize("bad", [".", "..", "a/b", ".x", "a\\b", "\ud800"])
def test_what_cannot_be_a_name_cannot_be_a_session(claims: Claims, bad: str) -> None:
    for verb in (claims.sessions.register, claims.sessions.stop, claims.sessions.holder):
        with pytest.raises(InvalidName, match="session id"):
            verb(bad)
    assert claims.sessions.verdict(bad, "").dead


def test_a_process_that_does_not_run_cannot_be_registered(claims: Claims, processes: Scripted) -> None:
    processes.states[7] = ProcessState.GONE
    with pytest.raises(NoSuchProcess, match="7"):
        claims.sessions.register("s", pid=7)
    assert claims.sessions.ids() == []


def test_a_made_up_id_is_new_each_time_and_a_name(claims: Claims) -> None:
    one, two = claims.sessions.register(), claims.sessions.register()
    assert one.session != two.session
    assert re.fullmatch(r"auto-[A-Za-z0-9-]+-\d+-[0-9a-f]{8}", one.session)
    assert claims.sessions.ids() == sorted([one.session, two.session])


def test_a_stopped_session_is_dead_and_its_id_free(claims: Claims) -> None:
    first = claims.sessions.register("s", pid=7)
    claims.claim("n", "s")
    assert isinstance(claims.claim("n", "other"), Held)
    assert claims.sessions.stop("s") is True
    assert claims.sessions.stop("s") is False
    assert claims.sessions.verdict("s", first.incarnation).dead
    assert isinstance(claims.claim("n", "other"), Won)
    assert claims.sessions.register("s", pid=7).incarnation != first.incarnation


def test_a_stop_of_an_older_incarnation_leaves_the_newer_one_alone(claims: Claims, processes: Scripted) -> None:
    first = claims.sessions.register("s", pid=7)
    processes.states[7] = ProcessState.GONE
    second = claims.sessions.register("s", pid=8)
    assert claims.sessions.stop("s", first.incarnation) is False
    assert claims.sessions.verdict("s", second.incarnation).liveness is Liveness.ALIVE
    assert claims.sessions.stop("s", second.incarnation) is True


def test_stopping_what_was_never_registered_is_an_error(claims: Claims) -> None:
    with pytest.raises(NoSession, match="'s'"):
        claims.sessions.stop("s")


def test_a_session_that_was_never_registered_is_dead(claims: Claims) -> None:
    assert claims.sessions.verdict("s", "").dead
    assert claims.sessions.verdict("s", "some").dead
    assert claims.sessions.status("s") is None
    assert claims.sessions.holder("s") == ("s", "")


def test_only_a_dead_session_whose_id_nobody_wants_again_is_forgotten(claims: Claims, processes: Scripted) -> None:
    sessions = claims.sessions
    kept = sessions.register("kept", pid=7)
    gone = sessions.register(pid=8)
    alive = sessions.register(pid=9)
    processes.states.update({7: ProcessState.GONE, 8: ProcessState.GONE})
    assert [status.registration for status in sessions.statuses() if sessions.forget(status)] == [gone]
    assert sessions.ids() == sorted([alive.session, "kept"])
    assert sessions.verdict(gone.session, gone.incarnation).dead
    assert sessions.verdict("kept", kept.incarnation).dead
    assert sessions.verdict(alive.session, alive.incarnation).liveness is Liveness.ALIVE


def test_a_forgotten_session_leaves_nothing_on_the_disk(on_disk: Claims, processes: Scripted, tmp_path: Path) -> None:
    session = on_disk.sessions.register(pid=7).session
    processes.states[7] = ProcessState.GONE
    on_disk.reap()
    assert not (tmp_path / "sessions" / session).exists()
    assert not (tmp_path / "sessions/.ledger" / session).exists()


def test_a_forgotten_session_leaves_nothing_even_after_a_crash_in_the_middle_of_registering(
    on_disk: Claims, processes: Scripted, tmp_path: Path
) -> None:
    session = on_disk.sessions.register(pid=7).session
    (tmp_path / "sessions" / session / ".meta.json-0123456789abcdef").write_text("{")
    processes.states[7] = ProcessState.GONE
    on_disk.reap()
    assert not (tmp_path / "sessions" / session).exists()
    assert on_disk.sessions.ids() == []


def test_a_real_session_lives_as_long_as_its_process(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    claims = Claims.open(str(tmp_path), NATIVE)
    registered = claims.sessions.register("s", pid=sleeper.pid)
    assert claims.sessions.verdict("s", registered.incarnation).liveness is Liveness.ALIVE
    with pytest.raises(SessionAlive, match=str(sleeper.pid)):
        claims.sessions.register("s")
    sleeper.kill()
    sleeper.wait()
    assert claims.sessions.verdict("s", registered.incarnation).dead
    assert claims.sessions.register("s").pid == os.getpid()


def start_looops(data_dir: Path, session: str, pid: int, state: str | None, started_at: str = STARTED_AT) -> None:
    """A session as looop writes one."""
    directory = data_dir / "sessions" / session
    directory.mkdir(parents=True, exist_ok=True)
    meta = {"id": session, "cmd": ["claude"], "babysit_pid": pid, "started_at": started_at, "cwd": "/", "labels": {}}
    (directory / "meta.json").write_text(json.dumps(meta, indent=2))
    if state is not None:
        status = {"state": state, "child_pid": 1, "exit_code": None, "last_change": started_at}
        (directory / "status.json").write_text(json.dumps(status, indent=2))


def looops_lease(data_dir: Path, claim: str, session: str) -> None:
    (data_dir / "claims").mkdir(parents=True, exist_ok=True)
    (data_dir / f"claims/{claim}.json").write_text(json.dumps({"session": session, "name": claim}))


@pytest.mark.parametrize("state", ["starting", "running", None, "of a later version"])
def test_a_session_of_looop_is_respected_while_its_babysitter_runs(
    on_disk: Claims, processes: Scripted, tmp_path: Path, state: str | None
) -> None:
    start_looops(tmp_path, "w1", 7, state)
    looops_lease(tmp_path, "n", "w1")
    assert on_disk.sessions.ids() == ["w1"]
    held = on_disk.claim("n", "me")
    assert isinstance(held, Held)
    assert (held.lease.session, held.verdict.liveness) == ("w1", Liveness.ALIVE)
    assert on_disk.reap().reaped == ()
    with pytest.raises(SessionAlive):
        on_disk.sessions.register("w1", pid=8)
    processes.states[7] = ProcessState.GONE
    won = on_disk.claim("n", "me")
    assert isinstance(won, Won)
    assert won.previous is not None
    assert won.previous.session == "w1"
    assert json.loads((tmp_path / "claims/n.json").read_text())["session"] == "me"


@pytest.mark.parametrize("state", ["exited", "killed"])
def test_a_session_of_looop_that_says_it_ended_is_dead_though_its_pid_lives(
    on_disk: Claims, tmp_path: Path, state: str
) -> None:
    start_looops(tmp_path, "w1", 7, state)
    looops_lease(tmp_path, "n", "w1")
    assert [reaped.lease.session for reaped in on_disk.reap().reaped] == ["w1"]
    assert not (tmp_path / "claims/n.json").exists()
    assert on_disk.sessions.register("w1", pid=8).pid == 8


def test_a_session_of_looop_can_claim_renew_and_release_through_us(on_disk: Claims, tmp_path: Path) -> None:
    start_looops(tmp_path, "w1", 7, "running")
    won = on_disk.claim("n", "w1")
    assert isinstance(won, Won)
    assert won.lease.incarnation == f"looop:7@{STARTED_AT}"
    assert isinstance(on_disk.claim("n", "w1"), Renewed)
    assert isinstance(on_disk.claim("n", "other"), Held)
    shown = json.loads((tmp_path / "claims/n.json").read_text())
    assert (shown["session"], shown["name"]) == ("w1", "n")
    on_disk.release("n", "w1")
    assert not (tmp_path / "claims/n.json").exists()


def test_a_session_of_looop_adopts_the_lease_that_looop_wrote_for_it(on_disk: Claims, tmp_path: Path) -> None:
    start_looops(tmp_path, "w1", 7, "running")
    looops_lease(tmp_path, "n", "w1")
    assert isinstance(on_disk.claim("n", "w1"), Won)
    assert isinstance(on_disk.claim("n", "w1"), Renewed)


def test_a_later_session_of_looop_with_the_same_id_inherits_nothing(on_disk: Claims, tmp_path: Path) -> None:
    start_looops(tmp_path, "w1", 7, "running")
    on_disk.claim("n", "w1")
    start_looops(tmp_path, "w1", 8, "running", "2026-01-03T00:00:00Z")
    assert isinstance(on_disk.claim("n", "other"), Won)


def test_a_session_of_looop_is_not_ours_to_stop(on_disk: Claims, tmp_path: Path) -> None:
    start_looops(tmp_path, "w1", 7, "running")
    with pytest.raises(UsageError, match="looop itself"):
        on_disk.sessions.stop("w1")


def test_looop_may_take_the_id_of_a_session_of_ours_that_ended(on_disk: Claims, tmp_path: Path) -> None:
    on_disk.sessions.register("w1", pid=7)
    on_disk.sessions.stop("w1")
    start_looops(tmp_path, "w1", 9, "running")
    looops_lease(tmp_path, "n", "w1")
    assert isinstance(on_disk.claim("n", "other"), Held)
    status = on_disk.sessions.status("w1")
    assert status is not None
    assert status.registration.foreign
    assert status.verdict.liveness is Liveness.ALIVE


def test_a_session_that_looop_started_during_a_sweep_keeps_what_it_claims(
    on_disk: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id's earlier session is dead, and a claim of that one is reaped just before."""
    looops_lease(tmp_path, "a", "w1")
    publish = on_disk.backend.advance

    def then_it_starts(name: str, expected: int, lease: Lease | None) -> bool:
        released = publish(name, expected, lease)
        if name == "a":
            start_looops(tmp_path, "w1", 9, "running")
            looops_lease(tmp_path, "b", "w1")
        return released

    monkeypatch.setattr(on_disk.backend, "advance", then_it_starts)
    monkeypatch.setattr(on_disk.backend, "scan", lambda: iter([("a", on_disk.backend.read("a")), ("b", None)]))
    assert [reaped.lease.name for reaped in on_disk.reap().reaped] == ["a"]
    assert json.loads((tmp_path / "claims/b.json").read_text())["session"] == "w1"


def projected(data_dir: Path, session: str) -> tuple[dict[str, object], dict[str, object]]:
    directory = data_dir / "sessions" / session
    assert sorted(path.name for path in directory.iterdir()) == ["meta.json", "status.json"]
    return json.loads((directory / "meta.json").read_bytes()), json.loads((directory / "status.json").read_bytes())


def looop_can_read(data_dir: Path, session: str) -> str:
    """The state, after a check of every field that looop needs, as it needs it."""
    meta, status = projected(data_dir, session)
    assert meta["id"] == session
    command, pid = meta["cmd"], meta["babysit_pid"]
    assert isinstance(command, list)
    assert command
    assert all(isinstance(word, str) for word in command)
    assert type(pid) is int
    assert 0 <= pid < 2**32
    assert RFC3339.fullmatch(str(meta["started_at"])), meta
    assert RFC3339.fullmatch(str(status["last_change"])), status
    assert type(status["child_pid"]) in (int, type(None))
    assert type(status["exit_code"]) in (int, type(None))
    assert isinstance(status["state"], str)
    return status["state"]


def test_looop_can_read_our_sessions(on_disk: Claims, tmp_path: Path) -> None:
    on_disk.sessions.register("s", pid=7)
    assert looop_can_read(tmp_path, "s") == "running"
    assert projected(tmp_path, "s")[0]["babysit_pid"] == 7
    on_disk.sessions.stop("s")
    assert looop_can_read(tmp_path, "s") == "exited"
    on_disk.sessions.register("s", pid=8)
    assert looop_can_read(tmp_path, "s") == "running"
    assert projected(tmp_path, "s")[0]["babysit_pid"] == 8


def test_looop_can_read_a_damaged_session_that_was_stopped(on_disk: Claims, tmp_path: Path) -> None:
    on_disk.sessions.register("s", pid=7)
    (tmp_path / "sessions/.ledger/s/2").write_text("damaged")
    assert on_disk.sessions.stop("s")
    assert looop_can_read(tmp_path, "s") == "exited"


def test_a_damaged_registration_may_be_alive_until_it_is_stopped(on_disk: Claims, tmp_path: Path) -> None:
    registered = on_disk.sessions.register("s", pid=7)
    (tmp_path / "sessions/.ledger/s/2").write_text("damaged")
    found = on_disk.sessions.verdict("s", registered.incarnation)
    assert (found.liveness, "looop session stop s" in found.evidence) == (Liveness.UNKNOWN, True)
    assert [status.verdict.liveness for status in on_disk.sessions.statuses()] == [Liveness.UNKNOWN]
    with pytest.raises(SessionAlive, match="damaged"):
        on_disk.sessions.register("s", pid=7)
    assert on_disk.sessions.stop("s")
    assert on_disk.sessions.verdict("s", registered.incarnation).dead
    assert on_disk.sessions.register("s", pid=7)


def test_a_registration_that_is_listed_but_not_yet_there_to_be_opened_is_unknown(
    on_disk: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = on_disk.sessions.register("s", pid=7)
    head = on_disk.backend.sessions.read("never")
    monkeypatch.setattr(on_disk.backend.sessions, "read", lambda session: head)
    found = on_disk.sessions.verdict("s", registered.incarnation)
    assert (found.liveness, "listed" in found.evidence) == (Liveness.UNKNOWN, True)
    assert on_disk.sessions.verdict("other", registered.incarnation).dead


@pytest.mark.parametrize("error", [PermissionError(13, "denied", "p"), OSError(5, "broken", "p"), Unavailable("no")])
def test_what_cannot_be_read_is_unknown_and_refuses_to_be_replaced(
    claims: Claims, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(session: str) -> object:
        raise error

    monkeypatch.setattr(claims.backend.sessions, "read", refuse)
    assert claims.sessions.verdict("s", "").liveness is Liveness.UNKNOWN
    with pytest.raises(Unavailable):
        claims.sessions.register("s")
    status = claims.sessions.status("s")
    assert status is not None
    assert status.verdict.liveness is Liveness.UNKNOWN


def test_sessions_that_cannot_be_enumerated_stop_the_reaper(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Iterator[tuple[str, SessionHead | None, HolderSigns | None]]:
        raise PermissionError(13, "denied", "sessions")

    claims.claim("n", "unregistered")
    monkeypatch.setattr(claims.backend.sessions, "survey", refuse)
    swept = claims.reap()
    assert swept.reaped == ()
    assert "denied" in swept.skipped
    assert claims.show("n").lease is not None
    with pytest.raises(Unavailable, match="cannot be enumerated"):
        claims.sessions.statuses()


@pytest.mark.parametrize("length", [250, 300])
def test_a_long_session_id_is_a_session_like_any_other(on_disk: Claims, length: int) -> None:
    session = "s" * length
    registered = on_disk.sessions.register(session, pid=7)
    on_disk.claim("n", session)
    assert isinstance(on_disk.claim("n", "other"), Held)
    assert on_disk.sessions.verdict(session, registered.incarnation).liveness is Liveness.ALIVE
    assert [status.registration.session for status in on_disk.sessions.statuses()] == [session]


def test_a_session_keeps_its_spelling(on_disk: Claims) -> None:
    for session in ("con", "a:b", "x.", "e\u0301", "%41"):
        on_disk.sessions.register(session, pid=7)
    assert on_disk.sessions.ids() == sorted(["con", "a:b", "x.", "\u00e9", "%41"])


def test_a_store_in_memory_has_no_other_sessions_than_its_own() -> None:
    one, other = MemoryBackend(), MemoryBackend()
    Sessions(one.sessions).register("s")
    assert Sessions(other.sessions).status("s") is None


def test_a_session_asks_whether_others_have_ended_it(claims: Claims, processes: Scripted) -> None:
    sessions = claims.sessions
    one = sessions.register("s", pid=7).holder
    assert not sessions.has_ended(one)
    sessions.stop("s")
    assert sessions.has_ended(one)
    two = sessions.register("s", pid=7).holder
    assert (sessions.has_ended(one), sessions.has_ended(two)) == (True, False)
    processes.states[7] = ProcessState.GONE
    assert not sessions.has_ended(two), "the process that asks is its own"
    assert sessions.has_ended(two._replace(session="never registered"))


def test_what_cannot_be_read_has_not_ended(on_disk: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = on_disk.sessions
    one = sessions.register("s", pid=7).holder
    (tmp_path / "sessions/.ledger/s/2").write_text("damaged")
    assert not sessions.has_ended(one)

    def unreadable(session: str) -> object:
        raise PermissionError(13, "scripted")

    monkeypatch.setattr(on_disk.backend.sessions, "read", unreadable)
    assert not sessions.has_ended(one)


@pytest.mark.parametrize("reads", [True, False])
def test_a_registration_that_cannot_be_taken_back_is_owned_up_to(
    on_disk: Claims, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """The disk fails from just after the publication on. Where it can still be read, it is seen to stand."""
    store = on_disk.backend.sessions
    advance = store.advance

    def fail(*_: object) -> Any:
        raise Unavailable("the disk fails", "there")

    def advance_and_fail(*args: Any) -> bool:
        advance(*args)
        for verb in ("advance",) if reads else ("advance", "read"):
            monkeypatch.setattr(store, verb, fail)
        return bool(fail())

    monkeypatch.setattr(store, "advance", advance_and_fail)
    if reads:
        assert on_disk.sessions.register("s", pid=7).session == "s"
        return
    with pytest.raises(Unavailable) as caught:
        on_disk.sessions.register("s", pid=7)
    assert str(caught.value) == "the disk fails; it may be registered all the same: `looop session stop s` ends it"
    assert caught.value.path == "there"


def test_what_cannot_have_been_registered_is_not_said_to_be(on_disk: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise Unavailable("the disk fails")

    monkeypatch.setattr(on_disk.backend.sessions.signs, "promise", fail)
    monkeypatch.setattr(on_disk.sessions, "stop", fail)
    with pytest.raises(Unavailable, match=r"^the disk fails$"):
        on_disk.sessions.register("s", pid=7)
