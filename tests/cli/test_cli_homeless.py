"""Users of services, who have no home directory that can be written to: they are told what to do, whatever they ask for."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_posix_homes, needs_proc

from looop_portable import config, errors

pytestmark = needs_posix_homes

Run = Callable[..., subprocess.CompletedProcess[str]]

CHANGES = ("claim x --session s", "session start s", "run --claim x -- true", "claim x --session s --ttl 30m")
WAY_OUT = ("--data-dir", "LOOOP_DATA_DIR")


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    """Nobody has named a data directory."""
    for name in ("LOOOP_DATA_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(errors, "UNNAMED", set())
    monkeypatch.setattr(config, "UNNAMED", errors.UNNAMED)


def told(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert all(word in done.stderr for word in WAY_OUT), done.stderr
    assert "2775" not in done.stderr
    return done.stderr


@needs_proc
@pytest.mark.parametrize("verb", [*CHANGES, "doctor"])
@pytest.mark.parametrize("home", ["/proc", "/proc/nobody"])
def test_what_cannot_be_made_is_named_elsewhere(looop: Run, verb: str, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    done = looop(*verb.split())
    assert done.returncode == (2 if verb == "doctor" and home != "/proc" else 3)
    told(done)


def test_so_is_a_home_that_is_a_file(looop: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    done = looop("claim", "x", "--session", "s")
    assert done.returncode == 3
    told(done)
    assert looop("doctor").returncode == 2


@pytest.mark.parametrize("home", ["/nobody-has-this", "/"])
def test_doctor_does_not_test_the_root(run: Run, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    before = set(os.listdir("/"))
    done = run("doctor")
    assert done.returncode == 2
    assert "no home directory" in told(done)
    assert set(os.listdir("/")) == before


def test_an_error_says_so_only_of_what_nobody_has_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    directory = config.resolve().data_dir
    above = [str(tmp_path), str(tmp_path / "home"), directory, f"{directory}/claims/x", f"{tmp_path}/.looop-doctor-1"]
    for number in (errno.EACCES, errno.EPERM, errno.EROFS):
        for path in above:
            said = errors.describe_error(OSError(number, os.strerror(number), path))
            assert all(word in said for word in WAY_OUT)
            assert "2775" not in said
    shared = str(tmp_path.parent / "elsewhere" / "looop")
    config.resolve(shared)
    assert "no data directory was named" not in errors.describe_error(OSError(errno.EACCES, "Permission denied", shared))
