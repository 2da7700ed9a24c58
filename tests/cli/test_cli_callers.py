"""`session start` without --pid, in a batch file of Windows: the session lives for as long as the batch file does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import CMD, needs_cmd
from support.crew import until

import looop_portable
from looop_portable import Claims
from looop_portable.config import state_dir

LOOOP = f'"{sys.executable}" -m looop_portable'
WRAPPER = """
import subprocess, sys
done = subprocess.run([sys.executable, "-m", "looop_portable", "session", "start", "w1"], capture_output=True, text=True)
print(done.returncode, done.stdout, done.stderr)
"""


def in_batch(tmp_path: Path, *lines: str) -> list[dict[str, object]]:
    """What a batch file of these lines prints: an object each."""
    script = tmp_path / "job.bat"
    script.write_text("\r\n".join(["@echo off", *lines, ""]), encoding="utf-8")
    done = subprocess.run(
        [CMD, "/d", "/c", str(script)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) >= len(lines), done.stdout
    return found


@needs_cmd
@pytest.mark.parametrize(
    "start",
    [
        f"for /f \"delims=\" %%i in ('{LOOOP} --json session start w1') do echo %%i",
        f"for /f \"delims=\" %%i in ('{LOOOP} --json session start w1 2^>nul') do echo %%i",
        f"for /f \"delims=\" %%i in ('{LOOOP} --json session start w1 --lease 3') do echo %%i",
        f'"{CMD}" /d /c {LOOOP} --json session start w1',
        f"{LOOOP} --json session start w1",
    ],
    ids=["for /f", "for /f, redirected", "for /f, with a keeper", "cmd /c", "as it is"],
)
def test_a_session_that_a_batch_file_starts_lives_as_long_as_it_does(tmp_path: Path, data_dir: Path, start: str) -> None:
    started, claimed, listed = in_batch(
        tmp_path, start, f"{LOOOP} --json claim repo-x --session w1", f"{LOOOP} --json session list"
    )
    assert (started["session"], claimed["outcome"], listed["liveness"]) == ("w1", "won", "alive")
    status = Claims.open(str(data_dir)).sessions.status("w1")
    assert status
    assert status.verdict.dead  # The batch file has ended.
    assert until(lambda: not list(Path(f"{state_dir()}/keepers").glob(f"*-{started['incarnation']}.lock")))


@needs_cmd
def test_a_program_that_was_started_just_now_is_refused(data_dir: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRAPPER], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("2 ")
    assert "was started just now" in done.stdout
    assert "--pid" in done.stdout
    assert not data_dir.exists()


@needs_cmd
def test_the_launcher_that_pip_makes_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(looop_portable.__file__).parents[1]))
    scripts = pytest.importorskip("pip._vendor.distlib.scripts", reason="pip is missing, which makes launchers")
    maker = scripts.ScriptMaker(None, str(tmp_path))
    maker.executable, maker.variants = sys.executable, {""}
    maker.make("looop = looop_portable.__main__:main")
    looop = f'"{tmp_path / "looop.exe"}"'
    starts = [f"for /f \"delims=\" %%i in ('{looop} --json session start {each}') do echo %%i" for each in ("w1", "w2")]
    starts.append(f"{looop} --json session start w3")
    first, second, third, *listed = in_batch(tmp_path, *starts, f"{LOOOP} --json session list")
    assert first["pid"] == second["pid"] == third["pid"]
    assert [each["liveness"] for each in listed] == ["alive"] * 3
