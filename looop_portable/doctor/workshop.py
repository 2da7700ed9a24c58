"""`DIR/.looop-doctor-TOKEN`: where all that the doctor does happens, and which is gone when it ends.

Guarantees: nothing is left behind after a normal end, an error, Ctrl-C, SIGTERM or SIGHUP: those wait until it is removed.
Does not guarantee: the same after SIGKILL, a power cut, or where the filesystem does not let us remove. What such a one
leaves is removed by the next doctor in that directory once it has been quiet for an hour, by the filesystem's clock.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import stat
import threading
from collections.abc import Iterator
from types import FrameType

from looop_portable.doctor.probes import changed, create, tick
from looop_portable.system.files import OS
from looop_portable.system.opening.ours import NONCE
from looop_portable.typed import Self

PREFIX = ".looop-doctor-"
HOSTS = f"{PREFIX}hosts"
"""The meeting place of several hosts (see `meeting`)."""

PULSE = "pulse"
"""The file in it by which others tell that it is in use."""
_OURS = re.compile(rf"{re.escape(PREFIX)}(?:{NONCE}|hosts)")
_LEFT_OVER = 3600.0  # Seconds.
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


class Workshop:
    """The directory. `room` makes a fresh one in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._pulse = f"{path}/{PULSE}"
        create(self._pulse, b"?")
        self.now = tick(self._pulse)

    def room(self, name: str) -> str:
        """A new directory in it; whoever else sees the workshop sees that it is in use."""
        self.now = tick(self._pulse)
        path = f"{self.path}/{name}"
        OS.mkdir(path)
        return path


@contextlib.contextmanager
def opened(directory: str) -> Iterator[Workshop]:
    """A workshop in `directory`, which is there. Raises OSError if none can be made."""
    path = f"{directory}/{PREFIX}{OS.nonce()}"
    with _Signals() as signals:
        try:
            OS.mkdir(path)
            shop = Workshop(path)
            _sweep(directory, shop)
            yield shop
        finally:
            signals.finish()
            remove(path)


def remove(path: str) -> None:
    """All of `path`, whoever else removes it too. Raises OSError if something stays.

    Links are not followed, also those that somebody plants meanwhile, and no other filesystem is entered.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            OS.remove(path)
            return
        with OS.room(path, 1) as room:
            room.empty()
        OS.rmdir(path)
    except FileNotFoundError:
        return


def age(path: str, now: float) -> float:
    """Seconds since somebody last gave a sign of life in `path`, a workshop or a meeting place; `now` is a `tick`."""
    quiet = age_of(f"{path}/{PULSE}", now)
    return quiet if math.isfinite(quiet) else now - os.lstat(path).st_mtime


def age_of(path: str, now: float) -> float:
    """Seconds since a `tick` of `path`; `now` is one, too. Infinite if it is not there any more."""
    try:
        return now - changed(path)
    except FileNotFoundError:
        return math.inf


def _sweep(directory: str, shop: Workshop) -> None:
    """Remove what killed doctors have left. What is in use, or not ours to remove, stays."""
    for name in OS.list(directory):
        path = f"{directory}/{name}"
        if _OURS.fullmatch(name) and path != shop.path:
            with contextlib.suppress(OSError):  # Another sweeps it too, or it is another user's.
                if age(path, shop.now) > _LEFT_OVER:
                    remove(path)


class _Signals:
    """Within it, the first signal that would end the process raises KeyboardInterrupt, and further ones wait.

    Afterwards it is raised once more, as it was: whoever sent it sees that it has done what it should.
    """

    def __init__(self) -> None:
        self._before: dict[int, object] = {}
        self._came = 0
        self._deaf = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # None: set by somebody who is not Python.
                    self._before[number] = before
                    signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]  # It came from `getsignal`.
        if self._came and self._came != signal.SIGINT:
            signal.raise_signal(self._came)
        if self._came:
            raise KeyboardInterrupt

    def finish(self) -> None:
        """From here on nothing interrupts."""
        self._deaf = True

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._came = self._came or number
        if not self._deaf:
            self._deaf = True
            raise KeyboardInterrupt
