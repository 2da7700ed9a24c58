"""What the figures were measured on, and with: without it they say nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from contenders import PACKAGES
from setting import Setting

from looop_portable.system.mounts import mount_of


def description(setting: Setting) -> dict[str, str]:
    """Told before anything is measured: afterwards, the load is the measurement's own."""
    return {
        "Processor": processor(),
        "System": f"{platform.system()} {platform.release()}",
        "Filesystems": f"tmpfs: {filesystem(setting.memory)}; disk: {filesystem(setting.disk)}",
        "Load before": f"{os.getloadavg()[0]:.2f} (in the minute before; 0 is an idle machine)",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Versions": ", ".join([f"{name} {version(name)}" for name in PACKAGES] + flock()),
    }


def processor() -> str:
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    lines = [line.split(":", 1) for line in told.splitlines() if ":" in line]
    facts = {key.strip(): value.strip() for key, value in lines}
    virtual = ", of a virtual machine" if "hypervisor" in facts.get("flags", "").split() else ""
    return f"{facts.get('model name', platform.machine())}, {len(os.sched_getaffinity(0))} cores{virtual}"


def filesystem(directory: str) -> str:
    mount = mount_of(directory)
    return f"{mount.type if mount else 'unknown'} ({directory})"


def flock() -> list[str]:
    command = shutil.which("flock")
    if command is None:
        return []
    return [subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout.strip()]
