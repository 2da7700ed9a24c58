"""Evidence that is torn, foreign or out of reach is never taken for a death; and what is forgotten was made up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import NATIVE, needs_modes, needs_namespaces_shown

from looop_portable import Claims, Held, SessionAlive, Won, hold
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.records import Holder, Registration
from looop_portable.sessions.evidence import Evidence
from looop_portable.system.files import OS
from looop_portable.system.processes import SYSTEM

LOOOP_META = {"id": "w1", "cmd": ["sh"], "babysit_pid": os.getpid(), "started_at": "2026-01-02T03:04:05.123456789Z"}


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path), NATIVE)


def looop_starts(directory: Path, content: str) -> Path:
    """As looop writes a session of its own."""
    path = directory / "sessions/w1/meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


TORN = {"empty": "", "begun": "{", "of no process": '{"id": "w1"}', "cut": json.dumps(LOOOP_META)[:-20]}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_session_of_looop_s_whose_metadata_are_torn_is_not_dead(claims: Claims, tmp_path: Path, torn: str) -> None:
    meta = looop_starts(tmp_path, json.dumps(LOOOP_META))
    assert isinstance(claims.claim("repo-x", "w1"), Won)
    meta.write_text(torn)
    held = claims.claim("repo-x", Holder("w2", ""))
    assert isinstance(held, Held)
    assert held.verdict.liveness is Liveness.UNKNOWN
    meta.write_text(json.dumps(LOOOP_META | {"started_at": "2026-01-02T03:04:06Z"}))
    assert isinstance(claims.claim("repo-x", Holder("w2", "")), Won)


def test_an_id_of_ours_can_be_used_again_though_its_projection_is_torn(claims: Claims, tmp_path: Path) -> None:
    claims.sessions.register("w1")
    claims.sessions.stop("w1")
    (tmp_path / "sessions/w1/meta.json").unlink()
    looop_starts(tmp_path, "")
    claims.sessions.register("w1")


def test_an_id_that_looop_may_be_writing_is_refused_until_it_is_stopped(claims: Claims, tmp_path: Path) -> None:
    looop_starts(tmp_path, "")
    with pytest.raises(SessionAlive, match="being written by looop"):
        claims.sessions.register("w1")
    claims.sessions.stop("w1")
    claims.sessions.register("w1")


@needs_namespaces_shown
def test_a_session_seen_from_another_time_namespace_is_not_dead(claims: Claims, tmp_path: Path) -> None:
    """There its start token reads differently."""
    unshare = ["unshare", "--time", "--boottime", "100000", "--fork"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot make a time namespace (unshare --time)")
    registration = claims.sessions.register("w1")
    program = (
        "import sys; from looop_portable import Claims; "
        "print(Claims.open(sys.argv[1], 'auto').sessions.verdict('w1', sys.argv[2]).liveness.value)"
    )
    command = [sys.executable, "-c", program, str(tmp_path), registration.incarnation]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "alive\n"
    assert subprocess.run([*unshare, *command], capture_output=True, text=True, check=True).stdout == "unknown\n"


@pytest.mark.parametrize(("disk", "asked"), [("", 0), ("plan9 ext4", 0), (f"{sys.platform} ext4", 1)])
def test_the_disk_is_asked_for_only_where_it_can_be_the_session_s(
    claims: Claims, monkeypatch: pytest.MonkeyPatch, disk: str, asked: int
) -> None:
    """A Windows host and a Linux one that share a directory look at each other's sessions all the time."""
    looks = iter(range(9))
    monkeypatch.setattr(claims.backend.sessions.signs, "disk", lambda: str(next(looks)))
    before_a_reboot = Registration("w1", "1", pid=7, boot="another", namespace="another", disk=disk)
    verdict = Evidence(claims.backend.sessions, SYSTEM).examine(before_a_reboot)
    assert (verdict.liveness, next(looks)) == (Liveness.UNKNOWN, asked)


def test_a_waiter_is_recorded_with_its_start_also_where_that_could_not_be_read_at_first(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(pid: int) -> str:
        raise OSError(5, "on purpose")

    with monkeypatch.context() as now:
        now.setattr(SYSTEM, "start_of", fails)
        assert claims.sessions.evidence.this_process().start == ""
    start = SYSTEM.start_of(os.getpid())
    assert start
    assert claims.sessions.evidence.this_process().start == start


def test_the_reaper_forgets_dead_sessions_whose_id_was_made_up_and_no_others(claims: Claims) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    made_up = claims.sessions.register(pid=process.pid)
    named = claims.sessions.register("w1", pid=process.pid)
    for holder in (made_up, named):
        assert isinstance(claims.claim(f"of {holder.session}", Holder(holder.session, holder.incarnation)), Won)
    claims.reap()
    assert claims.sessions.ids() == sorted([made_up.session, "w1"])
    process.kill()
    process.wait()
    assert len(claims.reap().reaped) == 2
    assert claims.sessions.ids() == ["w1"]
    assert claims.sessions.verdict(made_up.session, made_up.incarnation).dead


def test_nobody_registers_an_id_that_was_made_up(claims: Claims) -> None:
    made_up = claims.sessions.register().session
    claims.sessions.stop(made_up)
    with pytest.raises(ValueError, match="made up"):
        claims.sessions.register(made_up)


@needs_modes
def test_a_sticky_directory_shares_nothing(tmp_path: Path) -> None:
    """Or a store made in /tmp would be everybody's to write."""
    for mode, shared in ((0o1777, 0), (0o777, 0o077), (0o2775, 0o070), (0o755, 0), (0o700, 0)):
        tmp_path.chmod(mode)
        assert OS.shared_bits(str(tmp_path)) == shared
    tmp_path.chmod(0o700)


def as_looop_claims(directory: Path, name: str, session: str) -> Path:
    """As looop takes a claim over: whatever lease is there is removed, and its own is written."""
    path = directory / f"claims/{name}.json"
    path.unlink(missing_ok=True)
    path.write_text(json.dumps({"session": session, "name": name}) + "\n")
    return path


def test_a_lease_that_looop_wrote_over_a_dead_session_s_is_respected(claims: Claims, tmp_path: Path) -> None:
    claims.sessions.register("mine")
    assert isinstance(claims.claim("repo-x", "mine"), Won)
    claims.sessions.stop("mine")
    looop_starts(tmp_path, json.dumps(LOOOP_META))
    path = as_looop_claims(tmp_path, "repo-x", "w1")
    held = claims.claim("repo-x", Holder("w2", ""))
    assert isinstance(held, Held)
    assert held.lease.session == "w1"
    assert claims.reap().reaped == ()
    assert json.loads(path.read_text())["session"] == "w1"
    looop_starts(tmp_path, json.dumps(LOOOP_META | {"started_at": "2026-01-02T03:04:06Z"}))
    (tmp_path / "sessions/w1/status.json").write_text('{"state": "exited"}')
    assert isinstance(claims.claim("repo-x", Holder("w2", "")), Won)


def test_a_late_release_leaves_the_lease_of_looop_s_alone(claims: Claims, tmp_path: Path) -> None:
    mine = claims.sessions.register("mine").holder
    won = claims.claim("repo-x", mine)
    assert isinstance(won, Won)
    claims.break_claim("repo-x", won.generation, "test")
    looop_starts(tmp_path, json.dumps(LOOOP_META))
    path = as_looop_claims(tmp_path, "repo-x", "w1")
    claims.release_lease(won.lease)
    assert json.loads(path.read_text())["session"] == "w1"
    assert isinstance(claims.claim("repo-x", Holder("w2", "")), Held)


def test_a_name_in_a_record_leads_nowhere(claims: Claims, tmp_path: Path) -> None:
    """A spelling that is cut does not tell the name; the record does, and is believed only where they agree."""
    outside = tmp_path.parent / "victim.json"
    outside.write_text("precious")
    assert isinstance(claims.claim("repo-x", Holder("w1", "")), Won)
    planted = tmp_path / "claims/.ledger/z%~z"
    planted.mkdir()
    for name in ("../../victim", f"../../../{outside.name[:-5]}", "", "repo-x", ".hidden"):
        (planted / "1").write_text(json.dumps({"session": "w9", "name": name, "generation": 1}) + "\n")
        assert [status.name for status in claims.list()] == ["repo-x"]
        claims.reap(dry_run=True)
    claims.reap()
    assert outside.read_text() == "precious"
    outside.unlink()


def test_hold_in_a_process_whose_session_was_ended_registers_anew(tmp_path: Path) -> None:
    with hold("repo-x", data_dir=str(tmp_path), backend=NATIVE) as first:
        before = first.session
    Claims.open(str(tmp_path), NATIVE).sessions.stop(before)
    with hold("repo-x", data_dir=str(tmp_path), backend=NATIVE) as second:
        assert second.session != before
        assert isinstance(Claims.open(str(tmp_path), NATIVE).claim("repo-x", Holder("w2", "")), Held)


def test_memory_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    Claims.open(str(tmp_path), "memory").claim("repo-x", Holder("w1", ""))
    with hold("repo-x", data_dir=str(tmp_path), backend="memory"):
        assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_removed_under_a_process_is_made_again(claims: Claims, tmp_path: Path) -> None:
    assert isinstance(claims.claim("repo-x", Holder("w1", "")), Won)
    shutil.rmtree(tmp_path / "claims")
    assert isinstance(claims.claim("repo-x", Holder("w1", "")), Won)
