"""What a live table waits for: keys, a terminal of another size, and what another thread has seen.

Guarantees: `close` gives the terminal back as it was. It may be called twice.
"""

from __future__ import annotations

import threading

from looop_portable.system.clock import elapsed
from looop_portable.typed import Protocol

RESIZED, STOPPED, CONTINUED = "resized", "stopped", "continued"
"""What is no key, and told as one is: the table is to be drawn anew; Ctrl-Z; `fg`."""

_SLICE = 0.2
"""Seconds. On Windows, Ctrl-C interrupts no wait."""


class Keyboard(Protocol):
    def open(self) -> None:
        """Keys come one by one from now on, and are not shown."""

    def wait(self, seconds: float) -> list[str]:
        """The keys that come within so many seconds, as soon as there is one; or none, if it is woken."""

    def wake(self) -> None:
        """From any thread, and before anybody waits."""

    def stop(self) -> None:
        """Stop this process, as Ctrl-Z does, with the terminal as it was. It returns when the process goes on."""

    def close(self) -> None: ...


class NoKeyboard:
    """Where there are no keys."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def open(self) -> None:
        """Nothing is to be changed."""

    def wait(self, seconds: float) -> list[str]:
        ends = elapsed() + seconds
        while (left := ends - elapsed()) > 0 and not self._woken.wait(min(left, _SLICE)):
            pass
        self._woken.clear()
        return []

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """Nobody asks for it."""

    def close(self) -> None:
        """Nothing is to be given back."""
