"""What two hosts tell each other, beside the share that is under test.

Each host repeats all facts that it has to tell, five times a second, in datagrams: none is lost for good, none is late, and
while a host or its link is down there is silence. So `silent` tells since when, within a fifth of a second.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

PORT = 7744
EVERY = 0.2
"""Seconds between two datagrams: how exactly a cut can be told."""


class Unheard(Exception):
    """The other host did not tell in time what it was to tell."""


class Wire:
    """This host's end. `here` and `there` are (host, port)."""

    def __init__(self, here: tuple[str, int], there: tuple[str, int]) -> None:
        self._there = there
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(here)
        self._changed = threading.Condition()
        self._told: dict[str, Any] = {}
        self._heard: dict[str, Any] = {}
        self._times: dict[str, float] = {}
        self.last = 0.0
        """When the other host was last heard, by `time.monotonic`."""
        self.longest = (0.0, 0.0)
        """The longest silence that has ended: from, to."""
        threading.Thread(target=self._run, daemon=True).start()

    def tell(self, fact: str, value: Any = True) -> None:
        """From now on, tell the other host this too."""
        with self._changed:
            self._told[fact] = value
        print(f"{time.strftime('%H:%M:%S')} {fact}: {value}", flush=True)
        self._send()

    def known(self, fact: str) -> Any:
        """What the other host has told of it; None: nothing."""
        with self._changed:
            return self._heard.get(fact)

    def when(self, fact: str) -> float:
        """When it was first heard, by `time.monotonic`."""
        with self._changed:
            return self._times[fact]

    def wait(self, fact: str, seconds: float) -> Any:
        """What the other host tells of it. Raises `Unheard` if it does not within so many seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: fact in self._heard, seconds):
                raise Unheard(f"the other host has not told '{fact}' within {seconds:.0f} s; it told {self._heard}")
            return self._heard[fact]

    def linger(self) -> None:
        """The last facts are repeated for a while: a datagram may be lost."""
        time.sleep(5 * EVERY)

    @property
    def silent(self) -> float:
        """Seconds since the other host was last heard."""
        return time.monotonic() - self.last

    def _run(self) -> None:
        due = 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + EVERY
                self._send()
            self._socket.settimeout(max(due - now, 0.01))
            try:
                data = self._socket.recv(65536)
            except (TimeoutError, ConnectionError):
                continue  # Nobody listens there yet, or any more.
            self._hear(json.loads(data))

    def _send(self) -> None:
        with self._changed:
            data = json.dumps(self._told).encode()
        try:
            self._socket.sendto(data, self._there)
        except OSError as error:
            _once(f"wire: {error}")

    def _hear(self, facts: dict[str, Any]) -> None:
        now = time.monotonic()
        with self._changed:
            if self.last and now - self.last > self.longest[1] - self.longest[0]:
                self.longest = (self.last, now)
            self.last = now
            for fact in facts.keys() - self._heard.keys():
                self._times[fact] = now
            self._heard.update(facts)
            self._changed.notify_all()


_said: set[str] = set()


def _once(words: str) -> None:
    if words not in _said:
        _said.add(words)
        print(words, flush=True)


def until(met: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Whether it is met within so many seconds."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True
