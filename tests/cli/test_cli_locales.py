"""One store in every locale: names on disk are UTF-8, whatever the encoding of file names is called in a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.capabilities import needs_inotify, needs_locale

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

NAME = "straße 語"
SESSION = "übung"
LOCALES = [pytest.param(name, marks=mark) for name, mark in needs_locale.items()]


def locale(name: str, **more: str) -> dict[str, str]:
    """An environment in which Python takes the locale by its word. It has no UTF-8 locale's ways to say otherwise."""
    return {**os.environ, "LC_ALL": name, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **more}


def typed(text: str, name: str) -> str:
    """`text` as a terminal of that locale sends it, in the form in which this process passes those bytes on."""
    return os.fsdecode(text.encode("latin-1") if name.startswith("de_DE") else text.encode())


def names_below(directory: Path) -> set[bytes]:
    return {name for _, folders, files in os.walk(os.fsencode(directory)) for name in (*folders, *files)}


@pytest.mark.parametrize("name", LOCALES)
def test_a_claim_is_one_claim_in_every_locale(looop: Run, alive: Living, data_dir: Path, name: str) -> None:
    alive("w1")
    alive("w2")
    claim = "straße"
    assert looop("claim", claim, "--session", "w1").returncode == 0
    for verb in ("claim", "unclaim"):
        refused = looop(verb, typed(claim, name), "--session", "w2", env=locale(name))
        assert (refused.returncode, refused.stdout) == (1, "")
    assert looop("unclaim", typed(claim, name), "--session", "w1", env=locale(name)).returncode == 0
    assert looop("claim", typed(claim, name), "--session", "w2", env=locale(name)).returncode == 0
    assert looop("claim", claim, "--session", "w1").returncode == 1
    assert Claims.open(str(data_dir)).show(claim).generation == 3
    assert "straße.json".encode() in names_below(data_dir)
    assert not [found for found in names_below(data_dir) if b"\xdf" in found]


@pytest.mark.parametrize("name", LOCALES)
def test_what_was_made_elsewhere_is_listed_and_shown(looop: Run, data_dir: Path, name: str) -> None:
    Claims.open(str(data_dir)).claim(NAME, "w1")
    listed = looop("claims", env=locale(name))
    assert (listed.returncode, "stra" in listed.stdout) == (0, True)
    assert json.loads(looop("--json", "claims", env=locale(name)).stdout)["name"] == NAME
    assert looop("reap", env=locale(name)).returncode == 0
    assert Claims.open(str(data_dir)).list() == []
    assert looop("events", env=locale(name)).returncode == 0


@pytest.mark.parametrize("name", LOCALES)
def test_a_session_is_one_session_in_every_locale(looop: Run, data_dir: Path, name: str) -> None:
    sessions = Claims.open(str(data_dir)).sessions
    session = typed(SESSION, name)
    arguments = ("session", "start", session, "--pid", str(os.getpid()))
    started = looop(*arguments, "--shell", env=locale(name))
    assert started.stdout == f"export LOOOP_SESSION_ID='{os.fsencode(session).decode(errors='backslashreplace')}'\n"
    assert sessions.holder(SESSION).incarnation
    assert looop("session", "start", SESSION, "--pid", str(os.getpid())).returncode == 1
    assert looop("claim", "x", env=locale(name, LOOOP_SESSION_ID=session)).stdout == "claimed x\n"
    assert looop("claim", "x", env={**os.environ, "LOOOP_SESSION_ID": SESSION}).stdout == ""
    assert looop("claim", "x", "--session", "w2", env=locale(name)).returncode == 1
    assert looop("session", "list", env=locale(name)).returncode == 0
    assert looop("session", "stop", session, env=locale(name)).returncode == 0
    assert not sessions.holder(SESSION).incarnation or sessions.verdict(*sessions.holder(SESSION)).dead


@pytest.mark.parametrize("name", LOCALES)
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_directory_is_the_one_of_these_bytes(looop: Run, tmp_path: Path, name: str, how: str) -> None:
    for raw in ("straße".encode(), "straße".encode("latin-1")):
        there = os.fsdecode(os.fsencode(tmp_path) + b"/" + raw)
        options: tuple[str, ...] = ("--data-dir", there) if how == "argument" else ()
        environment: Mapping[str, str] = {"LOOOP_DATA_DIR": there} if how == "environment" else {}
        assert looop(*options, "claim", "x", "--session", "w", env=locale(name, **environment)).returncode == 0
        assert Claims.open(there).show("x").generation == 1
        assert looop(*options, "paths", env=locale(name, **environment)).returncode == 0
        assert looop(*options, "events", env=locale(name, **environment)).stdout.count("claimed") == 1
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("name", LOCALES)
def test_a_command_is_told_a_session_and_a_directory_that_are_the_same(looop: Run, tmp_path: Path, name: str) -> None:
    there = str(tmp_path / "straße")
    command = (
        "run",
        "--claim",
        "x",
        "--session",
        typed(SESSION, name),
        "--",
        sys.executable,
        "-m",
        "looop_portable",
        "claim",
        "x",
    )
    done = looop("--data-dir", there, *command, env=locale(name))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Claims.open(there).sessions.ids() == [SESSION]
    assert os.listdir(tmp_path) == ["straße"]


@pytest.mark.parametrize("name", LOCALES)
def test_a_keeper_keeps_the_session_of_this_name(looop: Run, tmp_path: Path, name: str) -> None:
    there, state = str(tmp_path / "straße"), str(tmp_path / "größe")
    environment = locale(name, XDG_STATE_HOME=state, LOOOP_LEASE="30")
    session = typed(SESSION, name)
    started = looop("--data-dir", there, "--json", "session", "start", session, "--pid", str(os.getpid()), env=environment)
    told = json.loads(started.stdout)
    assert (told["session"], told["trouble"]) == (SESSION, None)
    assert told["keeper"]
    stopped = looop("--data-dir", there, "session", "stop", session, env=environment)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["größe", "straße"]


@pytest.mark.parametrize("name", LOCALES)
def test_a_waiter_is_woken(looop: Run, data_dir: Path, alive: Living, name: str) -> None:
    alive("w1")
    alive("w2")
    claims = Claims.open(str(data_dir))
    claims.claim("straße", "w1")
    waited = looop("claim", typed("straße", name), "--session", "w2", "--timeout", "0.2", env=locale(name))
    assert waited.returncode == 124
    claims.release("straße", "w1")
    assert looop("claim", typed("straße", name), "--session", "w2", "--wait", env=locale(name)).returncode == 0


LISTENS = """
import sys
from looop_portable.system.watch.waking import new_watcher
watcher = new_watcher()
sys.exit(0 if watcher.watch([sys.argv[1] + "/stra\\xdfe \\u8a9e"]) else "nothing is heard")
"""


@needs_inotify
@pytest.mark.parametrize("name", LOCALES)
def test_the_kernel_tells_of_a_directory_of_this_name(tmp_path: Path, name: str) -> None:
    (tmp_path / NAME).mkdir()
    listens = [sys.executable, "-c", LISTENS, str(tmp_path)]
    done = subprocess.run(listens, check=False, capture_output=True, env=locale(name), timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", LOCALES)
def test_the_doctor_looks_at_the_directory_that_was_named(looop: Run, tmp_path: Path, name: str) -> None:
    there = tmp_path / "straße"
    there.mkdir()
    done = looop("--json", "doctor", str(there), "--seconds", "0.2", "--processes", "2", env=locale(name), timeout=120)
    found = json.loads(done.stdout)
    assert (done.returncode, found["directory"]) == (0, there.as_posix())
    assert os.listdir(tmp_path) == ["straße"]


@pytest.mark.parametrize("name", [locale for locale in LOCALES if locale.values != ("de_DE.ISO-8859-1",)])
def test_what_is_no_text_is_still_refused(looop: Run, name: str) -> None:
    done = looop("claim", os.fsdecode(b"\xff\xfe"), "--session", "w1", env=locale(name))
    assert (done.returncode, "not valid Unicode" in done.stderr) == (2, True)
