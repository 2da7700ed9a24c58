"""Signals that end a verb which has something to undo: TERM, HUP and QUIT as cleanly as INT.

Guarantees: the first one raises, so that what is half done is undone; one that comes within a second of it does not
interrupt that, a later one does. What is ignored (nohup) stays so.
Does not guarantee: anything in a process that waits within the kernel for a filesystem which does not answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from looop_portable.errors import Interrupted
from looop_portable.system.signals.asking import Asked
from looop_portable.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal
    from types import FrameType
else:
    import _signal as signal  # What `signal` adds are names for numbers, and they cost more than all of this.

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")


class Endings:
    """What such signals do meanwhile."""

    def __init__(self) -> None:
        self._asked = Asked()
        self._came = 0
        self._waits = False

    @property
    def came(self) -> bool:
        return bool(self._came)

    def wait(self) -> None:
        """From here on the first one does nothing, before `hear`."""
        self._waits = True

    def settle(self) -> None:
        """Raises what came meanwhile; from here on, too, the first one does nothing."""
        if self._came:
            raise _asked_by(self._came)

    def hear(self) -> None:
        """Raises what came meanwhile; from here on the first one raises at once again."""
        self._waits = False
        if self._came:
            raise _asked_by(self._came)

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (what a handler is given)
        if not self._asked.counts():
            return
        first, self._came = not self._came, self._came or number
        if not (self._waits and first):
            raise _asked_by(self._came)


@contextlib.contextmanager
def endings() -> Iterator[Endings]:
    """Inside, signals raise `Interrupted`, or KeyboardInterrupt; in the main thread, the others are sent none."""
    found = Endings()
    before: dict[int, Any] = {}
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        handler = signal.getsignal(number)
        if handler not in (signal.SIG_IGN, None):  # None: set by somebody who is not Python.
            with contextlib.suppress(ValueError):  # Not in the main thread.
                before[number] = signal.signal(number, found.handle)
    try:
        yield found
    finally:
        if not found.came:  # Else this process ends now, and the same request once more is not to kill it.
            for number, handler in before.items():
                signal.signal(number, handler)


def _asked_by(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Interrupted(number)
