"""Evidence that is torn, foreign or out of reach is never taken for a death; and what is forgotten was made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from looop_portable import Claims, Held, SessionAlive, Won
from looop_portable.files import OS
from looop_portable.liveness import Liveness
from looop_portable.protocol import Holder

LOOOP_META = {"id": "w1", "cmd": ["sh"], "babysit_pid": os.getpid(), "started_at": "2026-01-02T03:04:05.123456789Z"}


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims.open(str(tmp_path), "posix")


def looop_starts(directory: Path, content: str) -> Path:
    """As looop writes a session of its own."""
    path = directory / "sessions/w1/meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize("torn", ["", "{", '{"id": "w1"}', json.dumps(LOOOP_META)[:-20]])
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


def test_a_session_seen_from_another_time_namespace_is_not_dead(claims: Claims, tmp_path: Path) -> None:
    """There its start token reads differently."""
    unshare = ["unshare", "--time", "--boottime", "100000", "--fork"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot make a time namespace (unshare --time)")
    registration = claims.sessions.register("w1")
    program = (
        "import sys; from looop_portable import Claims; "
        "print(Claims.open(sys.argv[1], 'posix').sessions.verdict('w1', sys.argv[2]).liveness.value)"
    )
    command = [sys.executable, "-c", program, str(tmp_path), registration.incarnation]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "alive\n"
    assert subprocess.run([*unshare, *command], capture_output=True, text=True, check=True).stdout == "unknown\n"


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


def test_a_sticky_directory_shares_nothing(tmp_path: Path) -> None:
    """Or a store made in /tmp would be everybody's to write."""
    for mode, shared in ((0o1777, 0), (0o777, 0o077), (0o2775, 0o070), (0o755, 0), (0o700, 0)):
        tmp_path.chmod(mode)
        assert OS.shared_bits(str(tmp_path)) == shared
    tmp_path.chmod(0o700)
