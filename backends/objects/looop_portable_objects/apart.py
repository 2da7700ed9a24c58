"""The client in a process of its own, for a forked child: the client's threads stay with the parent, and nothing would end.

Guarantees: a request ends within its time and a second, or is `Unavailable`. The process ends with the child that asks.
How: it is asked through a pair of sockets, which nobody else has. No credential is on its command line. Nothing that lies
in the current directory is taken for a module.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from looop_portable.backends.connections import Connections
from looop_portable.errors import Unavailable
from looop_portable.system.processes.python import command
from looop_portable_objects.place import Place

__all__ = ["Apart"]

_GRACE = 0.8
_START = 10.0


class Apart:
    """What `client.Client` is, elsewhere."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._helpers = Connections(place.where, self._start, _end)

    def ask(self, request: str, seconds: float, *args: Any) -> Any:
        with self._helpers.one() as (_, line):
            try:
                line.send((request, seconds, args))
                if not line.poll(seconds + _GRACE):
                    raise Unavailable(f"{self._place.where}: the store has not answered within {seconds:g} s")
                done, answer = line.recv()
            except (EOFError, OSError) as error:
                raise Unavailable(f"{self._place.where}: the process that speaks to it has ended") from error
        if done:
            return answer
        raise answer

    def close(self) -> None:
        self._helpers.close()

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        ours, its = socket.socketpair()
        with its:
            process = subprocess.Popen(  # noqa: S603 (this Python, and a number)
                command("-m", __name__, str(its.fileno())),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        line = Connection(ours.detach())
        line.send(self._place)
        if not line.poll(_START):
            _end((process, line))
            raise Unavailable(f"{self._place.where}: the process that is to speak to it does not start")
        line.recv()
        return process, line


def _end(helper: tuple[subprocess.Popen[bytes], Connection]) -> None:
    process, line = helper
    line.close()
    process.kill()
    process.wait()


def serve(line: Connection) -> None:
    """Answer, until whoever asks has gone."""
    from looop_portable_objects.client import Client, Refused

    client = Client(line.recv())
    line.send(True)
    while True:
        try:
            request, seconds, args = line.recv()
        except (EOFError, OSError):
            return
        try:
            line.send((True, client.ask(request, seconds, *args)))
        except (Refused, Unavailable) as error:
            line.send((False, error.with_traceback(None)))


if __name__ == "__main__":
    with suppress(ConnectionError, EOFError):  # Whoever asks was killed in the middle.
        serve(Connection(int(sys.argv[1])))
