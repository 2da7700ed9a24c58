"""What somebody has left for the command: modules in the current directory, and records whose words drive a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_symlinks

from looop_portable import Claims
from looop_portable.config import SESSION_ID

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

PROGRAM = Path(sys.executable).parent / ("looop.exe" if sys.platform == "win32" else "looop")
MODULES = [
    *("json", "typing", "re", "socket", "os", "subprocess", "threading", "signal", "select", "site", "click", "rich"),
    *("filelock", "platformdirs", "psutil", "portalocker", "looop_portable", "looop_portable_redis", "sitecustomize"),
]
NASTY = "a\x1b[31mred\x1b]0;title\x07\r\n\x7f\x9b2J\u202eb\u2066"


def is_clean(text: str) -> bool:
    """Nothing in it that a terminal would obey, and no mark that turns its letters round."""
    return all(each.isprintable() for line in text.split("\n") for each in line)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, and what each of the modules that lie there would write if it was imported."""
    place = tmp_path / "trap"
    place.mkdir()
    for name in MODULES:
        (place / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r} + '\\n')\n")
    monkeypatch.chdir(place)
    return tmp_path / "sprung"


def asked(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LOOOP_LEASE", "30")
    done = asked("session", "start", "w1", "--pid", str(os.getpid()))
    assert (done.returncode, done.stdout) == (0, "w1\n"), done.stderr
    yield "w1"
    assert asked("session", "stop", "w1").returncode == 0


@pytest.mark.skipif(not PROGRAM.exists(), reason=f"there is no {PROGRAM}")
def test_nothing_that_lies_in_the_current_directory_is_imported(trap: Path, kept: str) -> None:
    """Neither by a verb, nor by the keeper, by what `run` starts for itself, or by the doctor's processes."""
    for words in (
        ("claim", "repo-x", "--session", kept),
        ("claims",),
        ("events",),
        ("run", "--claim", "repo-y", "--", sys.executable, "-I", "-c", ""),
        ("doctor",),
        ("--backend", "redis://127.0.0.1:1/0?timeout=0.1", "claims"),
    ):
        assert "Traceback" not in asked(*words).stderr
    assert not trap.exists(), trap.read_text()


def forge(data_dir: Path) -> None:
    """As somebody would who can write there: each word of each record drives a terminal."""
    nonce = "00112233445566778899aabb"
    lease = {"session": "w1", "name": "n", "incarnation": nonce, "claimed_at": NASTY, "host": NASTY, "note": NASTY}
    registration = {"session": "w1", "incarnation": nonce, "pid": os.getpid(), "start": NASTY, "host": NASTY}
    registration |= {"user": NASTY, "command": NASTY, "started_at": NASTY, "disk": NASTY, "boot": NASTY}
    event = {"ts": NASTY, "event": NASTY, "claim": NASTY, "session": NASTY, NASTY: NASTY, "reason": [NASTY, {NASTY: 1}]}
    for place, record in {
        "claims/.ledger/n/1": {**lease, "generation": 1},
        "claims/n.json": lease,
        "sessions/.ledger/w1/1": registration,
        "claims/.queue/n/000000000001-x": registration,
    }.items():
        (data_dir / place).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / place).unlink(missing_ok=True)
        (data_dir / place).write_text(json.dumps(record) + "\n")
    (data_dir / "events.jsonl").write_text(json.dumps(event) + "\n")


VERBS = [
    ("claims",),
    ("claims", "-o", "wide"),
    ("claims", "-o", "prometheus"),
    ("show", "n"),
    ("queue", "n"),
    ("events",),
    ("session", "list"),
    ("session", "list", "-o", "wide"),
    ("claim", "n", "--session", "w2"),
    ("claim", "n", "--session", "w2", "--wait", "0.1s"),
    ("reap", "--dry-run"),
    ("break", "n", "--generation", "1", "--reason", NASTY),
]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["plain", "json"])
def test_no_word_of_a_forged_record_drives_a_terminal(
    run: Run, alive: Living, data_dir: Path, options: tuple[str, ...]
) -> None:
    alive("w2")
    Claims.open().claim("n", "w2")
    Claims.open().release("n", "w2")
    forge(data_dir)
    for words in VERBS:
        if options and "prometheus" in words:
            continue  # It is no JSON, and says so.
        done = run(*options, *words)
        assert done.returncode in (0, 1, 3, 124), (words, done)
        assert is_clean(done.stdout + done.stderr), (words, done)
        if options:
            assert all(isinstance(json.loads(line), dict) for line in (done.stdout + done.stderr).splitlines())


def test_no_word_of_the_environment_does(run: Run, alive: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "LOOOP_HOST_ID"):
        monkeypatch.setenv(variable, NASTY)
    alive("w2")
    for words in (
        ("claim", "n", "--session", "w2"),
        ("show", "n"),
        ("session", "list", "-o", "wide"),
        ("claims", "-o", "wide"),
    ):
        done = run(*words)
        assert done.returncode == 0
        assert is_clean(done.stdout + done.stderr)
    monkeypatch.setenv(SESSION_ID, f"{NASTY}/x")
    done = run("claim", "n")
    assert done.returncode == 2
    assert is_clean(done.stderr)
    monkeypatch.setenv("LOOOP_BACKEND", NASTY)
    done = run("claims")
    assert done.returncode == 2
    assert is_clean(done.stderr)


@needs_symlinks
def test_an_error_of_the_filesystem_names_a_path_without_what_drives_a_terminal(run: Run, tmp_path: Path) -> None:
    for place in (tmp_path / f"loop {NASTY}", tmp_path / f"file {NASTY}"):
        place.symlink_to(place) if place.name.startswith("loop") else place.write_text("no directory")
        done = run("--data-dir", str(place), "claim", "n", "--session", "w1")
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1
        assert is_clean(done.stderr)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_what_a_shell_would_run_is_not_completed(run: Run, looop: Run, alive: Living, shell: str) -> None:
    alive("w1")
    for name in (
        "repo-x",
        "repo-$(id)",
        "repo-`id`",
        "repo-;id",
        "repo-&id",
        "repo-|id",
        "repo- id",
        "repo-'",
        "repo-${x}",
    ):
        assert run("claim", name, "--session", "w1").returncode == 0
    position = "repo-" if shell in ("fish", "powershell") else "2"
    asked = {"_LOOOP_COMPLETE": f"{shell}_complete", "COMP_WORDS": "looop unclaim repo-", "COMP_CWORD": position}
    offered = looop(env={**os.environ, **asked}).stdout
    assert "repo-x" in offered
    assert not set("$`;&|'{") & set(offered)
    assert "id" not in offered
