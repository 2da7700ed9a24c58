"""The real looop: its verbs, its sessions and its reaper, as processes that share a directory with us."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PATIENCE = 30.0
"""Seconds after which a process that has not done what it was started for is taken for hanging."""

BEAT = "sensors ok"
"""What a pulse says after it has sensed, which it does after it has reaped."""

OLDEST_WITH_VERBS_OF_ITS_OWN = (0, 57)
"""Since then it is `looop claim`, before it was `looop _ claim`; and since then it flocks `claims/.dirlock`."""


OLDEST_THAT_FAILS_CLOSED = (1, 0)
"""Since then it takes nobody for dead whom it cannot look at, and grants nothing to whoever has no session id."""


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


class Rust:
    """One looop binary. `home`: a directory for what it wants of the system: a home, and agents on PATH that do nothing."""

    def __init__(self, path: str, home: Path) -> None:
        self.path = path
        self.home = home
        found = subprocess.run([path, "version"], capture_output=True, text=True, check=True, timeout=PATIENCE)
        self.version = found.stdout.split()[-1]
        version = tuple(int(part) for part in self.version.split(".")[:2])
        self.flocks = version >= OLDEST_WITH_VERBS_OF_ITS_OWN
        self.fails_closed = version >= OLDEST_THAT_FAILS_CLOSED
        self._internal = () if self.flocks else ("_",)
        for name in ("pi", "claude"):
            agent = home / "agents" / name
            agent.parent.mkdir(parents=True, exist_ok=True)
            agent.write_text("#!/bin/sh\nexit 1\n")
            agent.chmod(0o755)

    def environment(self, data_dir: Path) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("LOOOP", "XDG", "BABYSIT"))}
        path = f"{self.home}/agents{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**mine, "PATH": path, "HOME": str(self.home), "LOOOP_DATA_DIR": str(data_dir)}

    def command(self, verb: str, *args: str) -> list[str]:
        return [self.path, *self._internal, verb, *args]

    def run(self, data_dir: Path, verb: str, *args: str) -> Said:
        done = subprocess.run(
            self.command(verb, *args),
            env=self.environment(data_dir),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def list_sessions(self, data_dir: Path) -> list[dict[str, object]]:
        """All that it knows of, dead ones too."""
        verb = ("worker", "list", "--json", "--all") if self.flocks else ("ls", "--json")
        done = subprocess.run(
            [self.path, *verb], env=self.environment(data_dir), capture_output=True, check=True, timeout=PATIENCE
        )
        found: list[dict[str, object]] = json.loads(done.stdout)
        return found

    def start(self, data_dir: Path, session: str) -> subprocess.Popen[bytes]:
        """A real session, alive when this returns. What returns is its supervisor: with that it lives and dies."""
        log = self.home / f"{session}.log"
        # The terminal that it gives to the command hangs up when the supervisor dies, which ends the command too.
        with log.open("wb") as file:
            process = subprocess.Popen(
                [self.path, "run", "--detached-id", session, "--root", str(data_dir), "--", "sleep", "3600"],
                env=self.environment(data_dir),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        status = data_dir / "sessions" / session / "status.json"

        def runs() -> bool:
            assert process.poll() is None, f"the session {session} of looop {self.version} has ended: {log.read_text()}"
            meta = status.with_name("meta.json")
            return state_of(status) == "running" and json.loads(meta.read_bytes())["babysit_pid"] == process.pid

        wait_until(runs)
        return process

    def reap(self, data_dir: Path, **environment: str) -> list[str]:
        """One beat of the pulse, whose first act is to reap. The claims that it says it has reaped."""
        said = ""

        def beats() -> bool:
            nonlocal said
            said = self._beat(data_dir, environment)
            # A child that the last pulse was about to become somebody else in has kept its flock beyond its death.
            assert BEAT in said or "already running" in said, said
            return BEAT in said

        wait_until(beats)
        # 0.14.0 tells the file's name.
        return [name.removesuffix(".json") for name in re.findall(r"reaped stale claim (\S+) \(session", said)]

    def _beat(self, data_dir: Path, environment: dict[str, str]) -> str:
        """What a pulse says until it has beaten once, or has ended."""
        log = self.home / f"pulse-{os.urandom(4).hex()}.log"
        with log.open("wb") as file:
            pulse = subprocess.Popen(
                self.command("pulse"),
                env=self.environment(data_dir) | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            wait_until(lambda: pulse.poll() is not None or BEAT in log.read_text())
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {log.read_text()}") from error
        finally:
            pulse.send_signal(signal.SIGKILL)  # It would beat again in a minute.
            pulse.wait()
        said = log.read_text()
        log.unlink()
        return said


def state_of(status: Path) -> object:
    try:
        return json.loads(status.read_bytes()).get("state")
    except FileNotFoundError:
        return None


def events(log: Path) -> list[dict[str, object]]:
    """All whole lines."""
    try:
        lines = log.read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def wait_until(done: Callable[[], bool]) -> None:
    """Look until it is so. Raises TimeoutError."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {PATIENCE} s")
        time.sleep(0.002)
