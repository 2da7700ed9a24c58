"""The two that share a directory, behind one interface: ours as the command is used, and the real looop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from looop_portable import Claims

from .rustlooop import PATIENCE, Rust, Said, state_of, wait_until

BACKEND = "advisory"
"""The backend of ours that shares a directory with looop."""

WON, ALREADY, HELD, RELEASED, REFUSED = "won", "already ours", "held", "released", "refused"


class Party:
    """Who claims in `data_dir`. Sessions that it has started live until they are killed, or the test ends."""

    name: str

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.sessions: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, verb: str, *args: str) -> Said:
        raise NotImplementedError

    def launch(self, session: str) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def end(self, session: str) -> None:
        """The session ends in peace: it says so itself, and its process goes."""
        raise NotImplementedError

    def reap(self) -> list[str]:
        """The claims that one sweep reaped."""
        raise NotImplementedError

    def sees_alive(self, session: str) -> bool:
        """Whether it takes the session, whoever started it, for alive."""
        raise NotImplementedError

    def start(self, session: str) -> None:
        self.sessions[session] = self.launch(session)

    def kill(self, session: str) -> None:
        """SIGKILL, and no zombie is left: looop takes a zombie for alive."""
        self.sessions[session].kill()
        self.sessions.pop(session).wait()

    def close(self) -> None:
        for session in list(self.sessions):
            self.kill(session)

    def claim(self, name: str, session: str) -> str:
        said = self.run("claim", name, "--session", session)
        if said == (0, f"claimed {name}\n", said.err):
            return WON
        if said[:2] == (0, ""):
            return ALREADY
        assert said[:2] == (1, ""), said
        start, _, holder = said.err.splitlines()[0].partition("held by live session ")
        assert start == f"claim {name}: ", said
        return f"{HELD} by {holder}"

    def unclaim(self, name: str, session: str) -> str:
        said = self.run("unclaim", name, "--session", session)
        if said[:2] == (0, ""):
            return RELEASED
        assert said[:2] == (1, ""), said
        assert said.err.startswith(f"unclaim {name}: held by another live session"), said
        return REFUSED


class Ours(Party):
    """looop-portable's command, a process each."""

    name = "ours"

    def __init__(self, data_dir: Path, backend: str = BACKEND) -> None:
        super().__init__(data_dir)
        self.backend = backend

    def run(self, verb: str, *args: str) -> Said:
        command = [sys.executable, "-m", "looop_portable", "--backend", self.backend, "--data-dir", str(self.data_dir)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LOOOP")}
        done = subprocess.run(
            [*command, verb, *args],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def launch(self, session: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
        said = self.run("session", "start", session, "--pid", str(process.pid), "--lease", "0")
        assert said.code == 0, said
        return process

    def end(self, session: str) -> None:
        assert self.run("session", "stop", session).code == 0
        self.kill(session)

    def reap(self) -> list[str]:
        said = self.run("reap")
        assert said.code == 0, said
        return [line.split()[1].rstrip(":") for line in said.out.splitlines() if line.startswith("reaped ")]

    def sees_alive(self, session: str) -> bool:
        found = self.library().sessions.status(session)
        return found is not None and not found.verdict.dead

    def generation(self, name: str) -> int:
        """The number of the claim's head."""
        return self.library().show(name).generation

    def holder(self, name: str) -> str:
        """Who holds it, as we see it; empty if nobody does."""
        lease = self.library().show(name).lease
        return lease.session if lease else ""

    def library(self) -> Claims:
        return Claims.open(str(self.data_dir), self.backend)


class Theirs(Party):
    """The real looop."""

    name = "looop"

    def __init__(self, data_dir: Path, rust: Rust) -> None:
        super().__init__(data_dir)
        self.rust = rust

    def run(self, verb: str, *args: str) -> Said:
        return self.rust.run(self.data_dir, verb, *args)

    def launch(self, session: str) -> subprocess.Popen[bytes]:
        return self.rust.start(self.data_dir, session)

    def end(self, session: str) -> None:
        wait_until((self.data_dir / "sessions" / session / "control.sock").exists)  # It is told so by its socket.
        said = self.run("kill", session)
        # It may have ended before it could answer, and then its own command takes it for one that had ended long ago.
        assert said.code == 0 or "has already finished" in said.err, said
        self.sessions.pop(session).wait()
        assert state_of(self.data_dir / "sessions" / session / "status.json") in ("exited", "killed")

    def sees_alive(self, session: str) -> bool:
        listed = self.rust.list_sessions(self.data_dir)
        return any(found["alive"] for found in listed if found["id"] == session)

    def reap(self) -> list[str]:
        return self.rust.reap(self.data_dir)


def shown(data_dir: Path, name: str) -> str:
    """Whose session `claims/NAME.json` shows: all that looop goes by. Empty if there is none."""
    try:
        return str(json.loads((data_dir / "claims" / f"{name}.json").read_bytes())["session"])
    except FileNotFoundError:
        return ""
