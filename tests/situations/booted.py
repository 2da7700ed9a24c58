"""A container in which a systemd has booted, with a network and control groups of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support.capabilities import program_or_skip

import looop_portable

SYSTEMD = "/usr/lib/systemd/systemd"
PATIENCE = 90.0
"""Seconds until a machine without devices has booted, which takes one, and until a unit has done what it does."""
_GROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_JOIN = 'for group in $GROUPS; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'


class Machine:
    """What has booted: programs run in it as root's."""

    def __init__(self, leader: int, root: Path) -> None:
        self._enter = ["nsenter", "--target", str(leader), "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--"]
        self.root = root

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LOOOP_DATA_DIR": "/var/lib/looop"}
        return subprocess.run(
            [*self._enter, *command], capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
        )

    def succeed(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, (
            command,
            done.stdout,
            done.stderr,
            self.run("journalctl", "-n", "40", "--no-pager").stdout,
        )
        return done.stdout.strip()

    def shown(self, unit: str, *properties: str) -> list[str]:
        """The properties of a unit, in the order in which they are asked for."""
        told = dict(line.split("=", 1) for line in self.succeed("systemctl", "show", unit).splitlines() if "=" in line)
        return [told[each] for each in properties]

    def until(self, unit: str, state: str) -> None:
        """Until the unit is in that state: active, inactive, failed."""
        self.wait(lambda: self.shown(unit, "ActiveState") == [state], unit)

    def wait(self, answers: Callable[[], bool], unit: str) -> None:
        """Until that is so; what `unit` has said is told where it never is."""
        ends = time.monotonic() + PATIENCE
        while not answers():
            assert time.monotonic() < ends, (unit, self.shown(unit, "ActiveState"), self.journal(unit))
            time.sleep(0.05)

    def process(self, *command: str) -> int:
        """A process that goes on: its id in there."""
        return int(self.succeed("sh", "-c", '"$@" >/dev/null 2>&1 & echo $!', "sh", *command))

    def journal(self, unit: str) -> str:
        """What the unit and systemd have said of it until now."""
        self.succeed("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--output=cat", "-u", unit).stdout


@contextmanager
def booted(aside: Path, files: dict[str, str]) -> Iterator[Machine]:
    """A machine that has these `files` too: a script where one begins so. Skips, and says why, where none boots."""
    for program in ("systemd-nspawn", "nsenter", SYSTEMD):
        program_or_skip(program)
    groups = _groups_or_skip()
    root = _root(aside, files)
    options = [
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--console=pipe",
        "--resolv-conf=off",
        "--timezone=off",
        "--boot",
        "--private-network",
    ]
    begin = ["systemd-nspawn", *options, *_binds(aside), "-D", str(root), "--", "systemd.unit=basic.target"]
    log = aside / "boot.log"
    with log.open("wb") as told:
        nspawn = subprocess.Popen(
            ["sh", "-c", _JOIN, "sh", *begin],
            env={**os.environ, "GROUPS": " ".join(groups)},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _wait_for(nspawn, root, log)
    finally:
        for leader in psutil.Process(nspawn.pid).children() if nspawn.poll() is None else ():
            leader.kill()  # And so all that is in there; nspawn ends by that.
        nspawn.wait()
        _remove(groups, root)


def _groups_or_skip() -> list[str]:
    """Control groups of its own. Without these, the first process in there would take those of this machine for its own."""
    made = []
    for place in _GROUPS:
        if os.path.exists(f"{place}/cgroup.procs"):
            with suppress(OSError):
                os.mkdir(f"{place}/looop-booted-{os.getpid()}")
                made.append(f"{place}/looop-booted-{os.getpid()}")
    return made or pytest.skip("no control group can be made, in which a systemd would boot")


def _wait_for(nspawn: subprocess.Popen[bytes], root: Path, log: Path) -> Machine:
    ends = time.monotonic() + PATIENCE
    said = "it has not answered"
    while nspawn.poll() is None and time.monotonic() < ends:
        for leader in psutil.Process(nspawn.pid).children():
            machine = Machine(leader.pid, root)
            done = machine.run("systemctl", "is-active", "basic.target")
            said = (done.stdout + done.stderr).strip()
            if done.stdout.strip() == "active":
                return machine
        time.sleep(0.1)
    pytest.skip(f"no systemd boots in a container here: {said}; {log.read_text(errors='replace').strip()[-300:]}")


def _binds(aside: Path) -> list[str]:
    """This Python, and what it imports, where no sandbox hides them: it hides /home, /root and /tmp."""
    binds = [f"--bind-ro={path}:/opt/path-{number}" for number, path in enumerate(_imported())]
    if sys.base_prefix != "/usr":
        binds.append(f"--bind-ro={sys.base_prefix}:/opt/python")
    return ["--bind-ro=/usr", *binds, f"--bind-ro={aside}/bin:/usr/local/bin"]


def _imported() -> list[str]:
    own = [os.path.dirname(os.path.dirname(looop_portable.__file__)), sysconfig.get_path("purelib")]
    return [*dict.fromkeys([*own, sysconfig.get_path("platlib")])]


def _script() -> str:
    paths = ":".join(f"/opt/path-{number}" for number, _ in enumerate(_imported()))
    prefix = "/usr" if sys.base_prefix == "/usr" else "/opt/python"
    python = f"{prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    begin = f'#!/bin/sh\nPYTHONPATH="{paths}" LD_LIBRARY_PATH=/opt/python/lib'
    return f'{begin} exec "{python}" -m looop_portable "$@"\n'


def _root(aside: Path, files: dict[str, str]) -> Path:
    root = aside / f"machine-{os.getpid()}"
    for each in ("usr", "etc/systemd/system", "tmp", "proc", "sys", "dev", "run", "var", "root", "opt"):
        (root / each).mkdir(parents=True)
    for each in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{each}"):
            (root / each).symlink_to(os.readlink(f"/{each}"))
    (root / "etc" / "os-release").touch()
    (root / "etc" / "machine-id").write_text(f"{uuid.uuid4().hex}\n")  # At a first boot all units would be enabled.
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n")
    (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o755 if text.startswith("#!") else 0o644)
    (aside / "bin").mkdir()
    script = aside / "bin" / "looop"
    script.write_text(_script())
    script.chmod(0o755)
    return root


def _remove(groups: list[str], root: Path) -> None:
    for group in groups:
        for where, _, _ in os.walk(group, topdown=False):
            os.rmdir(where)
    with suppress(OSError):
        os.rmdir(f"/run/systemd/nspawn/propagate/{root.name}")
