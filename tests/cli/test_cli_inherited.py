"""`run`: what its command is executed as, and what it inherits: as if nobody were in between, by the rules of execvp(3)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_fork, needs_proc, needs_sh

Run = Callable[..., subprocess.CompletedProcess[str]]

STATUS = ("grep", "SigIgn", "/proc/self/status")


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def ignored(status: str) -> set[int]:
    mask = int(status.split()[1], 16)
    return {number for number in range(1, 32) if mask >> (number - 1) & 1}


def script(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o755)
    return path


@needs_fork
@needs_sh
def test_a_script_without_an_interpreter_is_the_shell_s(looop: Run, tmp_path: Path) -> None:
    path = script(tmp_path / "script", 'echo "$0" "$#" "$2"; exit 7\n')
    assert said(looop("run", "--claim", "x", "--", str(path), "a", "b c")) == (7, f"{path} 2 b c\n", "")


@needs_fork
@needs_sh
def test_so_is_one_that_is_found_on_the_path(looop: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for each in (first, second):
        each.mkdir()
    script(second / "-tool", 'echo "$1"\n')
    (first / "-tool").write_text("not executable\n")
    monkeypatch.setenv("PATH", os.pathsep.join([str(first), str(second), os.environ["PATH"]]))
    assert said(looop("run", "--", "-tool", "one")) == (0, "one\n", "")
    monkeypatch.setenv("PATH", os.pathsep.join(["", os.environ["PATH"]]))
    assert said(looop("run", "--", "-tool", "two", cwd=second)) == (0, "two\n", "")


@needs_fork
@needs_sh
def test_an_empty_script_does_nothing(looop: Run, tmp_path: Path) -> None:
    assert said(looop("run", "--", str(script(tmp_path / "empty", "")))) == (0, "", "")


@needs_fork
@pytest.mark.parametrize("text", [b"\x7fELF\0\0\0\0\n", b"MZ\0\0echo\n"], ids=["elf", "exe"])
def test_what_is_no_text_is_no_script(looop: Run, tmp_path: Path, text: bytes) -> None:
    path = script(tmp_path / "program", text)
    code, out, err = said(looop("run", "--", str(path)))
    assert (code, out, err.count("\n")) == (126, "", 1)
    assert err.startswith(f"looop: {path}: not a program of this system, nor a script")


@needs_proc
@needs_sh
@pytest.mark.parametrize("name", ["PIPE", "XFSZ"])
def test_what_a_shell_ignores_its_command_ignores(name: str) -> None:
    run = f"'{sys.executable}' -m looop_portable run -- {' '.join(STATUS)}"
    for trap, expected in ((f"trap '' {name}; ", True), ("", False)):
        done = subprocess.run(["sh", "-c", f"{trap}{run}; exit $?"], capture_output=True, text=True, check=True)
        assert (signal.Signals[f"SIG{name}"] in ignored(done.stdout)) == expected


@needs_proc
@pytest.mark.parametrize("name", ["CHLD", "HUP", "INT", "QUIT", "ALRM", "TTOU", "TTIN", "TSTP", "WINCH", "URG"])
def test_what_any_caller_ignores_it_ignores(looop: Run, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    done = looop("run", "--", *STATUS, preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    assert done.returncode == 0
    assert number in ignored(done.stdout)


@needs_proc
def test_the_environment_has_nothing_that_python_has_added(looop: Run, tmp_path: Path) -> None:
    ours = {name: os.environ[name] for name in ("LOOOP_DATA_DIR", "PATH")}
    for given in (ours, {**ours, "LC_CTYPE": "C.UTF-8"}, {**ours, "LC_ALL": "C"}):
        done = looop("run", "--session", "s", "--", "env", env=given)
        found = dict(line.split("=", 1) for line in done.stdout.splitlines())
        assert set(found) - set(given) == {"LOOOP_SESSION_ID", "LOOOP_BACKEND"}
        assert {name: found[name] for name in given} == given


@needs_fork
@needs_sh
def test_its_words_mask_and_directory_are_the_caller_s(looop: Run, tmp_path: Path) -> None:
    done = looop("run", "--", "sh", "-c", "umask; pwd -P; nice; echo $0", preexec_fn=lambda: os.umask(0o027), cwd=tmp_path)
    assert said(done) == (0, f"0027\n{tmp_path.resolve()}\n{os.nice(0)}\nsh\n", "")
