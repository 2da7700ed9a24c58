"""Starts members (member.py), kills them, and starts others in their place, on one machine."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import looop_portable

from .arbiter import Arbiter, Distant
from .member import FENCED

MEMBER = Path(__file__).with_name("member.py")
PATIENCE = 60.0
"""Seconds: for a process to end once killed."""


def windows_python() -> str:
    """Where the Windows Python is; empty if there is none."""
    named = os.environ.get("WINDOWS_PYTHON") or str(Path(__file__).parents[4] / "shared" / "windows" / "python")
    return named if os.access(named, os.X_OK) else ""


def there() -> dict[str, str]:
    """The environment of another Python, which finds the package where we do: that may be the current directory."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(looop_portable.__file__).parents[1]), *sys.path])}


class Slot(NamedTuple):
    """A place for one process after the other. `system`: native or wine. `label`: what it is counted under."""

    system: str
    backend: str
    label: str
    reaper: bool = False


class Setting(NamedTuple):
    """What all members are told. `arbiter`: host and port. `library`: where the package is, and nothing else."""

    arbiter: tuple[str, int]
    directory: str
    library: str
    names: int
    seed: int
    first_life: int = 1
    pause: float = 0.4
    """Seconds, at most, between two strikes."""
    holds: float = 0.004
    """Seconds, at most, for which a member holds a claim."""
    wait: float = 0
    """Seconds, at most, for which a member waits for a claim; 0: it asks again and again."""
    lease: int = 0
    """Seconds for which a member may be silent; 0: it gives no heartbeats, and is taken for alive by other hosts."""


class Life(NamedTuple):
    """One process. `token`: a word of its command line that no other has."""

    number: int
    slot: int
    process: subprocess.Popen[bytes]
    token: str


class Harness:
    """Everybody is dead before and after each of `run` and `heirs`."""

    def __init__(self, slots: list[Slot], setting: Setting, arbiter: Arbiter | Distant) -> None:
        self.slots, self.setting, self.arbiter = slots, setting, arbiter
        self.random = random.Random(setting.seed + setting.first_life)
        self.living: dict[int, Life] = {}
        self.ended: list[str] = []
        self._lives = setting.first_life

    def run(self, seconds: float, enough: Callable[[], bool] = lambda: True) -> None:
        """For so long, and then until there is `enough` (a minute at most): how fast a machine is, nobody knows."""
        try:
            for slot in range(len(self.slots)):
                self.start(slot)
            end = time.monotonic() + seconds
            strike = time.monotonic() + self.setting.pause
            while len(self.ended) < 20 and (time.monotonic() < end or (time.monotonic() < end + PATIENCE and not enough())):
                self.arbiter.listen(strike - time.monotonic())
                if time.monotonic() >= strike:
                    self.strike()
                    strike = time.monotonic() + self.random.random() * self.setting.pause
        finally:
            self.kill_all()

    def start(self, slot: int) -> Life:
        number, token = self._lives, uuid.uuid4().hex
        self._lives += 1
        found, setting = self.slots[slot], self.setting
        options = {"host": setting.arbiter[0], "port": setting.arbiter[1], "life": number, "label": found.label}
        options |= {"names": setting.names, "directory": setting.directory, "backend": found.backend}
        options |= {
            "holds": setting.holds,
            "wait": setting.wait,
            "lease": setting.lease,
            "seed": f"{setting.seed}-{number}",
            "token": token,
        }
        command = [windows_python() if found.system == "wine" else sys.executable, str(MEMBER)]
        command += [word for key, value in options.items() for word in (f"--{key}", str(value))]
        command += ["--reaper"] if found.reaper else []
        environment = {**os.environ, "PYTHONPATH": setting.library}
        life = Life(number, slot, subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL), token)
        self.living[slot] = life
        return life

    def strike(self) -> None:
        for slot, life in list(self.living.items()):
            if life.process.poll() is not None:
                if life.process.returncode != FENCED:
                    self.ended.append(f"life {life.number} ended by itself: {life.process.returncode}")
                self.start(slot)
        inside = [life for life in self.living.values() if self.arbiter.holds(life.number)]
        pick = inside if inside and self.random.random() < 0.6 else list(self.living.values())
        life = self.random.choice(pick)
        self.kill(life)
        self.start(life.slot)

    def kill(self, life: Life) -> None:
        """It is dead, for its own kind too, some time after this returns."""
        slot = self.slots[life.slot]
        self.arbiter.killed(life.number, slot.label)
        if slot.system == "wine":
            for pid in _processes_with(life.token):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        life.process.kill()
        life.process.wait(PATIENCE)
        del self.living[life.slot]

    def kill_all(self) -> None:
        for life in list(self.living.values()):
            self.kill(life)

    def start_heirs(self) -> None:
        """One of each kind, of those that take over from their own kind only."""
        for system in sorted({slot.system for slot in self.slots}):
            self.start(min(n for n, slot in enumerate(self.slots) if slot.system == system and not slot.reaper))


def library_in(directory: str) -> str:
    """A copy of the package alone: what is installed beside it here is for this system."""
    shutil.copytree(
        Path(looop_portable.__file__).parent,
        f"{directory}/looop_portable",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return directory


def stuck(arbiter: Arbiter, names: int, patience: float) -> list[str]:
    """With heirs at work: the names that nobody has won anew within so many seconds."""
    left = {f"name-{number}": arbiter.top(f"name-{number}") for number in range(names)}
    end = time.monotonic() + patience
    while time.monotonic() < end and any(arbiter.top(name) == top for name, top in left.items()):
        arbiter.listen(0.1)
    return [f"{name}: nobody gets it after generation {top}" for name, top in left.items() if arbiter.top(name) == top]


def _processes_with(token: str) -> list[int]:
    """The processes on this machine whose command line has `token`: a process under Wine is one of Linux too."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if token.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
    return found
