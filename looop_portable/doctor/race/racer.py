"""One process of a race: claims, tells the arbiter, releases, and again. See `arbiter`.

It ends when its time is over, and at once when the arbiter is gone.
"""

from __future__ import annotations

import select
import socket
import time

from looop_portable.claims.gate import Claims
from looop_portable.config import recognized
from looop_portable.doctor.race.leaving import is_elsewhere, leave
from looop_portable.doctor.race.turnstile import Turnstile
from looop_portable.errors import LooopError, describe_error
from looop_portable.protocol.outcomes import Won
from looop_portable.protocol.records import Holder
from looop_portable.system.processes.python import job
from looop_portable.typed import NamedTuple, TextIO


class _Gone(Exception):
    """The arbiter does not answer."""


class _Line:
    """The line to the arbiter."""

    def __init__(self, port: int, secret: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers: TextIO = self._socket.makefile("r", encoding="utf-8")
        self.say(f"hello {secret}")

    def say(self, line: str) -> None:
        self._socket.sendall(" ".join(line.split()).encode() + b"\n")

    def ask(self, line: str) -> None:
        self.say(line)
        if not self._answers.readline():
            raise _Gone

    def cut(self) -> bool:
        """Whether the arbiter is gone. It never says anything unasked."""
        return bool(select.select([self._socket], [], [], 0)[0])


class _Job(NamedTuple):
    """What to do, as it comes on stdin: see `arbiter.race`."""

    backend: str
    directory: str
    claim: str
    seconds: float
    turns: str


def serve() -> None:
    """The process."""
    todo = job()
    line = _Line(int(str(todo["port"])), str(todo["secret"]))
    words = {key: str(todo[key]) for key in ("backend", "directory", "claim", "turns")}
    try:
        _race(line, _Job(**words, seconds=float(str(todo["seconds"]))))
    except _Gone:
        return
    except LooopError as error:
        line.say(f"failed {error}")
    except OSError as error:
        line.say(f"failed {describe_error(error)}")


def _race(line: _Line, todo: _Job) -> None:
    claims = Claims.open(todo.directory, todo.backend)
    refused = claims.backend.unavailable()
    if refused:
        line.say(f"refused {refused}")
    me = None if refused else claims.sessions.register().holder
    try:
        line.ask(f"ready {me.session} {me.incarnation}" if me else "ready")
        _take_turns(line, claims, me, todo)
    finally:
        if me and is_elsewhere(recognized(todo.backend)):
            leave(claims, me)


def _take_turns(line: _Line, claims: Claims, me: Holder | None, todo: _Job) -> None:
    turnstile = Turnstile(todo.turns) if todo.turns else None
    until = time.monotonic() + todo.seconds
    while me and time.monotonic() < until and not line.cut() and not (turnstile and turnstile.full):
        outcome = claims.claim(todo.claim, me)
        if isinstance(outcome, Won):
            line.ask(f"enter {outcome.lease.generation}")
            number = _through(turnstile, line) if turnstile else 0
            line.ask(f"leave {number}")
            claims.release(todo.claim, me)


def _through(turnstile: Turnstile, line: _Line) -> int:
    number, alone = turnstile.enter()
    if not alone:
        line.say("crossed")
    turnstile.leave(number)
    return number
