"""One process under chaos: it holds, one name after the other, by `hold`, and tells the witness what it believes.

try NAME              before it tries
enter NAME NUMBER     after it has won, before it does anything else
leave NAME            before it releases
left NAME             after that
lost NAME NUMBER      when it is told that it has lost the claim: in another thread
taken NAME told|untold WHY     leaving says that it was lost
refused NAME LIFE     by whom, as the claim's note says; - if that says nothing
settling, unavailable NAME WHY
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
import traceback
from typing import NamedTuple, NoReturn

from looop_portable import ClaimHeld, Hold, LooopError, Unavailable, hold
from looop_portable.errors import ClaimLost, Settling

from .witness import LEASE


class Task(NamedTuple):
    """What all holders are told."""

    port: int
    backend: str
    directory: str
    names: tuple[str, ...]
    wait: float
    """Seconds, at most, for which one waits for a claim."""
    seed: int
    is_brief: bool = False
    """Whether it holds for moments only."""
    is_patient: bool = False
    """Whether it mostly holds for longer than a lease."""


class Line:
    """This process's end of the line, for all of its threads. The process ends when the witness does."""

    def __init__(self, port: int, life: int) -> None:
        self._guard = threading.Lock()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rwb")
        self.say("hello", life)

    def say(self, *words: object) -> None:
        with self._guard:
            try:
                self._file.write(" ".join(map(str, words)).replace("\n", " | ").encode() + b"\n")
                self._file.flush()
                heard = self._file.readline()
            except OSError:
                heard = b""
        if not heard:
            os._exit(0)


class Holder:
    def __init__(self, task: Task, life: int) -> None:
        self.task, self.life = task, life
        self.line = Line(task.port, life)
        self.random = random.Random(f"{task.seed} {life}")

    def work(self) -> NoReturn:
        names = list(self.task.names)
        while True:
            self.random.shuffle(names)
            for name in names:
                self.once(name)

    def once(self, name: str) -> None:
        wait = self.random.choice((0.0, 0.0, 0.0, self.random.random(), self.random.random(), self.task.wait))
        self.line.say("try", name)
        try:
            with hold(
                name,
                data_dir=self.task.directory,
                backend=self.task.backend,
                lease_seconds=LEASE,
                timeout=wait,
                note=str(self.life),
                on_lost=self.lost,
            ) as held:
                if not held.lost.is_set():
                    self.line.say("enter", name, held.generation)
                self.stay(held)
                self.line.say("leave", name)
                was_told = held.lost.is_set()
        except ClaimHeld as error:
            self.line.say("refused", name, error.note or "-")
            self.pause(0.02)
            return
        except ClaimLost as error:
            self.line.say("leave", name)
            self.line.say("taken", name, "told" if was_told else "untold", error)
            return
        except Unavailable as error:
            self.line.say("leave", name)
            self.line.say("settling" if isinstance(error, Settling) else "unavailable", name, error)
            self.pause(0.3)
            return
        self.line.say("left", name)
        self.pause(0.02)

    def lost(self, held: Hold) -> None:
        with contextlib.suppress(ClaimLost):  # It has been left meanwhile.
            self.line.say("lost", held.name, held.generation)

    def stay(self, held: Hold) -> None:
        """For a moment mostly, and at times for longer than a lease; until it is lost."""
        most = self.random.choices((0.03, 0.5, 3.0 * LEASE), (84, 10, 6))[0]
        if self.task.is_patient and self.random.random() < 0.7:
            most = 5.0 * LEASE
        if self.task.is_brief:
            most = 0.03
        end = time.monotonic() + self.random.random() * most
        while (left := end - time.monotonic()) > 0 and not held.lost.wait(min(left, 0.5)):
            if self.random.random() < 0.2:
                self.check(held)

    def check(self, held: Hold) -> None:
        try:
            held.check()
        except ClaimLost:
            held.lost.wait()
        except LooopError:
            return

    def pause(self, most: float) -> None:
        time.sleep(self.random.random() * most)


def become(task: Task, life: int, host: str) -> NoReturn:
    """A holder, in a process that was forked for it."""
    try:
        os.closerange(3, 4096)
        for name in [name for name in os.environ if name.startswith("LOOOP_")]:
            del os.environ[name]
        os.environ["LOOOP_HOST_ID"] = host
        holder = Holder(task, life)
        while True:
            try:
                holder.work()
            except Exception:  # noqa: BLE001 (whatever it is, the witness tells)
                holder.line.say("failed", "-", traceback.format_exc().replace(" ", "_"))
                time.sleep(0.5)
    finally:
        os._exit(1)
