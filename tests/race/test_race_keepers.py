"""Keepers where /proc tells little, or nothing: of sessions whose processes are in rooms of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.crew import until
from support.rooms import FOREIGN, SUBSET, Room, without_proc

from looop_portable import Claims
from looop_portable.protocol.records import Holder
from looop_portable.running.keepers import Keepers

Make = Callable[[Path], Room]

ROOMS: dict[str, Make] = {
    "subset=pid": lambda directory: Room(SUBSET),
    "another's": lambda directory: Room(FOREIGN),
    "none": without_proc,
}


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOOP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID", "LOOOP_LEASE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


@pytest.fixture(params=ROOMS)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    with ExitStack() as held:
        yield held.enter_context(ROOMS[request.param](tmp_path))


def started(room: Room, session: str, pid: int) -> int:
    """The keeper of a session that is started for the process `pid`."""
    done = room.looop("--json", "session", "start", session, "--pid", str(pid), "--lease", "3")
    assert (done.code, done.err) == (0, ""), done
    found = json.loads(done.out)
    assert found["trouble"] is None
    return int(found["keeper"])


def beat_of(data_dir: Path, session: str) -> int:
    (beat,) = (data_dir / "sessions" / session).glob("heartbeat-*")
    return beat.stat().st_mtime_ns


def test_it_gives_heartbeats_and_nobody_takes_over_while_the_process_lives(room: Room, data_dir: Path) -> None:
    started(room, "w1", room.idle())
    assert room.looop("claim", "repo-x", "--session", "w1") == (0, "claimed repo-x\n", "")
    for _ in range(5):  # A third of the lease each; the fourth is when another might take over.
        last = beat_of(data_dir, "w1")
        assert until(lambda last=last: beat_of(data_dir, "w1") != last, 20)  # type: ignore[misc]
        assert room.looop("claim", "repo-x", "--session", "w2").code == 1


def test_when_its_process_ends_its_claims_are_released_without_anybody_asking(room: Room, data_dir: Path) -> None:
    started(room, "w1", room.idle())
    assert room.looop("claim", "repo-x", "--session", "w1").code == 0
    room.end()
    claims = Claims.open(str(data_dir))
    assert until(lambda: claims.check("repo-x", 1).lease is None, 20)
    assert claims.check("repo-x", 2).head == 2  # Released; nobody has come to take it over.


def test_a_keeper_that_was_killed_is_started_again_or_claim_says_that_it_is_not(
    room: Room, request: pytest.FixtureRequest
) -> None:
    keeper = started(room, "w1", room.idle())
    room.kill(keeper)
    assert until(lambda: json.loads(room.looop("--json", "session", "keep", "w1").out).get("keeper") != keeper, 20)
    done = room.looop("claim", "repo-x", "--session", "w1")
    assert (done.code, done.out) == (0, "claimed repo-x\n")
    if "subset=pid" in request.node.name:
        assert done.err == ""
        assert json.loads(room.looop("--json", "session", "keep", "w1").out)["outcome"] == "there"
    else:  # Nothing tells that the process is of this namespace.
        assert done.err.startswith("looop: warning: session 'w1' is not kept any more: its keeper is gone. ")
        assert room.looop("session", "keep", "w1").code == 2


def test_a_process_that_does_not_exist_is_refused(room: Room) -> None:
    done = room.looop("session", "start", "w1", "--pid", "4194305")
    assert (done.code, done.out) == (2, "")
    assert "no such process" in done.err


def has_ended(keepers: Keepers, holder: Holder) -> bool:
    """Its place is free."""
    taken = keepers.begin(holder)
    if taken is not None:
        os.close(taken)
    return taken is not None


def test_a_session_that_is_stopped_is_kept_no_longer(room: Room, data_dir: Path, tmp_path: Path) -> None:
    started(room, "w1", room.idle())
    keepers, holder = Keepers(str(tmp_path / "state/looop/keepers")), Claims.open(str(data_dir)).sessions.holder("w1")
    assert not has_ended(keepers, holder)
    assert room.looop("session", "stop", "w1").code == 0
    assert until(lambda: has_ended(keepers, holder), 20)
    started(room, "w1", room.idle())


def test_a_command_runs(room: Room) -> None:
    assert room.looop("run", "--claim", "repo-x", "--", "echo", "inside") == (0, "inside\n", "")


def test_on_another_kernel_with_a_namespace_of_the_same_number_it_is_not_started(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts that mount one share, and on both nothing tells the kernel: its keeper there would end it."""
    with Room(SUBSET) as room:
        keeper = started(room, "w1", room.idle())
        room.kill(keeper)
        claims = Claims.open(str(data_dir))
        found = claims.sessions.registration(claims.sessions.holder("w1"))
        assert found
        assert found.boot == ""
        from looop_portable.cli import keeper as keeping

        monkeypatch.setattr("looop_portable.running.keepers.Keepers.is_for", lambda keepers, registration: True)
        assert keeping._is_from_here(claims, found)
        assert not keeping._is_from_here(claims, found._replace(disk=""))
        assert not keeping._is_from_here(claims, found._replace(disk="another system's ext4"))
