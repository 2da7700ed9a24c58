"""Whole processes that take this system for macOS: a clock that is set, a sandbox, a network that names the host anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import disguise_or_skip

Looop = Callable[..., "subprocess.CompletedProcess[str]"]

HOLDER = """
import sys
from looop_portable import Claims
claims = Claims.open(sys.argv[1], "auto")
claims.sessions.register("w1")
claims.claim("repo-x", "w1")
print("holds", flush=True)
sys.stdin.readline()
"""
ASKER = """
import sys
from looop_portable import Claims
from looop_portable.system.processes import SYSTEM, PortableProcesses, start_of
import os
claims, holder = Claims.open(sys.argv[1], "auto"), int(sys.argv[2])
portable = PortableProcesses()  # What psutil tells, which has seen the clock as it was.
before = [start_of(system, holder) for system in (SYSTEM, portable)]
for line in iter(sys.stdin.readline, ""):
    told = [system.state(holder, start).value for system, start in zip((SYSTEM, portable), before)]
    print(claims.show("repo-x").verdict.liveness.value, *told, sep="|", flush=True)
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """What the disguise's kernel tells: files in here."""
    made = tmp_path / "kernel"
    made.mkdir()
    return made


@pytest.fixture
def environment(tmp_path: Path, state: Path) -> dict[str, str]:
    ours = {"DISGUISE_STATE": str(state), "LOOOP_DATA_DIR": str(tmp_path / "store"), "HOME": str(tmp_path)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOOOP_", "DISGUISE"))}
    return {**kept, **disguise_or_skip(), **ours}


@pytest.fixture
def looop(environment: dict[str, str]) -> Looop:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "looop_portable", *arguments]
        return subprocess.run(
            command, env={**environment, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(program: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, str(tmp_path / "store"), *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, env={**environment, **more}, text=True, **pipes)  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def asked(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdin
    assert process.stdout
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline().strip().split("|")


@pytest.mark.parametrize("step", [-7200.0, 3600.0])
def test_a_step_of_the_clock_makes_no_living_holder_dead(
    start: Callable[..., subprocess.Popen[str]], looop: Looop, state: Path, step: float
) -> None:
    holder = start(HOLDER)
    assert holder.stdout
    assert holder.stdout.readline() == "holds\n"
    waits = start(ASKER, str(holder.pid))
    assert asked(waits) == ["alive", "runs", "runs"]
    (state / "boottime").write_text(str(time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + step))
    assert asked(waits) == ["alive", "runs", "runs"]
    assert "alive" in looop("show", "repo-x").stdout
    holder.kill()
    holder.wait()
    assert asked(waits)[0] == "dead"


SANDBOXED = {"DISGUISE_SANDBOX": "bootsessionuuid,boottime"}
SANDBOXES = [(SANDBOXED, SANDBOXED), (SANDBOXED, {}), ({}, SANDBOXED)]


@pytest.mark.parametrize(("holds", "asks"), SANDBOXES, ids=["both", "the holder", "who asks"])
def test_in_a_sandbox_that_hides_the_kernels_identity_a_claim_works(
    start: Callable[..., subprocess.Popen[str]], looop: Looop, state: Path, holds: dict[str, str], asks: dict[str, str]
) -> None:
    """As coding agents put one around what they run. The holder has promised no heartbeat: its process alone tells."""
    holder = start(HOLDER, **holds)
    assert holder.stdout
    assert holder.stdout.readline() == "holds\n"
    (state / "nodename").write_text("of-another-network.example")  # No other host.
    session = start("import sys; sys.stdin.read()")
    began = looop("session", "start", "w2", "--pid", str(session.pid), "--lease", "0", **asks)
    assert (began.returncode, "warning" in began.stderr) == (0, False)
    refused = looop("claim", "repo-x", "--session", "w2", **asks)
    assert refused.returncode == 1
    assert "before a reboot" not in refused.stdout + refused.stderr
    holder.kill()
    holder.wait()
    won = looop("claim", "repo-x", "--session", "w2", **asks)
    assert (won.returncode, won.stderr) == (0, "")
    assert looop("claim", "repo-x", "--session", "w2", **holds).returncode == 0
    assert looop("unclaim", "repo-x", "--session", "w2", **holds).returncode == 0


def test_what_is_told_of_the_kernel_is_not_made_up(environment: dict[str, str]) -> None:
    program = "from looop_portable.system.processes import SYSTEM; print(*SYSTEM.here()[:2], sep='|')"
    for refused, known in (("", True), ("boottime", True), ("bootsessionuuid", False), ("bootsessionuuid,boottime", False)):
        worn = {**environment, "DISGUISE_SANDBOX": refused}
        told = subprocess.run([sys.executable, "-c", program], env=worn, capture_output=True, text=True, check=True)
        boot, namespace = told.stdout.strip().split("|")
        assert (bool(boot), namespace) == (known, "pids of darwin")


def test_doctor_calls_no_directory_read_only_that_lies_under_the_sealed_volume(looop: Looop, tmp_path: Path) -> None:
    sealed = '[["/", "apfs", "/dev/disk3s1s1", "ro,local,rootfs"]]'
    done = looop("doctor", str(tmp_path), "--processes", "2", "--seconds", "0.2", DISGUISE_MOUNTS=sealed)
    assert done.returncode == 0
    assert "read-only" not in done.stdout


def test_a_share_is_one_by_any_spelling_of_its_mount_point(looop: Looop, tmp_path: Path) -> None:
    """Another case, another normal form: here, a link on the way. Taken for a local disk, the other Mac's sessions die."""
    (tmp_path / "Volumes" / "Team").mkdir(parents=True)
    (tmp_path / "spelled otherwise").symlink_to(tmp_path / "Volumes")
    shared = ["", "smbfs", "//me@server/team", "rw,nodev"]
    shared[0] = str(tmp_path / "spelled otherwise" / "Team")
    mounts = json.dumps([["/", "apfs", "/dev/disk3s1s1", "ro,local,rootfs"], shared])
    brief = ("--processes", "2", "--seconds", "0.2")
    done = looop("--json", "doctor", str(tmp_path / "Volumes" / "Team"), *brief, DISGUISE_MOUNTS=mounts)
    found = json.loads(done.stdout)["filesystem"]
    assert (found["type"], found["network"]) == ("smbfs", True)


WITHOUT = """
import sys
sys.modules.update({"psutil": None, "platformdirs": None})
from looop_portable.__main__ import main
sys.exit(main())
"""


def test_a_claim_needs_neither_psutil_nor_platformdirs(environment: dict[str, str], state: Path, tmp_path: Path) -> None:
    """They take as long to import as a bare interpreter to start. The store is where it is by default."""
    environment.pop("LOOOP_DATA_DIR")
    environment.pop("XDG_STATE_HOME", None)
    verbs = ("session start w1 --lease 0 --pid", "claim repo-x --session w1", "show repo-x", "unclaim repo-x --session w1")
    for verb in verbs:
        pid = [str(os.getpid())] if verb.endswith("--pid") else []
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, *verb.split(), *pid],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "warning" in done.stderr) == (0, False)
    assert (tmp_path / "Library" / "Application Support" / "looop" / "claims").is_dir()
