"""What the kernels of macOS and of the BSDs tell, by scripted ones: no step of a clock makes another process of one."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys
from typing import Any

import pytest
from support.capabilities import needs_null_signals, needs_zombies

from looop_portable.errors import NoSuchProcess
from looop_portable.protocol.liveness import ProcessState
from looop_portable.system import processes
from looop_portable.system.processes import MacProcesses, PortableProcesses, kernel_bsd, kernel_macos, start_of

BEGAN = (1_764_322_683, 120_456)
TOKEN = repr(BEGAN[0] + BEGAN[1] / 1e6)
NO_PID = 2**22 + 1
"""That no process has, here or there."""


def kinfo_proc(pid: int, stat: int = 2, began: tuple[int, int] = BEGAN) -> bytes:
    """As sys/sysctl.h and sys/proc.h lay it out: the three fields that are read."""
    told = bytearray(648)
    struct.pack_into("=qi", told, 0, *began)
    struct.pack_into("=b", told, 36, stat)
    struct.pack_into("=i", told, 40, pid)
    return bytes(told)


class Kernel:
    """A libc whose sysctl answers `told` by process id; `refuses` are the numbers of errors by name."""

    def __init__(self, told: dict[int, bytes] | None = None, **refuses: int) -> None:
        self.told, self.refuses = told or {}, refuses
        self.asked: list[list[int]] = []

    def sysctl(self, name: ctypes.Array[ctypes.c_int], length: int, answer: object, size: object, *none: object) -> int:
        assert length == len(name) == 4
        assert none == (None, 0)
        self.asked.append(list(name))
        if number := self.refuses.get("process"):
            ctypes.set_errno(number)
            return -1
        told = self.told.get(name[3], b"")[: size._obj.value]  # type: ignore[attr-defined]
        size._obj.value = len(told)  # type: ignore[attr-defined]
        ctypes.memmove(answer, told, len(told))  # type: ignore[arg-type]
        return 0

    def sysctlbyname(self, name: bytes, answer: object, size: object, *none: object) -> int:
        ctypes.set_errno(self.refuses.get("boot", 0))
        if not self.refuses.get("boot"):
            answer.value = b"6E2A3F4B-0000-4000-8000-00000000000A"  # type: ignore[attr-defined]
        return -1 if self.refuses.get("boot") else 0


def wear(monkeypatch: pytest.MonkeyPatch, kernel: object) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno=False: kernel)


@pytest.fixture
def without_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)


@pytest.mark.usefixtures("without_psutil")
@pytest.mark.parametrize(
    ("stat", "state"),
    [
        (1, ProcessState.RUNNING),
        (2, ProcessState.RUNNING),
        (3, ProcessState.RUNNING),
        (4, ProcessState.STOPPED),
        (5, ProcessState.ZOMBIE),
    ],
    ids=["SIDL", "SRUN", "SSLEEP", "SSTOP", "SZOMB"],
)
def test_a_process_of_macos_is_what_its_kernel_says(
    monkeypatch: pytest.MonkeyPatch, stat: int, state: ProcessState
) -> None:
    kernel = Kernel({NO_PID: kinfo_proc(NO_PID, stat)})
    wear(monkeypatch, kernel)
    mac = MacProcesses()
    assert mac.state(NO_PID, TOKEN) is mac.state(NO_PID, "") is state
    assert mac.state(NO_PID, "another") is ProcessState.REUSED
    assert mac.start_of(NO_PID) == ("" if state is ProcessState.ZOMBIE else TOKEN)
    assert kernel.asked[0] == [1, 14, 1, NO_PID]  # CTL_KERN, KERN_PROC, KERN_PROC_PID.


@needs_null_signals
@pytest.mark.usefixtures("without_psutil")
def test_a_zombie_of_macos_is_refused_where_a_live_process_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wear(monkeypatch, Kernel({NO_PID: kinfo_proc(NO_PID, 5)}))
    with pytest.raises(NoSuchProcess):
        start_of(MacProcesses(), NO_PID)


@needs_null_signals
@pytest.mark.usefixtures("without_psutil")
@pytest.mark.parametrize("pid", [NO_PID, 0, -1, 2**31, 2**32 + 7, 10**30])
def test_what_macos_has_no_process_for_is_gone(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    wear(monkeypatch, Kernel({7: kinfo_proc(7)}))
    assert kernel_macos.process(pid) is None
    if pid > 0:
        assert MacProcesses().state(pid, TOKEN) is ProcessState.GONE
    assert MacProcesses().start_of(pid) == ""


@needs_null_signals
@pytest.mark.usefixtures("without_psutil")
def test_a_process_that_a_sandbox_does_not_show_is_unreadable_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    wear(monkeypatch, Kernel(process=errno.EPERM))
    mac = MacProcesses()
    assert mac.state(os.getpid(), TOKEN) is ProcessState.UNREADABLE
    assert mac.state(NO_PID, TOKEN) is ProcessState.GONE
    assert mac.start_of(os.getpid()) == start_of(mac, os.getpid()) == ""


@pytest.mark.parametrize(
    "kernel",
    [
        object(),
        Kernel({os.getpid(): kinfo_proc(os.getpid())[:600]}),
        Kernel({os.getpid(): bytes(648)}),
        Kernel(process=errno.ENOMEM),
    ],
)
def test_where_its_answer_is_none_that_we_know_psutil_is_asked(monkeypatch: pytest.MonkeyPatch, kernel: object) -> None:
    pytest.importorskip("psutil", reason="psutil is not installed")
    told = PortableProcesses().start_of(os.getpid())
    wear(monkeypatch, kernel)
    if isinstance(kernel, Kernel) and kernel.told:  # It was made in another process, where pytest-xdist collects.
        kernel.told = {os.getpid(): next(iter(kernel.told.values()))}
    mac = MacProcesses()
    assert mac.start_of(os.getpid()) == told
    assert mac.state(os.getpid(), told) is ProcessState.RUNNING


@pytest.mark.usefixtures("without_psutil")
def test_an_identity_that_a_sandbox_refuses_is_empty_and_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOOP_HOST_ID", raising=False)
    monkeypatch.setattr(processes, "_known", {})
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        wear(patch, Kernel(boot=errno.EPERM))
        refused = MacProcesses().here()
        wear(patch, Kernel())
        told = MacProcesses().here()  # What could not be told is asked again.
    assert refused[:2] == ("", "pids of darwin")
    assert told[:2] == ("6E2A3F4B-0000-4000-8000-00000000000A", "pids of darwin")


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how many seconds psutil has seen the clock step: it moves each start by them, as it does since 7.1."""
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    steps = [0.0]
    told, booted = psutil.Process.create_time, psutil.boot_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: told(process) + steps[0])
    monkeypatch.setattr(psutil, "boot_time", lambda: float(int(booted + steps[0])))
    return steps


def needs_two_starts_of_psutil() -> None:
    """One moves with the clock, and one stays. On Windows, and before 7.1, psutil has one, which is not moved."""
    inner: Any = sys.modules["psutil"].Process()
    try:
        inner._proc.create_time(monotonic=True)
    except TypeError:
        pytest.skip("this psutil tells one start of a process, which no clock moves")


@pytest.mark.parametrize("step", [-86_400.0, -1.5, 0.4, 3600.25])
@pytest.mark.parametrize("platform", ["", "freebsd14", "openbsd7", "netbsd10"])
def test_no_step_of_the_clock_makes_a_later_process_of_one_that_runs(
    stepped: list[float], monkeypatch: pytest.MonkeyPatch, platform: str, step: float
) -> None:
    if not kernel_bsd.moves(platform):
        needs_two_starts_of_psutil()
    portable = PortableProcesses()
    with monkeypatch.context() as patch:
        if platform:
            patch.setattr(sys, "platform", platform)
        before = portable.start_of(os.getpid())
        stepped[0] = step
        after = portable.state(os.getpid(), before)
    assert before
    assert after in (ProcessState.RUNNING, ProcessState.UNREADABLE)
    assert platform or after is ProcessState.RUNNING


def test_a_later_process_is_told_from_an_earlier_one_by_what_the_boot_was_before_it() -> None:
    first, later = kernel_bsd.since_boot(5000.25, 1000.0), kernel_bsd.since_boot(5100.0, 1000.0)
    stepped = kernel_bsd.since_boot(5000.25 + 3600.5, 1000.0 + 3600.0)
    assert kernel_bsd.told_apart(first, later)
    assert not kernel_bsd.told_apart(first, stepped)
    for earlier_versions in ("1764322683.120456", "", "never", "since boot: nan", "since boot: x"):
        assert not kernel_bsd.told_apart(earlier_versions, first)
        assert not kernel_bsd.told_apart(first, earlier_versions)


@pytest.mark.parametrize("jailed", [False, True])
def test_a_jail_is_no_namespace_that_others_are_in(monkeypatch: pytest.MonkeyPatch, jailed: bool) -> None:
    class Libc:
        def sysctlbyname(self, name: bytes, answer: object, size: object, *none: object) -> int:
            if name != b"security.jail.jailed":
                return -1
            ctypes.memmove(answer, struct.pack("=i", jailed), 4)  # type: ignore[arg-type]
            size._obj.value = 4  # type: ignore[attr-defined]
            return 0

    wear(monkeypatch, Libc())
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert kernel_bsd.namespace() == ("" if jailed else "pids of freebsd14")
    assert kernel_bsd.boot_id() == ""  # One that has none, which is not made up.


@needs_zombies
def test_a_zombie_is_refused_by_whatever_tells_of_processes() -> None:
    pytest.importorskip("psutil", reason="psutil is not installed")
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        for system in (PortableProcesses(), processes.SYSTEM):
            with pytest.raises(NoSuchProcess):
                start_of(system, process.pid)
    finally:
        process.wait()
