"""`session start` in a job that ends all that is in it, as CI runners and agents' shells have: the keeper goes on."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.capabilities import needs_jobs
from support.crew import until

from looop_portable.config import state_dir
from looop_portable.protocol.records import Holder
from looop_portable.running.keepers import Keepers

KILLS, ALLOWS_BREAKAWAY, SUSPENDED = 0x2000, 0x800, 0x4

InJob = Callable[..., "tuple[dict[str, object], str, Callable[[], object]]"]


@pytest.fixture
def in_job() -> Iterator[InJob]:
    """Starts a session in a job of these limits: what it said, its stderr, and what ends the job."""
    system_windows = importlib.import_module("looop_portable.system.processes.windows_system")

    idlers = []

    def start(limits: int, *words: str) -> tuple[dict[str, object], str, Callable[[], object]]:
        job = system_windows.new_job(limits)
        idlers.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]))
        command = [sys.executable, "-m", "looop_portable", *words, "session", "start", "w1", "--lease", "3"]
        with subprocess.Popen(
            [*command, "--pid", str(idlers[-1].pid)],
            creationflags=SUSPENDED,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            handle = int(child._handle)  # type: ignore[attr-defined]
            assert system_windows.kernel.AssignProcessToJobObject(job, handle)
            psutil.Process(child.pid).resume()
            out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        (found,) = [json.loads(line) for line in out.splitlines()] if words else [{}]
        return found, err, lambda: system_windows.kernel.TerminateJobObject(job, 1)

    yield start
    for each in idlers:
        each.kill()
        each.wait()


@needs_jobs
def test_the_keeper_goes_on_when_the_job_of_its_caller_ends(in_job: InJob) -> None:
    started, _, end = in_job(KILLS | ALLOWS_BREAKAWAY, "--json")
    keepers, holder = Keepers(f"{state_dir()}/keepers"), Holder("w1", str(started["incarnation"]))
    keeper = psutil.Process(int(str(started["keeper"])))
    end()
    assert keepers.is_there(holder)
    assert keeper.is_running()


@needs_jobs
def test_where_the_job_lets_nothing_go_one_line_says_so(in_job: InJob) -> None:
    _, err, end = in_job(KILLS)
    assert err.startswith("looop: warning: the keeper (pid ")
    assert "ends with the job" in err
    assert err.count("\n") == 1
    end()


@needs_jobs
def test_and_so_does_the_object(in_job: InJob) -> None:
    started, err, end = in_job(KILLS, "--json")
    assert "ends with the job" in str(started["trouble"])
    assert err == ""
    end()
    keeper = int(str(started["keeper"]))
    assert until(lambda: not psutil.pid_exists(keeper))


@needs_jobs
def test_its_directory_is_the_system_s_and_no_drive_of_the_caller_s(in_job: InJob, tmp_path: Path) -> None:
    system_directory = importlib.import_module("looop_portable.system.processes.windows_system").system_directory
    started, _, _ = in_job(ALLOWS_BREAKAWAY, "--json")
    assert os.path.samefile(psutil.Process(int(str(started["keeper"]))).cwd(), system_directory())
