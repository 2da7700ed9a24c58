"""What macOS alone can tell: that its kernel answers as it is read, and what its sandbox leaves.

Everything here is asked of the system by a second way too: psutil, ps, mount.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.capabilities import works_or_skip

from looop_portable.protocol.liveness import ProcessState
from looop_portable.system.mounts import mount_of
from looop_portable.system.processes import SYSTEM, kernel_macos

LOOOP = [sys.executable, "-m", "looop_portable"]
FRESH = "import sys; from looop_portable.system.processes import SYSTEM; print(SYSTEM.start_of(int(sys.argv[1])))"
REFUSED = '(version 1)(allow default)(deny sysctl-read (sysctl-name "kern.bootsessionuuid") (sysctl-name "kern.boottime"))'


@pytest.fixture(autouse=True)
def _a_real_one() -> None:
    """Found by trying: no other system has this program, and a disguise of this Python has not either."""
    works_or_skip("the kernel of macOS", ["sw_vers", "-productVersion"])


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], text=True)
    yield process
    process.kill()
    process.wait()


def test_its_kernel_answers_as_it_is_read(child: subprocess.Popen[str]) -> None:
    """kinfo_proc has the size and the fields that are expected, and the start is the one that psutil is told."""
    found = kernel_macos.process(child.pid)
    assert found
    assert found[0] is ProcessState.RUNNING
    assert abs(float(found[1]) - psutil.Process(child.pid).create_time()) < 0.001
    child.send_signal(signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    assert kernel_macos.process(child.pid) == (ProcessState.STOPPED, found[1])
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert kernel_macos.process(child.pid) == (ProcessState.ZOMBIE, found[1])
    child.wait()
    assert kernel_macos.process(child.pid) is None


def test_its_boot_session_is_told_and_the_same_for_all(child: subprocess.Popen[str]) -> None:
    assert kernel_macos.boot_session() == works_or_skip("sysctl", ["sysctl", "-n", "kern.bootsessionuuid"])


def test_the_home_directory_is_not_on_the_sealed_volume() -> None:
    """By a firmlink, which leaves no trace in its path."""
    sealed, home = mount_of("/"), mount_of(os.path.expanduser("~"))
    assert sealed
    assert home
    assert (sealed.point, sealed.type, "ro" in sealed.options) == ("/", "apfs", True)
    assert (home.type, "ro" in home.options, home.network) == ("apfs", False, False)
    assert home.point != "/"


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[str]:
    image, name = str(tmp_path / "image.dmg"), f"Looop {os.getpid()}"
    works_or_skip("a disk image", ["hdiutil", "create", "-size", "20m", "-fs", "HFS+", "-volname", name, image])
    works_or_skip("a disk image", ["hdiutil", "attach", "-nobrowse", image])
    yield f"/Volumes/{name}"
    subprocess.run(["hdiutil", "detach", "-force", f"/Volumes/{name}"], check=True, capture_output=True)


@pytest.mark.parametrize("spelled", [str, str.lower, str.upper], ids=["as it is", "lower", "upper"])
def test_a_volume_is_found_by_any_spelling_of_its_name(volume: str, spelled: Callable[[str], str]) -> None:
    found = mount_of(spelled(volume) + "/claims")
    assert found
    assert (found.point, found.type) == (volume, "hfs")


def test_a_claim_works_in_a_sandbox_that_hides_the_kernels_identity(tmp_path: Path, child: subprocess.Popen[str]) -> None:
    """As coding agents put one around what they run; the other party is in none."""
    inside = ["sandbox-exec", "-p", REFUSED]
    works_or_skip("a sandbox", [*inside, "/usr/bin/true"])
    refused = subprocess.run([*inside, "sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False)
    assert not refused.stdout.strip()

    def looop(*arguments: str, before: list[str]) -> subprocess.CompletedProcess[str]:
        command = [*before, *LOOOP, "--data-dir", str(tmp_path), *arguments]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    outer = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        for session, pid, before in (("in", child.pid, inside), ("out", outer.pid, [])):
            began = looop("session", "start", session, "--pid", str(pid), "--lease", "0", before=before)
            assert (began.returncode, began.stderr) == (0, "")
        for holder, asker in ((("in", inside), ("out", [])), (("out", []), ("in", inside))):
            name = f"of-{holder[0]}"
            assert looop("claim", name, "--session", holder[0], before=holder[1]).returncode == 0
            told = looop("claim", name, "--session", asker[0], before=asker[1])
            assert told.returncode == 1
            assert "reboot" not in told.stdout + told.stderr
        child.kill()
        child.wait()
        assert looop("claim", "of-in", "--session", "out", before=[]).returncode == 0
    finally:
        outer.kill()
        outer.wait()


def test_a_step_of_the_clock_leaves_a_process_the_one_that_it_was(child: subprocess.Popen[str]) -> None:
    """Only where $SET_CLOCK allows it, and this user may do it without being asked."""
    if not os.environ.get("SET_CLOCK"):
        pytest.skip("the clock may not be set here (SET_CLOCK)")
    works_or_skip("the right to set the clock", ["sudo", "-n", "true"])
    before, began, real = SYSTEM.start_of(child.pid), time.monotonic(), time.time()
    try:
        subprocess.run(["sudo", "-n", "date", "-f", "%s", str(int(real) + 3600)], check=True, capture_output=True)
        assert time.time() - real > 1800
        assert SYSTEM.state(child.pid, before) is ProcessState.RUNNING
        told = subprocess.run([sys.executable, "-c", FRESH, str(child.pid)], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == before
    finally:
        now = str(int(real + time.monotonic() - began))
        subprocess.run(["sudo", "-n", "date", "-f", "%s", now], check=True, capture_output=True)
