"""Surroundings of real systems, made of namespaces and mounts: what runs in one, and is asked for from outside.

Each has mounts of its own, which go with it, and so does whatever was started in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from support.capabilities import skip_unless_possible

PROC = "mount -t proc proc /proc"
"""All is as it should be."""
SUBSET = "mount -t proc -o subset=pid proc /proc"
"""As systemd's ProcSubset=pid: of /proc there are the processes and nothing else, so no boot id."""
FOREIGN = "true"
"""/proc is that of another pid namespace."""
ALL_BUT_PROC = """
mount -t tmpfs tmpfs "$ROOM"
for each in /*; do
    case $each in /proc | /sys) continue ;; esac
    if [ -L "$each" ]; then cp -P "$each" "$ROOM/"
    elif [ -d "$each" ]; then mkdir "$ROOM$each" && mount --rbind "$each" "$ROOM$each"
    fi
done
"""
"""A root directory in $ROOM, from which all can be seen but /proc."""
_SERVES = """
import json, os, signal, subprocess, sys
for line in sys.stdin:
    verb, *args = json.loads(line)
    if verb == "idle":
        idler = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"])
        answer = idler.pid
    elif verb == "kill":
        answer = os.kill(args[0], signal.SIGKILL)
    elif verb == "end":
        answer = idler.kill() or idler.wait()
    else:
        done = subprocess.run([sys.executable, "-m", "looop_portable", *args], capture_output=True, text=True)
        answer = [done.returncode, done.stdout, done.stderr]
    print(json.dumps(answer), flush=True)
"""
_UNSHARED = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Room:
    """A process that runs `looop`, after `prepare` (for sh). `wrapper` comes before it: another root, or another user."""

    def __init__(
        self, prepare: str, wrapper: tuple[str, ...] = (), room: Path = Path("/"), env: Mapping[str, str] | None = None
    ) -> None:
        env = {**os.environ, **(env or {}), "ROOM": str(room), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        script = f'set -e; {prepare}\nexec "$@"'
        command = [*_UNSHARED, "sh", "-c", script, "sh", *wrapper]
        skip_unless_possible(
            f"a room made by {' '.join([*_UNSHARED, *prepare.split(), *wrapper])}", "env", *_with(env, command)
        )
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*command, sys.executable, "-c", _SERVES], stdin=pipe, stdout=pipe, text=True, env=env
        )

    def looop(self, *args: str) -> Done:
        return Done(*self._ask("looop", *args))

    def idle(self) -> int:
        """Start a process that does nothing; its id in there."""
        return int(self._ask("idle"))

    def end(self) -> None:
        """End that, and leave no zombie."""
        self._ask("end")

    def kill(self, pid: int) -> None:
        self._ask("kill", pid)

    def enter(self, group: Path) -> None:
        """From now on it, and whatever it starts, is in the cgroup `group`."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        (group / "cgroup.procs").write_text(children[0])

    def _ask(self, *words: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _with(env: Mapping[str, str], command: list[str]) -> list[str]:
    """What tries whether a room can be made: in the same environment, and nothing is run there."""
    return [f"ROOM={env['ROOM']}", *command, "true"]


def without_proc(directory: Path, **rest: Any) -> Room:
    """A room whose root is below `directory`, and has no /proc."""
    root = directory / "root"
    root.mkdir(exist_ok=True)
    return Room(ALL_BUT_PROC, ("chroot", str(root)), root, **rest)
