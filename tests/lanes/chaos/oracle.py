"""The oracle of chaos: what knows who holds, and nothing of us; and what a process has to tell it.

Each name has a file in a directory of its own (on a LOCAL filesystem, whatever is under test).
Who believes that it has won takes the kernel's flock on it without waiting, and drops it just before it lets go; the kernel
drops it for the dead. In the file stands the highest generation that ever won, read and written under the flock only. A
violation is:
  overlap     the flock is taken when we think that we have won
  generation  what we have won is not above all that has been won before (an adopted lease repeats one: this finds it too)
  lost        our session lives and never let go, and yet the release is refused, or our generation is not current
  identity    the same, with a flock for each session id: two live sessions of one id
Why there is no false alarm:
  - A holder drops the flock before it releases, so whoever wins after a release finds it free.
  - A killed process is told dead from its zombie or its absence. The kernel closes its files, and so drops the flock,
    before it makes a zombie of it (Linux: exit_files and exit_task_work run before exit_notify). A flock is of an open
    file, and a fork shares it, so each worker opens the files itself, after its fork, and forks nothing.
  - Nobody ever takes the flock only to look whether it is free, which would be in a winner's way.
  - A worker that ends its session itself drops the flock first.
  - Killed between the flock and the write, it leaves a lower number there, which only makes the next check easier to pass.
    The number is 8 aligned bytes, in one page: it is written or not.
Why the moments without the flock (from the win to the flock, from the unlock to the release) hide nothing: say A has won g,
and B is wrongly let in while A is in one of them. B won g' at that time.
  - g' <= g: the second of the two to look at the file finds a number that is not below its own.
  - g' > g, and A has not taken the flock yet: either they meet there, or B was there first and left its greater g', or A
    was, and left, and then its release finds g superseded: lost.
  - g' > g, and A has unlocked, but not released: A's release finds g superseded: lost.
  - Nobody has won, but A's claim was released by another while A lives: A's release ends nothing: lost.
  What is left is a release that lies as well; against that most holds are much longer than those moments.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import random
import struct
import time
from typing import NamedTuple

from looop_portable import Claims, LooopError

IDLE, TRYING, HOLDING, LEAVING = range(4)
RUNNING, STOPPED, KILLED = range(3)
BACKENDS = ("posix", "advisory", "auto")
WAITING = ("waits", "timeouts", "in slots", "several", "passers-by", "overtaken", "overtaken well", "overtaken in line")
SELDOM = (*(f"by {backend}" for backend in BACKENDS), *WAITING)
"""Counters of which nothing is said where there is nothing to count."""
COUNTERS = (
    "acquisitions",
    *SELDOM,
    "takeovers",
    "recoveries",
    "refusals",
    "abandoned",
    "reaped",
    "sweeps",
    "reaper_trouble",
)
VIOLATIONS = ("overlap", "generation", "lost", "identity", "stuck", "ticket", "failed")
PLACE = ("line", "came", "well", "longest", "calm", "done")
"""Of one that waits: see waiters.py."""
FIELDS = ("state", "fate", "stopped", "life", "slowest", "last", *PLACE, *COUNTERS, *VIOLATIONS)
MOST_LIVES = 1 << 16
RECORD = struct.Struct("@3q")


class Shared:
    """Words of 64 bits that all processes see: a row for each slot, the wins of each name, when each life was ended."""

    def __init__(self, slots: int, names: int) -> None:
        self.slots, self.names = slots, names
        size = slots * len(FIELDS) + names + MOST_LIVES
        self._words = memoryview(mmap.mmap(-1, size * 8)).cast("q")

    def get(self, slot: int, field: str) -> int:
        return self._words[slot * len(FIELDS) + FIELDS.index(field)]

    def put(self, slot: int, field: str, value: int) -> None:
        self._words[slot * len(FIELDS) + FIELDS.index(field)] = value

    def add(self, slot: int, field: str, value: int = 1) -> None:
        """Only ever by the slot's own process, or by the parent while there is none."""
        self.put(slot, field, self.get(slot, field) + value)

    def total(self, field: str) -> int:
        return sum(self.get(slot, field) for slot in range(self.slots))

    def wins(self, name: int) -> int:
        return self._words[self.slots * len(FIELDS) + name]

    def won(self, name: int) -> None:
        self._words[self.slots * len(FIELDS) + name] += 1

    def killed_at(self, life: int) -> int:
        return self._words[self.slots * len(FIELDS) + self.names + life]

    def kill(self, life: int) -> None:
        self._words[self.slots * len(FIELDS) + self.names + life] = time.monotonic_ns()


class Options(NamedTuple):
    processes: int
    seconds: float
    directory: str
    oracle: str
    names: int
    reapers: int
    seed: int
    backends: tuple[str, ...] = ("posix",)


class Record(NamedTuple):
    """What the oracle's file of a name says: the highest generation that won, whose, and whether it still holds."""

    generation: int
    life: int
    holding: int


class Oracle:
    """The kernel's word on who holds what, in one process. Made after the fork: a flock belongs to an open file."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._files: dict[str, int] = {}

    def take(self, name: str) -> bool:
        try:
            fcntl.flock(self._file(name), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def drop(self, name: str) -> None:
        fcntl.flock(self._file(name), fcntl.LOCK_UN)

    def read(self, name: str) -> Record:
        data = os.pread(self._file(name), RECORD.size, 0)
        return Record(*RECORD.unpack(data)) if data else Record(0, 0, 0)

    def write(self, name: str, record: Record) -> None:
        os.pwrite(self._file(name), RECORD.pack(*record), 0)

    def _file(self, name: str) -> int:
        if name not in self._files:
            self._files[name] = os.open(f"{self._directory}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        return self._files[name]


class Process:
    """What workers and reapers have in common: a slot, and a way to report."""

    def __init__(self, options: Options, shared: Shared, slot: int) -> None:
        self.options, self.shared, self.slot = options, shared, slot
        self.life = shared.get(slot, "life")
        self.random = random.Random(f"{options.seed} {self.life}")
        self.oracle = Oracle(options.oracle)
        self.backend = self.random.choice(options.backends)
        self.claims = Claims.open(options.directory, self.backend)

    def count(self, what: str) -> None:
        self.shared.add(self.slot, what)

    def accuse(self, violation: str, **facts: object) -> None:
        self.count(violation)
        line = json.dumps({"violation": violation, "slot": self.slot, "life": self.life, **facts}, default=str) + "\n"
        fd = os.open(f"{self.options.oracle}/violations", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, line.encode())
        os.close(fd)

    def cannot(self, action: str, error: LooopError) -> None:
        self.accuse("failed", action=action, error=f"{type(error).__name__}: {error}")
