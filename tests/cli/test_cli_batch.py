"""`run` on Windows: batch files are found and get their arguments, which run nothing; what is left behind ends in time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_cmd, needs_jobs

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]

SAYS = f'@"{sys.executable}" -I -S -c "import sys; print(ascii(sys.argv[1:]))" %*\r\n'
CARELESS = "@set WORD=%~1\r\n@echo %WORD%\r\n@echo %~1\r\n@call echo %1\r\n"
LEAVES = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(str(left.pid))
"""
WATCHED = """
import psutil, sys
from pathlib import Path
from looop_portable.claims.gate import Claims
retire = Claims.retire

def look(self, holder):
    print(psutil.pid_exists(int(Path(sys.argv[-1]).read_text())), flush=True)
    return retire(self, holder)

Claims.retire = look
from looop_portable.__main__ import main
main()
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on PATH, with a batch file for each of us."""
    directory = tmp_path / "some tools"
    directory.mkdir()
    for name, text in (
        ("says.cmd", SAYS),
        ("careless.bat", CARELESS),
        ("says", "#!/bin/sh\n"),
        ("seven.bat", "@exit /b 7\r\n"),
    ):
        (directory / name).write_bytes(text.encode())
    monkeypatch.setenv("PATH", str(directory), prepend=";")
    return directory


@needs_cmd
@pytest.mark.parametrize("name", ["says", "says.cmd", "SAYS.CMD", "{}/says", "{}\\says.cmd"])
def test_a_batch_file_is_found_and_gets_its_arguments(looop: Run, tools: Path, name: str) -> None:
    words = ["a b", "", "x=1,2;3", "(y)", "^z", "C:\\d\\", "C:\\d e\\", "it's"]
    done = looop("run", "--claim", "repo-x", "--", name.format(tools), *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == ascii(words)


@needs_cmd
def test_its_exit_code_is_passed_on(looop: Run, tools: Path) -> None:
    assert looop("run", "--", "seven").returncode == 7


@needs_cmd
@pytest.mark.parametrize("name", ["says", "careless", "{}/careless.bat"])
@pytest.mark.parametrize(
    "word",
    [
        "x&echo=INJECTED",
        "x & echo INJECTED",
        "x|echo=INJECTED",
        '"&echo=INJECTED&"',
        "%PATH%",
        "x\necho INJECTED",
        "x>INJECTED",
    ],
)
def test_no_argument_of_a_batch_file_runs_anything(
    looop: Run, tools: Path, tmp_path: Path, name: str, word: str, data_dir: Path
) -> None:
    done = looop("run", "--claim", "repo-x", "--", name.format(tools), word, cwd=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is a batch file" in done.stderr
    assert not (tmp_path / "INJECTED").exists()
    assert not data_dir.exists()


@needs_cmd
def test_a_part_of_cmd_is_told_for_what_it_is(looop: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("dir", "MKLINK"):
        done = looop("run", "--", name, "/?")
        assert (done.returncode, done.stdout) == (127, "")
        assert done.stderr == f"looop: {name}: command not found: it is a part of cmd.exe: run `cmd /c {name} ...`\n"
    assert looop("run", "--", "cmd", "/c", "exit 9").returncode == 9


@needs_cmd
def test_what_the_command_left_behind_has_ended_before_its_claim_is_free(tmp_path: Path) -> None:
    command = ["run", "--claim", "repo-x", "--", sys.executable, "-I", "-c", LEAVES, str(tmp_path / "left")]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


REFUSED = """
from looop_portable.running.child import windows
windows._resume = lambda handle: -1073741790  # STATUS_ACCESS_DENIED.
from looop_portable.__main__ import main
main()
"""


@needs_jobs
def test_a_command_that_cannot_be_begun_is_said_so_and_leaves_nothing(data_dir: Path) -> None:
    """It was made suspended. Without a look at the status it would be waited for without end."""
    command = [sys.executable, "-c", REFUSED, "run", "--claim", "repo-x", "--", sys.executable, "-c", "print('ran')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "looop: the command could not be begun: NtResumeProcess: status 0xc0000022\n"
    claims = Claims.open(str(data_dir))
    assert (claims.list(), claims.sessions.ids()) == ([], [])
