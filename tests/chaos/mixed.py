"""Chaos on one directory among processes of different backends and of different systems, killed in the middle.

    python tests/chaos/mixed.py [--native 4] [--wine 4] [--backends posix] [--seconds 60] [--names 3] [--directory DIR]

`--native` processes run on this Python and take turns at `--backends`; `--wine` ones run on the Windows Python that
$WINDOWS_PYTHON names (default: ../shared/windows/python beside the checkout), with the backend `windows`. Of each kind one
is a reaper. Prints a table. Exit 1: an overlap, a generation that did not grow, a lost claim, a stuck name, a failure.

The oracle is an arbiter in this process, which knows nothing of claims. Each member says `enter` after it has won and
`leave` before it releases (see member.py), and waits to be heard. A violation is:
  overlap     one enters a name while another is inside that has not been killed
  generation  what it won is not above all that ever entered this name
  lost        its release is refused, or says that it was let go before
Why there is no false alarm: whoever leaves is heard before it releases. A kill is noted before it is done, by the thread
that hears, so whoever comes in after a death finds it noted.
What it cannot see: an overlap with one that is killed before the other's `enter` is read, which takes microseconds.

A killed one is told dead by its own kind only: of another system's sessions nothing is known on the same machine until
they give heartbeats. So each kind takes over from its own. In the end, when all are dead, one of each kind is started, and
every name must be won once more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import looop_portable

MEMBER = Path(__file__).with_name("member.py")
VIOLATIONS = ("overlap", "generation", "lost", "stuck", "failed")
PATIENCE = 60.0
"""Seconds: for a process to start, or to end."""


def windows_python() -> str:
    """Where the Windows Python is; empty if there is none."""
    named = os.environ.get("WINDOWS_PYTHON") or str(Path(__file__).parents[3] / "shared" / "windows" / "python")
    return named if os.access(named, os.X_OK) else ""


class Slot(NamedTuple):
    """A place for one process after the other. `system`: native or wine."""

    system: str
    backend: str
    reaper: bool


class Life:
    """One process, from its start to its death, as the arbiter sees it."""

    def __init__(self, number: int, slot: int, process: subprocess.Popen[bytes], token: str) -> None:
        self.number, self.slot, self.process, self.token = number, slot, process, token
        self.killed_at = 0.0


class Table:
    """What has been counted, by backend."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self.facts: list[str] = []
        self.slowest = 0.0

    def add(self, what: str, backend: str, number: int = 1) -> None:
        self.counts[what, backend] = self.counts.get((what, backend), 0) + number

    def total(self, what: str) -> int:
        return sum(number for (kind, _), number in self.counts.items() if kind == what)

    def accuse(self, violation: str, backend: str, fact: str) -> None:
        self.add(violation, backend)
        self.facts.append(f"{violation}: {fact}")


class Arbiter:
    """Hears everybody, and judges. One thread, so that what it notes has an order."""

    def __init__(self, slots: list[Slot], table: Table) -> None:
        self.slots, self.table = slots, table
        self.lives: dict[int, Life] = {}
        self._inside: dict[str, Life] = {}
        self._top: dict[str, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(max(seconds, 0)):
            if key.data is None:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(connection, selectors.EVENT_READ, [connection, b"", None])
            else:
                self._hear(key.data)

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _hear(self, line: list[object]) -> None:
        connection = line[0]
        assert isinstance(connection, socket.socket)
        try:
            data = connection.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()
            return
        assert isinstance(line[1], bytes)
        *whole, line[1] = (line[1] + data).split(b"\n")
        for said in whole:
            words = said.decode().split(" ", 2)
            if words[0] == "hello":
                line[2] = self.lives[int(words[2])]
            else:
                assert isinstance(line[2], Life)
                self._judge(line[2], words)
            with contextlib.suppress(ConnectionError):  # It has been killed meanwhile.
                connection.sendall(b"ok\n")

    def _judge(self, life: Life, words: list[str]) -> None:
        backend = self.slots[life.slot].backend
        if words[0] == "enter":
            self._enter(life, words[1], int(words[2]), backend)
        elif words[0] == "leave":
            if self._inside.get(words[1]) is life:
                del self._inside[words[1]]
        elif words[1] in ("refused", "reaped"):
            self.table.add(words[1], backend, int(words[2]))
        elif words[1] == "trouble":
            self.table.facts.append(f"trouble: {words[2]}")
        else:
            self.table.accuse(words[1], backend, words[2])

    def _enter(self, life: Life, name: str, generation: int, backend: str) -> None:
        if life.killed_at:
            return  # The last words of a dead one. Nobody can be overlapped by it.
        other = self._inside.get(name)
        if other and not other.killed_at:
            self.table.accuse("overlap", backend, f"{name}: life {life.number} at {generation}, life {other.number} inside")
        if generation <= self._top.get(name, 0):
            self.table.accuse("generation", backend, f"{name}: won {generation} after {self._top[name]}")
        if other and other.killed_at:
            self.table.add("takeovers", backend)
            self.table.slowest = max(self.table.slowest, time.monotonic() - other.killed_at)
        self._inside[name] = life
        self._top[name] = max(generation, self._top.get(name, 0))
        self.table.add("acquisitions", backend)

    def top(self, name: str) -> int:
        """The highest generation that ever entered."""
        return self._top.get(name, 0)

    def holds(self, life: Life) -> bool:
        return life in self._inside.values()


class Chaos:
    """Starts, kills, and starts anew."""

    def __init__(self, slots: list[Slot], directory: str, library: str, names: int, seed: int) -> None:
        self.table = Table()
        self.arbiter = Arbiter(slots, self.table)
        self.slots, self.directory, self.library, self.names, self.seed = slots, directory, library, names, seed
        self.random = random.Random(seed)
        self.living: dict[int, Life] = {}

    def run(self, seconds: float) -> None:
        try:
            for slot in range(len(self.slots)):
                self.start(slot)
            end = time.monotonic() + seconds
            strike = time.monotonic() + 1
            while time.monotonic() < end and self.table.total("failed") < 20:
                self.arbiter.listen(strike - time.monotonic())
                if time.monotonic() >= strike:
                    self.strike()
                    strike = time.monotonic() + self.random.random() * 0.4
        finally:
            for life in list(self.living.values()):
                self.kill(life)
        self.afterwards()
        self.arbiter.close()

    def start(self, slot: int) -> Life:
        number, token = len(self.arbiter.lives) + 1, uuid.uuid4().hex
        options = {"port": self.arbiter.port, "slot": slot, "life": number, "names": self.names, "token": token}
        options |= {"directory": self.directory, "backend": self.slots[slot].backend, "seed": f"{self.seed}-{number}"}
        python = windows_python() if self.slots[slot].system == "wine" else sys.executable
        command = [
            python,
            str(MEMBER),
            *(word for key, value in options.items() for word in (f"--{key}", str(value))),
        ]
        command += ["--reaper"] if self.slots[slot].reaper else []
        environment = {**os.environ, "PYTHONPATH": self.library}
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        life = Life(number, slot, process, token)
        self.arbiter.lives[number] = self.living[slot] = life
        return life

    def strike(self) -> None:
        for slot, life in list(self.living.items()):
            if life.process.poll() is not None:
                self.table.accuse(
                    "failed", self.slots[slot].backend, f"life {life.number} ended by itself: {life.process.returncode}"
                )
                self.start(slot)
        inside = [life for life in self.living.values() if self.arbiter.holds(life)]
        pick = inside if inside and self.random.random() < 0.6 else list(self.living.values())
        life = self.random.choice(pick)
        self.kill(life)
        self.start(life.slot)

    def kill(self, life: Life) -> None:
        """It is dead, for its own kind too, some time after this returns. What it says no longer counts."""
        life.killed_at = time.monotonic()
        self.table.add("kills", self.slots[life.slot].backend)
        if self.slots[life.slot].system == "wine":
            for pid in processes_with(life.token):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        life.process.kill()
        life.process.wait(PATIENCE)
        del self.living[life.slot]

    def afterwards(self) -> None:
        """All are dead. Whoever comes next of each kind wins what its kind has left; so each name is won by somebody."""
        left = {f"name-{number}": self.arbiter.top(f"name-{number}") for number in range(self.names)}
        heirs = [
            self.start(min(slot for slot, found in enumerate(self.slots) if found.system == system and not found.reaper))
            for system in sorted({slot.system for slot in self.slots})
        ]
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and any(self.arbiter.top(name) == top for name, top in left.items()):
            self.arbiter.listen(0.1)
        for name, top in left.items():
            if self.arbiter.top(name) == top:
                self.table.accuse("stuck", "", f"{name}: nobody gets it after generation {top}")
        for heir in heirs:
            self.kill(heir)


def processes_with(token: str) -> list[int]:
    """The processes on this machine whose command line has `token`: a process under Wine is one of Linux too."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if token.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
    return found


def show(table: Table, slots: list[Slot], seed: int, seconds: float) -> None:
    backends = list(dict.fromkeys(slot.backend for slot in slots))
    print(f"seed {seed}, {seconds:.0f} s, slowest takeover {table.slowest * 1e3:.0f} ms")
    print(f"{'':14}", *(f"{backend:>10}" for backend in backends))
    for what in ("acquisitions", "refused", "takeovers", "reaped", "kills", *VIOLATIONS):
        print(f"{what:14}", *(f"{table.counts.get((what, backend), 0):>10}" for backend in backends))
    for fact in table.facts[:20]:
        print(" ", fact)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Chaos of several systems: see the head of this file.")
    parser.add_argument("--native", type=int, default=4)
    parser.add_argument("--wine", type=int, default=0)
    parser.add_argument("--backends", default="windows" if sys.platform == "win32" else "posix")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--names", type=int, default=3)
    parser.add_argument("--directory", help="what is under test (default: a new one)")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args(arguments)
    if given.wine and not windows_python():
        parser.error("there is no Windows Python: set WINDOWS_PYTHON")
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    backends = given.backends.split(",")
    slots = [Slot("native", backends[n % len(backends)], n == given.native - 1) for n in range(given.native)]
    slots += [Slot("wine", "windows", n == given.wine - 1) for n in range(given.wine)]
    with tempfile.TemporaryDirectory(prefix="mixed-", dir=given.directory, ignore_cleanup_errors=True) as base:
        # The package alone: what is installed beside it here is for this system.
        library = f"{base}/library"
        shutil.copytree(
            Path(looop_portable.__file__).parent, f"{library}/looop_portable", ignore=shutil.ignore_patterns("__pycache__")
        )
        chaos = Chaos(slots, f"{base}/data", library, given.names, seed)
        began = time.monotonic()
        chaos.run(given.seconds)
        show(chaos.table, slots, seed, time.monotonic() - began)
    return 1 if any(map(chaos.table.total, VIOLATIONS)) else 0


if __name__ == "__main__":
    sys.exit(main())
