"""Records as looop writes them, old and new, judged by us. They were copied from what the binaries wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from looop_portable import CannotExclude, Claims, Held, Liveness, Released, Renewed, Won
from looop_portable.system import files

LEASES = {
    "0.14.0": '{"name":"repo-x","session":"w1"}\n',
    "0.57.0": '{"name":"repo-x","session":"w1"}',
    "1.1.0": '{"name":"repo-x","nonce":"10565-5","session":"w1","ts":1795537091}',
}
META = """{
  "id": "w1",
  "cmd": [
    "bash",
    "-lc",
    "sleep 3600"
  ],
  "babysit_pid": %d,
  "started_at": "2026-11-24T16:18:10.766070351Z"
}"""
STATUS = """{
  "state": "%s",
  "child_pid": %s,
  "exit_code": %s,
  "last_change": "2026-11-24T16:18:10.767083845Z"
}"""


def is_for_this_system(backend: str) -> bool:
    """Opening a store touches nothing."""
    try:
        Claims.open("nowhere", backend)
    except CannotExclude:
        return False
    return True


@pytest.fixture(params=[name for name in ("posix", "advisory", "windows") if is_for_this_system(name)])
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    """A store in tmp_path."""
    return Claims.open(str(tmp_path), request.param)


@pytest.fixture(scope="module")
def corpse() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(params=list(LEASES))
def lease(request: pytest.FixtureRequest) -> str:
    return LEASES[request.param]


def write_session(data_dir: Path, pid: int, state: str) -> None:
    directory = data_dir / "sessions" / "w1"
    directory.mkdir(parents=True)
    (directory / "meta.json").write_text(META % pid)
    ended = state in ("exited", "killed")
    if state:
        (directory / "status.json").write_text(
            STATUS % (state, "null" if ended else 4711, 0 if state == "exited" else "null")
        )


def write_lease(data_dir: Path, record: str) -> Path:
    path = data_dir / "claims" / "repo-x.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(record.encode())
    return path


def make(claims: Claims) -> None:
    """The store is there, and stamped by the backend, before looop comes."""
    assert isinstance(claims.claim("repo-x", "maker"), Won)
    assert isinstance(claims.release("repo-x", "maker"), Released)


@pytest.mark.parametrize("state", ["starting", "running", ""])
def test_a_live_sessions_lease_is_respected(claims: Claims, tmp_path: Path, lease: str, state: str) -> None:
    """Looop takes a session that has not written its status yet for one that starts."""
    make(claims)
    write_session(tmp_path, os.getpid(), state)
    path = write_lease(tmp_path, lease)
    outcome = claims.claim("repo-x", claims.sessions.register("me").holder)
    assert isinstance(outcome, Held)
    assert (outcome.lease.session, outcome.lease.foreign, outcome.verdict.liveness) == ("w1", True, Liveness.ALIVE)
    assert claims.reap().reaped == ()
    assert path.read_bytes() == lease.encode()
    assert [found.name for found in claims.list()] == ["repo-x"]


@pytest.mark.parametrize("state", ["exited", "killed"])
def test_the_lease_of_a_session_that_says_it_has_ended_is_taken_over(
    claims: Claims, tmp_path: Path, lease: str, state: str
) -> None:
    make(claims)
    write_session(tmp_path, os.getpid(), state)
    write_lease(tmp_path, lease)
    me = claims.sessions.register("me").holder
    outcome = claims.claim("repo-x", me)
    assert isinstance(outcome, Won)
    assert outcome.previous
    assert (outcome.previous.session, outcome.generation > 2) == ("w1", True)
    assert isinstance(claims.claim("repo-x", me), Renewed)


@pytest.mark.parametrize("state", ["starting", "running", ""])
def test_the_lease_of_a_session_whose_process_is_gone_is_reaped(
    claims: Claims, tmp_path: Path, lease: str, state: str, corpse: int
) -> None:
    make(claims)
    write_session(tmp_path, corpse, state)
    path = write_lease(tmp_path, lease)
    assert [found.lease.session for found in claims.reap().reaped] == ["w1"]
    assert not path.exists()
    assert claims.list() == []


def test_the_lease_of_a_session_that_never_was_is_released_by_anybody(claims: Claims, tmp_path: Path, lease: str) -> None:
    make(claims)
    path = write_lease(tmp_path, lease)
    assert isinstance(claims.release("repo-x", "somebody"), Released)
    assert not path.exists()


@pytest.mark.parametrize(
    ("ts", "since"),
    [
        ("1795537091", "2026-11-24T16:18:11Z"),
        ("1", "1970-01-01T00:00:01Z"),
        ("253402300799", "9999-12-31T23:59:59Z"),
        *((hostile, "") for hostile in ("253402300800", "9" * 400, "0", "-5", "1.5", '"1795537091"', "NaN", "1e999")),
        *((hostile, "") for hostile in ("null", "true", "[]", "{}", "-Infinity")),
    ],
)
def test_since_when_looop_holds_it_is_told_by_its_lease(claims: Claims, tmp_path: Path, ts: str, since: str) -> None:
    """In seconds since 1970, as looop 1.0 and later write it; what is no such time tells nothing."""
    make(claims)
    write_session(tmp_path, os.getpid(), "running")
    write_lease(tmp_path, f'{{"name":"repo-x","session":"w1","nonce":"1-5","ts":{ts}}}')
    for _ in range(2):  # The second look finds what the first has made of it.
        lease = claims.show("repo-x").lease
        assert lease
        assert (lease.session, lease.foreign, lease.claimed_at) == ("w1", True, since)
    refused = claims.claim("repo-x", claims.sessions.register("me").holder)
    assert isinstance(refused, Held)
    assert refused.lease.claimed_at == since


def test_a_session_lets_go_with_our_command_what_it_claimed_with_looops(claims: Claims, tmp_path: Path, lease: str) -> None:
    make(claims)
    write_session(tmp_path, os.getpid(), "running")
    path = write_lease(tmp_path, lease)
    assert isinstance(claims.release("repo-x", "w1"), Released)
    assert not path.exists()
    assert claims.show("repo-x").lease is None


def test_metadata_that_looop_is_still_writing_mean_that_the_session_may_live(
    claims: Claims, tmp_path: Path, lease: str
) -> None:
    """It creates the file, then writes it."""
    make(claims)
    write_session(tmp_path, os.getpid(), "running")
    (tmp_path / "sessions" / "w1" / "meta.json").write_text("")
    write_lease(tmp_path, lease)
    outcome = claims.claim("repo-x", "me")
    assert isinstance(outcome, Held)
    assert outcome.verdict.liveness is Liveness.UNKNOWN


@pytest.mark.parametrize(("age", "outcome"), [(0, Held), (60, Won)])
def test_an_empty_lease_is_being_written_by_0_14_0_and_later_is_debris(
    claims: Claims, tmp_path: Path, age: float, outcome: type
) -> None:
    make(claims)
    path = write_lease(tmp_path, "")
    then = time.time() - age
    os.utime(path, (then, then))
    assert isinstance(claims.claim("repo-x", claims.sessions.register("me").holder), outcome)


def test_a_session_of_ours_is_written_as_looop_reads_it(claims: Claims, tmp_path: Path) -> None:
    """What its parser insists on: these fields, of these types, and times of RFC 3339."""
    claims.sessions.register("me")
    meta = json.loads((tmp_path / "sessions" / "me" / "meta.json").read_bytes())
    status = json.loads((tmp_path / "sessions" / "me" / "status.json").read_bytes())
    assert (meta["id"], meta["babysit_pid"]) == ("me", os.getpid())
    assert all(isinstance(word, str) for word in meta["cmd"])
    assert (status["state"], status["child_pid"], status["exit_code"]) == ("running", None, None)
    for written in (meta["started_at"], status["last_change"]):
        assert datetime.fromisoformat(written).tzinfo is not None
    claims.sessions.stop("me")
    assert json.loads((tmp_path / "sessions" / "me" / "status.json").read_bytes())["state"] == "exited"


def test_a_lease_of_ours_is_written_as_looop_reads_it(claims: Claims, tmp_path: Path) -> None:
    claims.claim("repo-x", claims.sessions.register("me").holder)
    record = json.loads((tmp_path / "claims" / "repo-x.json").read_bytes())
    assert (record["session"], record["name"]) == ("me", "repo-x")


class TestSharedWithLooop:
    """What only a directory has whose guard is the one that looop holds."""

    @pytest.fixture
    def claims(self, tmp_path: Path) -> Claims:
        try:
            return Claims.open(str(tmp_path), "advisory")
        except CannotExclude as reason:
            pytest.skip(str(reason))

    def test_a_reaper_that_sweeps_what_is_written_for_looop_hides_no_session_from_it(
        self, claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace = os.replace
        swept: list[str] = []

        def late(private: str, public: str, **where: int) -> None:
            if public.endswith("status.json") and not swept:
                swept.append(private)
                for left in (tmp_path / "sessions" / "me").glob(".status.json-*"):
                    left.unlink()
            replace(private, public, **where)

        monkeypatch.setattr(os, "replace", late)
        claims.sessions.register("me")
        assert len(swept) == 1
        for name in ("status.json", "meta.json"):
            assert (tmp_path / "sessions" / "me" / name).exists()

    def test_a_lease_of_ours_that_looop_removed_has_been_released(self, claims: Claims, tmp_path: Path) -> None:
        me = claims.sessions.register("me").holder
        won = claims.claim("repo-x", me)
        assert isinstance(won, Won)
        (tmp_path / "claims" / "repo-x.json").unlink()
        assert not claims.check("repo-x", won.generation).current
        other = claims.claim("repo-x", claims.sessions.register("other").holder)
        assert isinstance(other, Won)
        assert (other.generation > won.generation, other.previous) == (True, None)

    def test_a_lease_that_looop_wrote_has_a_generation(self, claims: Claims, tmp_path: Path, lease: str) -> None:
        make(claims)
        before = claims.show("repo-x").generation
        write_session(tmp_path, os.getpid(), "running")
        write_lease(tmp_path, lease)
        found = claims.show("repo-x")
        assert found.lease
        assert (found.lease.session, found.generation > before) == ("w1", True)
        assert claims.check("repo-x", found.generation).current
        assert claims.show("repo-x").generation == found.generation

    def test_a_lease_that_looop_is_writing_where_another_of_its_was_is_left_alone(
        self, claims: Claims, tmp_path: Path, lease: str
    ) -> None:
        """0.14.0 creates its lease, then writes it; whoever looks in between must not put the old one there."""
        make(claims)
        write_session(tmp_path, os.getpid(), "running")
        path = write_lease(tmp_path, lease)
        before = claims.show("repo-x").generation
        path.unlink()
        with path.open("wb") as file:
            assert isinstance(claims.claim("repo-x", "me"), Held)
            file.write(lease.encode())
        found = claims.show("repo-x")
        assert found.lease
        assert (found.lease.session, found.generation > before) == ("w1", True)

    def test_a_lease_that_looop_creates_at_the_last_moment_is_not_replaced(
        self, claims: Claims, tmp_path: Path, lease: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before 0.57 it waits for no guard. Here: after we have published, and before we show it."""
        make(claims)
        write_session(tmp_path, os.getpid(), "running")
        rename = files.OsFiles.rename

        def late(self: files.OsFiles, private: str, public: str) -> None:
            if public.endswith("/repo-x.json"):
                write_lease(tmp_path, lease)
            rename(self, private, public)

        monkeypatch.setattr(files.OsFiles, "rename", late)
        outcome = claims.claim("repo-x", claims.sessions.register("me").holder)
        assert isinstance(outcome, Held)
        assert outcome.lease.session == "w1"
        assert (tmp_path / "claims" / "repo-x.json").read_bytes() == lease.encode()

    def test_a_lease_that_looop_wrote_over_a_dead_ones_of_ours_counts(
        self, claims: Claims, tmp_path: Path, lease: str, corpse: int
    ) -> None:
        won = claims.claim("repo-x", "unregistered")
        assert isinstance(won, Won)
        write_session(tmp_path, os.getpid(), "running")
        write_lease(tmp_path, lease)
        outcome = claims.claim("repo-x", claims.sessions.register("me").holder)
        assert isinstance(outcome, Held)
        assert outcome.lease.session == "w1"
        assert claims.release_lease(won.lease) != Released("repo-x", won.generation + 1, won.lease)
        assert (tmp_path / "claims" / "repo-x.json").read_bytes() == lease.encode()
