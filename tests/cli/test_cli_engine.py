"""An engine of others, as it is installed: the example, by its entry point, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_sqlite
from support.engines import EXAMPLES, sqlite_engine

from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed

pytestmark = needs_sqlite

Run = Callable[..., subprocess.CompletedProcess[str]]
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `pip` leaves a distribution whose pyproject.toml names the entry point."""
    place = tmp_path / "site" / "looop_portable_sqlite-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: looop-portable-sqlite\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text("[looop_portable.backends]\nsqlite = sqlite_engine:open_sqlite\n")
    path = os.pathsep.join(filter(None, [str(place.parent), str(EXAMPLES), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("LOOOP_BACKEND", "sqlite")


def test_a_claim_is_held_by_a_session_and_by_nobody_once_that_has_ended(looop: Run, data_dir: Path) -> None:
    for session in ("w1", "w2"):
        assert looop("session", "start", session, "--pid", str(os.getpid())).stdout == f"{session}\n"
    assert looop("claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
    refused = looop("claim", "repo-x", "--session", "w2")
    assert (refused.returncode, "held by live session 'w1'" in refused.stderr) == (1, True)
    assert "repo-x" in looop("claims").stdout
    assert looop("session", "stop", "w1").returncode == 0
    assert looop("claim", "repo-x", "--session", "w2").stdout == "claimed repo-x\n"
    assert looop("unclaim", "repo-x", "--session", "w2").returncode == 0
    assert (data_dir / "claims.sqlite").exists()


def test_a_keeper_gives_the_heartbeats_of_a_session_that_it_did_not_register(looop: Run, data_dir: Path) -> None:
    started = looop("session", "start", "w1", "--lease", "3", "--pid", str(os.getpid()))
    assert (started.returncode, started.stdout, started.stderr) == (0, "w1\n", "")
    engine = sqlite_engine().SqliteEngine(str(data_dir / "claims.sqlite"))
    own = OnEngine(engine, "sqlite").sessions.read("w1").own
    assert own
    word, end = f"w1/{own.incarnation}", elapsed() + PATIENCE
    beats = {engine.heard(word)}
    while len({beat.beat for beat in beats if beat}) < 3:
        assert elapsed() < end, "nobody gives its heartbeats"
        time.sleep(0.01)
        beats.add(engine.heard(word))
    assert looop("claim", "repo-x", "--session", "w1").returncode == 0
    assert looop("session", "stop", "w1").returncode == 0
    assert "repo-x" not in looop("claims").stdout


def test_a_user_who_forgets_the_backend_is_told(looop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looop("claim", "repo-x", "--session", "w1").returncode == 0
    monkeypatch.delenv("LOOOP_BACKEND")
    found = looop("claim", "repo-x", "--session", "w1")
    assert (found.returncode, "use --backend sqlite" in found.stderr) == (3, True)


def test_looop_run_holds_its_claim_for_as_long_as_its_command_runs(looop: Run, data_dir: Path) -> None:
    done = looop("run", "--claim", "n", "--", sys.executable, "-c", INNER)
    assert (done.returncode, done.stderr) == (0, "")
    head = OnEngine(sqlite_engine().SqliteEngine(str(data_dir / "claims.sqlite")), "sqlite").read("n")
    assert (head.generation, head.lease) == (2, None)


def test_a_url_names_the_file_and_each_process_of_ours_finds_it(
    looop: Run, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a place, 100 %" / "claims.sqlite"
    url = path.as_uri().replace("file:", "sqlite:")
    monkeypatch.delenv("LOOOP_BACKEND")
    start = ("session", "start", "w1", "--lease", "3", "--pid", str(os.getpid()))
    assert looop("--backend", url, *start).stdout == "w1\n"
    assert looop("--backend", url, "claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
    assert path.exists()
    assert not (data_dir / "claims.sqlite").exists()
    forgotten = looop("claim", "repo-x", "--session", "w2")
    assert (forgotten.returncode, f"use --backend {url}" in forgotten.stderr) == (3, True)
    assert looop("--backend", url, "run", "--claim", "n", "--", sys.executable, "-c", INNER).returncode == 0
    monkeypatch.setenv("LOOOP_BACKEND", url)
    assert looop("session", "stop", "w1").returncode == 0
    assert looop("claims").stdout == ""


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/file", "sqlite:///file?mode=ro", "sqlite:file"])
def test_a_url_that_names_no_file_is_usage_in_one_line(looop: Run, data_dir: Path, url: str) -> None:
    done = looop("--backend", url, "claim", "repo-x", "--session", "w1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "sqlite:///DIRECTORY/FILE" in done.stderr or "neither a name nor a URL" in done.stderr
    assert not data_dir.exists()


INNER = """
import os, sys
from looop_portable import Claims, Held
claims = Claims.open()
assert claims.backend.name == "sqlite"
sys.exit(0 if isinstance(claims.claim("n", claims.sessions.register("other").holder), Held) else 1)
"""


def test_the_doctor_advises_to_use_it_where_the_claims_are_in_it(looop: Run, data_dir: Path) -> None:
    assert looop("claim", "repo-x", "--session", "w1").returncode == 0
    done = looop("doctor", str(data_dir), "--seconds", "0.2", "--processes", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "stamp       the claims of this directory are in sqlite\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("verdict: use --backend sqlite: ")


def test_the_doctor_advises_against_it_where_claims_are_in_files(looop: Run, data_dir: Path) -> None:
    assert looop("--backend", "auto", "claim", "repo-x", "--session", "w1").returncode == 0
    done = looop("doctor", str(data_dir), "--seconds", "0.2", "--processes", "2")
    assert (done.returncode, done.stderr) == (1, "")
    assert "in files, not in the backend 'sqlite': use it without --backend" in done.stdout.splitlines()[-1]
