"""A race: processes that claim one name in turn, as fast as they can, and an arbiter that watches them.

Guarantees: whoever is counted as inside has been told that the claim is its own, and has not begun to release it. So two
inside at once are two holders; there are no false alarms, and the clocks have no say.
Does not guarantee: that two holders would have been seen. It is a sample, of this host alone; the proof of the protocol is
elsewhere. Nor that all get the claim equally often.
How: the arbiter listens on 127.0.0.1, in this process. Each racer connects with a secret, and goes on only when it was
answered: `ready` waits until all are, `enter GENERATION` and `leave` until they are counted. So the arbiter sees them one
after another in the order in which they happen, on any filesystem and any system. The generations must grow, too.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Sequence

from looop_portable.config import Chosen, given
from looop_portable.doctor.findings import Race
from looop_portable.doctor.race.leaving import clean, is_elsewhere
from looop_portable.protocol.records import Holder
from looop_portable.system.locks.guard import PATIENCE as GUARD_PATIENCE
from looop_portable.system.processes.python import PATIENCE, end, start
from looop_portable.typed import NamedTuple

_GRACE = GUARD_PATIENCE + 30.0
"""Seconds beyond its time that a racer may need for its last turn: as long as a guard may be waited for, and more."""

_LONGEST = 65_536


class Turn(NamedTuple):
    """One acquisition: its number by the share's count (0: it was not counted there), and the claim's generation."""

    number: int
    generation: int


class Raced(NamedTuple):
    """The race and each of its turns."""

    race: Race
    turns: tuple[Turn, ...]


class _Racer:
    """A connection, what has been heard of its next line, and the generation that it is inside with."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.heard = b""
        self.known = False
        self.generation = 0


class Arbiter:
    """Who is inside. `hear` is told what a racer says, and answers, or not."""

    def __init__(self, secret: str, racers: int, when_ready: Callable[[], None]) -> None:
        self._secret = secret
        self._expected = racers
        self._when_ready = when_ready
        self._ready: list[_Racer] = []
        self._inside: list[_Racer] = []
        self._highest = 0
        self.started: float | None = None
        self.overlaps = self.crossings = self.repeats = 0
        self.turns: list[Turn] = []
        self.refused = ""
        self.failures: list[str] = []
        self.sessions: list[Holder] = []
        """Of the racers."""

    def hear(self, racer: _Racer, line: str) -> bool:
        """False: this is nobody of ours."""
        word, _, rest = line.partition(" ")
        if not racer.known:
            racer.known = line == f"hello {self._secret}"
            return racer.known
        if word == "ready":
            self._come(racer, rest)
        elif word == "enter":
            self._enter(racer, int(rest))
        elif word == "leave":
            self._leave(racer, rest)
        elif word == "crossed":
            self.crossings += 1
        elif word == "refused":
            self.refused = self.refused or rest
        elif word == "failed":
            self.failures.append(rest)
        return True

    def gone(self, racer: _Racer) -> None:
        if racer in self._inside:
            self._inside.remove(racer)

    def _come(self, racer: _Racer, session: str) -> None:
        if session:
            self.sessions.append(Holder(*session.split(" ")))
        self._ready.append(racer)
        if len(self._ready) == self._expected:
            self._when_ready()
            self.started = time.monotonic()
            for each in self._ready:
                self._answer(each)

    def _enter(self, racer: _Racer, generation: int) -> None:
        if self._inside:
            self.overlaps += 1
        if generation <= self._highest:
            self.repeats += 1
        self._highest = max(self._highest, generation)
        racer.generation = generation
        self._inside.append(racer)
        self._answer(racer)

    def _leave(self, racer: _Racer, number: str) -> None:
        self.gone(racer)
        self.turns.append(Turn(int(number), racer.generation))
        self._answer(racer)

    def _answer(self, racer: _Racer) -> None:
        try:
            racer.connection.sendall(b"go on\n")
        except OSError:
            return  # It has died. Its end says so.


def _nothing() -> None:
    return


def race(
    backend: Chosen,
    directory: str,
    processes: int,
    seconds: float,
    *,
    claim: str = "doctor",
    turns: str = "",
    when_ready: Callable[[], None] = _nothing,
) -> Raced:
    """`processes` processes on `backend` in `directory`, for `seconds`, for `claim`. `turns`: see `turnstile`.

    `when_ready` is called when all of them wait to be released. What goes wrong in them is in the result.
    """
    secret = os.urandom(16).hex()
    children: list[subprocess.Popen[str]] = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        job = {
            "backend": given(backend),
            "directory": directory,
            "claim": claim,
            "seconds": seconds,
            "turns": turns,
            "port": door.getsockname()[1],
            "secret": secret,
        }
        arbiter = Arbiter(secret, processes, when_ready)
        try:
            children.extend(
                start("looop_portable.doctor.race.racer", {**job, "number": number}) for number in range(processes)
            )
            late = _watch(arbiter, door, children, seconds)
            ended = [child.poll() is not None for child in children]  # By themselves. The others are ended now.
        finally:
            door.close()  # Who has not been heard yet waits for no answer any more.
            if is_elsewhere(backend):
                clean(backend, directory, children, arbiter.sessions)
            said = [end(child) for child in children]
    dead = [(child.returncode, last) for child, last, own in zip(children, said, ended, strict=True) if own]
    failures = [*arbiter.failures, *_deaths(dead, late)]
    if arbiter.refused:
        failures = []
    if not isinstance(backend, str):
        failures = [backend.hide(failure) for failure in failures]
    found = Race(
        str(backend),
        processes,
        seconds,
        len(arbiter.turns),
        max(arbiter.overlaps, arbiter.crossings),
        arbiter.repeats,
        arbiter.refused,
        tuple(dict.fromkeys(failures)),
    )
    return Raced(found, tuple(arbiter.turns))


def _deaths(dead: Sequence[tuple[int, str]], late: bool) -> list[str]:
    """What processes died of that ended by themselves: their codes, and their last words."""
    if late:
        return ["it did not come to an end in time"]
    return [last or f"a process ended with status {code}" for code, last in dead if code]


def _watch(arbiter: Arbiter, door: socket.socket, children: Sequence[subprocess.Popen[str]], seconds: float) -> bool:
    """Hear all until all have ended. True: somebody had not, in time."""
    begun = time.monotonic()
    with selectors.DefaultSelector() as notifiers:
        notifiers.register(door, selectors.EVENT_READ)
        racers: set[_Racer] = set()
        try:
            while True:
                events = notifiers.select(0.1)
                for key, _ in events:
                    if key.data is None:
                        connection, _ = door.accept()
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        racer = _Racer(connection)
                        racers.add(racer)
                        notifiers.register(connection, selectors.EVENT_READ, racer)
                    elif not _hear(arbiter, key.data):
                        notifiers.unregister(key.data.connection)
                        key.data.connection.close()
                        racers.discard(key.data)
                ended = [child.poll() is not None for child in children]
                if not events and (all(ended) or (any(ended) and not arbiter.started)):
                    return False  # Nobody can be released before all have come.
                spent = time.monotonic() - (arbiter.started or begun)
                if spent > (seconds + _GRACE if arbiter.started else PATIENCE):
                    return True
        finally:
            for racer in racers:
                racer.connection.close()


def _hear(arbiter: Arbiter, racer: _Racer) -> bool:
    """What has come from a racer. False: it is gone, or nobody of ours."""
    try:
        data = racer.connection.recv(4096)
    except OSError:
        data = b""
    *lines, racer.heard = (racer.heard + data).split(b"\n")
    if all(arbiter.hear(racer, line.decode("utf-8", "replace")) for line in lines) and data and len(racer.heard) < _LONGEST:
        return True
    arbiter.gone(racer)
    return False
