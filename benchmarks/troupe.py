"""Processes of one contender that hand one thing over among each other, conducted from here.

Guarantees: times are those of the members, of one clock of this machine (CLOCK_MONOTONIC), taken in the process that waits
or lets go. While somebody holds, all others that were told to go are waiting.
Does not guarantee: that conducting costs nothing. Its messages are passed while somebody holds.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from figures import Turn
from member import ASKS, HAS, READY, RECORD, RELEASES, Pipes

MEMBER = (str(Path(__file__).with_name("member.py")),)
PATIENCE = 60.0  # Seconds without a word, after which a contender is taken for hanging.
SPACING = 0.01  # Seconds between two that begin to wait. Were it none, all that poll would do it at the same moment.
SETTLE = 0.2  # Seconds that a member that has asked may take until it waits.


class Event(NamedTuple):
    member: int
    what: bytes
    when: int


class Troupe:
    """`turns` and `asking` are what has happened; `asking` is by member, since when it waits."""

    def __init__(self, name: str, directory: str, size: int, member: Sequence[str] = MEMBER) -> None:
        self.name = name
        self.turns: list[Turn] = []
        self.asking: dict[int, int] = {}
        self._children = [0] * size
        self._holding: dict[int, int] = {}
        self._events: deque[Event] = deque()
        self._selector = selectors.DefaultSelector()
        asked, told = [os.pipe() for _ in range(size)], [os.pipe() for _ in range(size)]
        theirs = [Pipes(read, write) for (read, _), (_, write) in zip(asked, told, strict=True)]
        self._leader = subprocess.Popen(
            [sys.executable, *member, name, directory, *(f"{read},{write}" for read, write in theirs)],
            pass_fds=[pipe for pipes in theirs for pipe in pipes],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for pipes in theirs:
            pipes.close()
        self._pipes = [Pipes(read, write) for (_, write), (read, _) in zip(asked, told, strict=True)]
        self._pids: dict[int, int] = {}
        for number, pipes in enumerate(self._pipes):
            self._selector.register(pipes.asked, selectors.EVENT_READ, number)

    def ready(self) -> None:
        while len(self._pids) < len(self._pipes):
            event = self._next()
            assert event.what == READY, event
            self._pids[event.member] = event.when

    def hold(self) -> None:
        """The first member has it when this returns. Before any other asks."""
        self.tell(0, b"t")
        self._until(HAS)

    def gather(self, members: range) -> None:
        """All of `members` ask, in this order, and wait when this returns: the first member holds."""
        for member in members:
            self.tell(member, b"g")
            self._until(ASKS)
            time.sleep(SPACING)
        time.sleep(SETTLE)

    @property
    def holder(self) -> int:
        return self.turns[-1].member

    def hand_over(self, at_once: bool = False) -> None:
        """The holder lets go, and somebody else has it.

        It asks again when another has it; with `at_once` as soon as it has let go, so that it may have it again itself.
        """
        before = self.holder
        self.tell(before, b"rg" if at_once else b"r")
        self._until(HAS)
        while not self.turns[-2].released:
            self._step()
        if not at_once:
            self.tell(before, b"g")
        while before not in self.asking and before != self.holder:
            self._step()

    def cpu(self) -> float:
        """Seconds of CPU that the members have used since they began, with all their threads and children."""
        pids = list(self._pids.values())
        used = [_cpu_of(pid) for pid in pids + [child for pid in pids for child in _children_of(pid)]]
        return sum(used) + sum(self._children) / 1e9

    def tell(self, member: int, words: bytes) -> None:
        os.write(self._pipes[member].told, words)

    def end(self) -> None:
        """All are killed, wherever they are. They have a group of their own, and their leader is still there to name it."""
        os.killpg(self._leader.pid, signal.SIGKILL)
        self._leader.wait()
        self._selector.close()
        for pipes in self._pipes:
            while os.read(pipes.asked, 65536):  # Until its end, which is the process's.
                continue
            pipes.close()

    def _until(self, what: bytes) -> None:
        while self._step() != what:
            continue

    def _step(self) -> bytes:
        """One event, in what is known of the members."""
        member, what, when = self._next()
        if what == ASKS:
            self.asking[member] = when
        elif what == HAS:
            self._holding[member] = len(self.turns)
            self.turns.append(Turn(member, self.asking.pop(member), when))
        elif what == RELEASES:
            number = self._holding.pop(member)
            self.turns[number] = self.turns[number]._replace(released=when)
        return what

    def _next(self) -> Event:
        while not self._events:
            ready = self._selector.select(PATIENCE)
            if not ready:
                raise TimeoutError(f"{self.name}: nobody has said a word for {PATIENCE:.0f} s")
            for key, _ in ready:
                self._read(key.data, key.fd)
        return self._events.popleft()

    def _read(self, member: int, pipe: int) -> None:
        told = os.read(pipe, RECORD.size * 64)  # A write of so few bytes to a pipe is one step: never half a record.
        if not told:
            raise ChildProcessError(f"{self.name}: process {self._pids.get(member, '')} has ended: see above")
        for what, when, children in RECORD.iter_unpack(told):
            self._events.append(Event(member, what, when))
            self._children[member] = children


@contextmanager
def troupe_of(name: str, size: int, base: str) -> Iterator[Troupe]:
    """`size` processes of the contender `name`, in a directory of their own under `base`, that are ready."""
    with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as directory:
        troupe = Troupe(name, directory, size)
        try:
            troupe.ready()
            yield troupe
        finally:
            troupe.end()


def _cpu_of(pid: int) -> float:
    """Seconds of CPU of a process that runs, all threads; 0 of one that is gone.

    The kernel's clock of that process, see clock_getcpuclockid(3): it has nanoseconds, where /proc/PID/stat has ticks.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _children_of(pid: int) -> list[int]:
    """Only the main thread's: no contender starts processes from others."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
