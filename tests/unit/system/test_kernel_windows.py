"""Who a Windows machine is, and which disk it has: by the kernel's word, whatever a process's environment says."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import NATIVE

from looop_portable import Claims
from looop_portable.protocol.liveness import are_two_kernels
from looop_portable.system.mounts import mount_of

pytest.importorskip("winreg", reason="there is no registry")

kernel_windows = importlib.import_module("looop_portable.system.processes.kernel_windows")

WHO = "from looop_portable.system.processes import SYSTEM, host; print(*SYSTEM.here()[:2], host())"
CLAIM = "import sys; from looop_portable import Claims; print(type(Claims.open(*sys.argv[1:3]).claim('n', 'two')).__name__)"
NAMES = ["OTHER", "with a space", "other", "", None]
"""Of the computer, in a process's environment; None: there is no such variable."""


def printed_by(program: str, name: str | None, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key.upper() != "COMPUTERNAME"}
    if name is not None:
        environment["COMPUTERNAME"] = name
    environment["_CLUSTER_NETWORK_NAME_"] = "CLUSTER"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_kernel_is_the_same_whatever_the_environment_calls_it() -> None:
    told = {printed_by(WHO, name) for name in NAMES}
    assert len(told) == 1
    assert told.pop().split()[-1].lower() not in {"other", "space", "cluster"}


@pytest.mark.parametrize("name", NAMES)
def test_a_live_holder_is_alive_to_who_is_told_another_name(tmp_path: Path, name: str | None) -> None:
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.sessions.register("one", lease_seconds=0)
    claims.claim("n", "one")
    assert printed_by(CLAIM, name, str(tmp_path), NATIVE) == "Held"
    program = "import sys; from looop_portable import Claims; print(Claims.open(*sys.argv[1:3]).show('n').verdict.evidence)"
    assert printed_by(program, name, str(tmp_path), NATIVE) == f"pid {os.getpid()} runs"


def test_each_of_two_containers_of_one_kernel_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = {"MachineGuid": "guid", "ContainerType": "2", "ComputerName": "A"}
    monkeypatch.setattr(kernel_windows, "_value", lambda key, value: registry.get(value, ""))
    one = kernel_windows.identity()
    registry["ComputerName"] = "B"
    assert kernel_windows.identity() != one
    del registry["ContainerType"]
    outside = kernel_windows.identity()
    registry["ComputerName"] = "renamed"
    assert kernel_windows.identity() == outside


def test_an_identity_that_an_earlier_version_made_up_tells_no_two_kernels_apart() -> None:
    assert not are_two_kernels(f"VM booted at {kernel_windows.boot_time()}", kernel_windows.identity())
    assert are_two_kernels("another", kernel_windows.identity())


def test_what_the_registry_does_not_tell_is_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_windows, "_value", lambda key, value: "")
    assert kernel_windows.identity() == ""


def test_a_disk_is_told_by_the_serial_number_of_its_volume(tmp_path: Path) -> None:
    mount = mount_of(str(tmp_path))
    assert mount
    if not mount.disk:
        pytest.skip(f"no disk that one kernel alone can have mounted: {mount}")
    assert mount.number == os.stat(tmp_path).st_dev & 0xFFFFFFFF
    assert mount.disk == f"win32 {mount.type} {mount.number:08x}"
    assert mount._replace(number=mount.number + 1).disk != mount.disk
