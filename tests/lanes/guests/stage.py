"""What every scenario between two hosts needs: a directory on the share, the wire, who holds, who tries, what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import NamedTuple

from looop_portable import Claims, Held, Renewed, Won
from looop_portable.protocol.names import spelled
from looop_portable.protocol.records import Holder, Registration

from .wire import Wire

PATIENCE = 60.0
"""Seconds, for what takes no time: emulated guests take long to start a process."""
NAME = "x"


class Winning(NamedTuple):
    """How a claim was won, by `time.monotonic`: when, in how long a call, after how many refusals; the last evidence."""

    at: float
    took: float
    refusals: int
    slowest: float
    evidence: str
    outcome: Won


class Stage:
    """One host's part in a scenario. `lease` is in seconds."""

    def __init__(self, host: int, directory: str, lease: int, wire: Wire) -> None:
        self.host, self.directory, self.lease, self.wire = host, directory, lease, wire
        self.claims = Claims.open(directory)
        self.wrong: list[str] = []
        self.figures: list[str] = []

    def expect(self, met: bool, otherwise: str) -> None:
        if not met:
            self.wrong.append(otherwise)
            print(f"WRONG: {otherwise}", flush=True)

    def figure(self, words: str) -> None:
        self.figures.append(words)
        print(words, flush=True)

    def worker(self) -> Holder:
        """This process as a session that promises nothing: nobody can tell its death from elsewhere."""
        return self.claims.sessions.register().holder

    def try_until_won(self, me: Holder, seconds: float, every: float = 1.0, name: str = NAME) -> Winning | None:
        """Try each `every` seconds; None if it is still held after `seconds`."""
        end, refusals, slowest, evidence = time.monotonic() + seconds, 0, 0.0, ""
        while True:
            began = time.monotonic()
            outcome = self.claims.claim(name, me)
            now = time.monotonic()
            slowest = max(slowest, now - began)
            if not isinstance(outcome, Held):
                assert not isinstance(outcome, Renewed)
                return Winning(now, now - began, refusals, slowest, evidence, outcome)
            refusals += 1
            if outcome.verdict.evidence != evidence:
                evidence = outcome.verdict.evidence
                print(f"  refused: {evidence}", flush=True)
            if now > end:
                return None
            time.sleep(max(began + every - now, 0))

    def last_beat(self, registration: Registration) -> float:
        """When it was stamped, by the clock of the file server, in seconds: read here without the product."""
        name = f"heartbeat-{registration.incarnation}"
        fd = os.open(f"{self.directory}/sessions/{spelled(registration.session)}/{name}", os.O_RDONLY)
        try:
            return os.fstat(fd).st_mtime
        finally:
            os.close(fd)

    def registration(self, session: str) -> Registration:
        found = self.claims.sessions.status(session)
        assert found, f"no session {session} is seen here"
        return found.registration

    def looop(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "looop_portable", "--data-dir", self.directory, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    def report(self) -> int:
        """The exit code. The line is what the table outside is made of."""
        print(f"result {'; '.join([*self.figures, *(f'WRONG: {fact}' for fact in self.wrong)])}", flush=True)
        return int(bool(self.wrong))
