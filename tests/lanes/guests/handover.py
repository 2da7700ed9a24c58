"""One claim handed over between two hosts that want it in turn. Run on both at the same time, by `lanes.guests.run`.

    cd tests && python -m lanes.guests.handover [--rounds 20] [--limit 2] [--directory SHARE/data] [--host 1]

Each claims when the other has told, over the network and not by the share, that it has released. A hand-over is the one's
release and the other's claim: their seconds are measured each on its own host and added, so that no clocks are compared.
Nobody else uses the share. Host 1 prints how many there were, the median and the slowest. Exit 1: a claim was not won or
not released, or the slowest took longer than the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from looop_portable import Claims, Released, Won

PORT = 7755
PATIENCE = 120.0
"""Seconds: of two guests, one may be up much later."""


def timed(verb: Callable[[], Any], expected: type) -> float:
    """The seconds that it takes. Raises AssertionError where it answers something else than it should."""
    began = time.monotonic()
    answer = verb()
    seconds = time.monotonic() - began
    assert isinstance(answer, expected), answer
    return seconds


class Host:
    """One of the two. `other` is a connection to the other one; `handovers`: the seconds of those in which this one won."""

    def __init__(self, directory: str, number: int, other: TextIO) -> None:
        self._claims = Claims.open(directory)
        self._session = f"host{number}"
        self._claims.sessions.register(self._session)
        self._other = other
        self.handovers: list[float] = []

    def take(self) -> None:
        """Wait for the other's release, and claim."""
        released = float(self.hear())
        self.handovers.append(released + timed(self._claim, Won))

    def give(self) -> None:
        """Release, and tell the other so."""
        self.tell(str(timed(lambda: self._claims.release("x", self._session), Released)))

    def tell(self, line: str) -> None:
        self._other.write(line + "\n")
        self._other.flush()

    def hear(self) -> str:
        line = self._other.readline()
        assert line, "the other host has failed"
        return line

    def _claim(self) -> Any:
        return self._claims.claim("x", self._session)


def connect(number: int, first: str) -> TextIO:
    """A connection to the other host: host 1 listens."""
    if number == 1:
        with socket.create_server(("", PORT)) as server:
            server.settimeout(PATIENCE)
            other = server.accept()[0]
    else:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                other = socket.create_connection((first, PORT), PATIENCE)
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
    other.settimeout(PATIENCE)
    other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return other.makefile("rw")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A claim handed over between hosts: see the head of this file.")
    share = os.environ.get("SHARED_DIR")
    parser.add_argument("--directory", default=share and f"{share}/data", help="on the share [$SHARED_DIR/data]")
    parser.add_argument("--host", type=int, choices=(1, 2), default=os.environ.get("HOST_INDEX", "1"), help="[$HOST_INDEX]")
    parser.add_argument("--first", default="host1", help="how host 2 reaches host 1")
    parser.add_argument("--rounds", type=int, default=20, help="there and back")
    parser.add_argument("--limit", type=float, default=2.0, help="seconds for the slowest")
    given = parser.parse_args(arguments)
    if not given.directory:
        parser.error("no --directory, and no SHARED_DIR")
    host = Host(given.directory, given.host, connect(given.host, given.first))
    if given.host == 1:
        host.tell("0")  # Nobody has held it yet: what host 2 wins first is no hand-over.
    for _ in range(given.rounds):
        host.take()
        host.give()
    if given.host == 2:
        host.tell(json.dumps(host.handovers[1:]))
        return 0
    return report([*host.handovers, *json.loads(host.hear())], given.limit)


def report(handovers: list[float], limit: float) -> int:
    slowest = max(handovers)
    print(
        f"result {len(handovers)} hand-overs: median {statistics.median(handovers):.2f} s, slowest {slowest:.2f} s",
        flush=True,
    )
    if slowest > limit:
        print(f"the slowest took longer than {limit:g} s", flush=True)
    return int(slowest > limit)


if __name__ == "__main__":
    sys.exit(main())
