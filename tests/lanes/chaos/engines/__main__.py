"""Chaos on a real server: processes that hold claims, as hosts to each other, are killed and stopped, and so is the server.

    cd tests && python -m lanes.chaos.engines --server redis [--seconds 60] [--processes 8] [--names 6] [--seed N]
        [--log FILE] [--fault NAME]

`--server`: see STAGES in scenes.py, or `all`, one after the other. It is started on loopback, with a directory of its own.
It is killed and started again, stopped for longer than the lease, killed and started again after longer than the lease. Of
`redis-failover` the master is killed, or stopped (`redis-two-masters`), three times; each time a replica is promoted that
lacks what was confirmed last. The processes hold by `hold`, with a lease of 3 s. They are killed by SIGKILL, and stopped by
SIGSTOP for up to 7.5 s, mostly while they hold. In the end nobody is struck any more, and each name must be won; then all
are killed, and each must be won by who comes after.

Prints a table. Exit 1: what witness.py calls a violation. `--log`: all that was done and said, a line each, with its time.
`--fault`: one that is put into the product, for the harness to find (faults.py).
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from .faults import FAULTS
from .holder import Task, become
from .scenes import STAGES, Missing, Stage, play
from .witness import COUNTS, LEASE, VIOLATIONS, Witness

PAUSE = 1.6
"""Seconds, at most, between two strikes."""
STOP = 2.5 * LEASE
PATIENCE = 30.0
"""Seconds within which each name is to be won, once nobody is struck."""
BEFORE = STOP + 1.0
PATIENT = 2
MANY = 20


class Harness:
    def __init__(self, stage: Stage, names: int, processes: int, seconds: float, seed: int) -> None:
        self.stage, self.processes, self.seconds = stage, processes, seconds
        self.random = random.Random(seed)
        self.witness = Witness()
        self.names = tuple(f"name-{number}" for number in range(names))
        self.place = tempfile.TemporaryDirectory(
            prefix="chaos-engines-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
        )
        self.task = Task(self.witness.port, stage.url, self.place.name, self.names, LEASE + 1.0, seed)
        self.pids: dict[int, tuple[int, int]] = {}
        """By slot: which process, and which life."""
        self.continues: dict[int, float] = {}
        self.lives = 0
        self.heirs_took = self.calm_took = 0.0
        self.strikes_at: list[float] = []
        """When the server is struck."""
        self._said: set[str] = set()
        self._unread = b""

    def run(self) -> None:
        self.director, self.line = play(self.stage, self.seconds)
        self.witness.watch(self.line, self._hear_of_server)
        try:
            self._until(lambda: "ready" in self._said, 120)
            for slot in range(self.processes):
                self.start(slot)
            self._until(lambda: bool(self.witness.counts.get("acquired")), 120)  # A new store of Redis's settles first.
            self.line.sendall(b"x")
            self.strikes_at = [time.monotonic() + at for at, _ in self.stage.long(self.seconds)]
            self.strike_for(self.seconds)
            self.calm()
        finally:
            self.kill_all()
            self.line.close()
            os.waitpid(self.director, 0)
            self.place.cleanup()

    def strike_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        due = time.monotonic() + 1
        while time.monotonic() < end and len(self.witness.facts) < MANY:
            self.witness.listen(min([due, *self.continues.values()]) - time.monotonic())
            now = time.monotonic()
            for slot in [slot for slot, at in self.continues.items() if at <= now]:
                self.resume(slot)
            self.bury()
            if now >= due:
                self.strike()
                due = time.monotonic() + self.random.random() * PAUSE

    def calm(self) -> None:
        """Nobody is struck any more. Each name is won; and once more by heirs, after all have been killed."""
        for slot in list(self.continues):
            self.resume(slot)
        self._until(lambda: "over" in self._said, 60)
        self.calm_took = self._all_are_won("in calm")
        self.kill_all()
        self.witness.note("all are dead")
        self.task = self.task._replace(is_brief=True)
        for slot in range(2):
            self.start(slot)
        self.heirs_took = self._all_are_won("by heirs")

    def _all_are_won(self, how: str) -> float:
        """How long it took."""
        began = time.monotonic()
        self._until(lambda: all(self.witness.entered_since(name, began) for name in self.names), PATIENCE)
        for name in self.names:
            if not self.witness.entered_since(name, began):
                self.witness.accuse("stuck", f"{name}: nobody gets it within {PATIENCE:g} s, {how}")
        return time.monotonic() - began

    def _until(self, is_so: object, patience: float) -> None:
        assert callable(is_so)
        end = time.monotonic() + patience
        while not is_so() and time.monotonic() < end:
            self.witness.listen(0.1)
            self.bury()

    def _hear_of_server(self) -> None:
        *whole, self._unread = (self._unread + self.line.recv(65536)).split(b"\n")
        for said in whole:
            what, *more = said.decode().split(" ", 2)
            self._said.add(what)
            if what == "down":
                self.witness.out(more[1], float(more[0]))
            elif what == "up":
                self.witness.back(float(more[0]))
            elif what == "failed":
                self.witness.accuse("failed", f"the server: {' '.join(more)}")
                self._said |= {"ready", "over"}

    # One process each.

    def start(self, slot: int) -> None:
        self.lives += 1
        self.witness.starts(self.lives, slot)
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            become(self.task._replace(is_patient=slot < PATIENT), self.lives, f"host {slot}")
        self.pids[slot] = pid, self.lives

    def strike(self) -> None:
        well = [slot for slot in self.pids if slot not in self.continues and not self._is_spared(slot)]
        holding = [slot for slot in well if self.witness.lives[self.pids[slot][1]].inside]
        if not well:
            return
        slot = self.random.choice(holding if holding and self.random.random() < 0.6 else well)
        if self.random.random() < 0.45:
            self.kill(slot)
            self.start(slot)
        else:
            self.stop(slot)

    def _is_spared(self, slot: int) -> bool:
        """The patient are while the server is away, and before: what they are told, and when, is to be seen."""
        now = time.monotonic()
        return slot < PATIENT and (self.witness.is_out or any(at - BEFORE < now < at + 1 for at in self.strikes_at))

    def stop(self, slot: int) -> None:
        pid, life = self.pids[slot]
        self.witness.stops(life)
        os.kill(pid, signal.SIGSTOP)
        most = self.random.choice((1.0, STOP, STOP))
        self.continues[slot] = time.monotonic() + self.random.random() * most

    def resume(self, slot: int) -> None:
        del self.continues[slot]
        pid, life = self.pids[slot]
        self.witness.continues(life)
        os.kill(pid, signal.SIGCONT)

    def kill(self, slot: int) -> None:
        self.continues.pop(slot, None)
        pid, life = self.pids.pop(slot)
        self.witness.kills(life)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def kill_all(self) -> None:
        for slot in list(self.pids):
            self.kill(slot)

    def bury(self) -> None:
        """Those that have ended by themselves, which nobody may."""
        for slot, (pid, life) in list(self.pids.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self.pids[slot]
                self.continues.pop(slot, None)
                self.witness.accuse("failed", f"life {life} has ended by itself")
                self.witness.lives[life].killed = time.monotonic()
                self.start(slot)


def table(server: str, harness: Harness, seed: int) -> dict[str, object]:
    witness = harness.witness
    count = witness.counts.get
    return {
        "server": server,
        "seed": seed,
        "load": f"{os.getloadavg()[0]:.1f}",
        "lives": harness.lives,
        **{what: count(what, 0) for what in COUNTS},
        "last told after": f"{witness.latest_told:.1f} s of an outage",
        "slowest takeover": f"{witness.slowest:.1f} s",
        "all won in calm": f"{harness.calm_took:.1f} s",
        "all won by heirs": f"{harness.heirs_took:.1f} s",
        **{f"! {what}": count(what, 0) for what in VIOLATIONS},
    }


def run(server: str, given: argparse.Namespace) -> int:
    """Whether anything was violated."""
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    try:
        stage = STAGES[server]()
    except (Missing, pytest.skip.Exception) as why:
        print(f"{server:24} was not run: {why}")
        return 0
    os.environ.update(stage.environment)
    if stage.module:
        importlib.import_module(stage.module)
    harness = Harness(stage, given.names, given.processes, given.seconds, seed)
    harness.run()
    for key, value in table(server, harness, seed).items():
        print(f"{key:24} {value}")
    print(*harness.witness.facts, sep="\n")
    if given.log:
        Path(given.log).write_text("\n".join(harness.witness.log) + "\n", encoding="utf-8")
    harness.witness.close()
    return int(harness.witness.violated)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Chaos on real servers: see the head of this file.")
    parser.add_argument("--server", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--names", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--log", help="a file for all that happened")
    parser.add_argument("--fault", choices=FAULTS, help="what is put back, for the harness to find")
    given = parser.parse_args(arguments)
    if given.fault:
        FAULTS[given.fault]()
    return max(run(server, given) for server in (STAGES if given.server == "all" else [given.server]))


if __name__ == "__main__":
    sys.exit(main())
