"""The keys of a terminal, and the signals by which it tells that it was resized, or that the job is to stop.

Guarantees: the terminal is given back as it was when this is closed, and while the process is stopped by Ctrl-Z.
Does not guarantee: that where the process is killed (SIGKILL), or stopped by SIGSTOP.
How: the terminal gives characters one by one, without showing them. It still makes signals of Ctrl-C and Ctrl-Z. A handler
only notes what has come; a socket has whoever waits look.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import sys
import termios
from collections.abc import Iterator
from types import FrameType

from looop_portable.cli.verbs.show.watching.keyboard import CONTINUED, RESIZED, STOPPED
from looop_portable.cli.verbs.show.watching.keys import Keys
from looop_portable.typed import Any

assert sys.platform != "win32"

_LOCAL, _CONTROL = 3, 6
"""Where `termios.tcgetattr` has the local modes and the control characters."""
_ESCAPE = 0.05
"""Seconds after which Escape is a key of its own."""
_TOLD = {signal.SIGWINCH: RESIZED, signal.SIGTSTP: STOPPED, signal.SIGCONT: CONTINUED}


class PosixKeyboard:
    """`fd`: of the terminal; None: there are no keys."""

    def __init__(self, fd: int | None) -> None:
        self._terminal = fd
        self._fds: list[Any] = []
        self._keys = Keys()
        self._noted = list[str]()
        self._before: dict[int, Any] = {}
        self._modes: list[Any] | None = None
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._fds = [self._ours] if fd is None else [self._ours, fd]

    def open(self) -> None:
        for number in _TOLD:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)
        self._take()

    def wait(self, seconds: float) -> list[str]:
        seconds = 0 if self._noted else _ESCAPE if self._keys.is_begun else max(seconds, 0)
        readable, _, _ = select.select(self._fds, [], [], seconds)
        keys = self._typed(readable)
        with contextlib.suppress(BlockingIOError):
            while self._ours.recv(4096):
                pass
        noted, self._noted = self._noted, []
        if CONTINUED in noted:
            self._take()
        return [*noted, *keys]

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # It is full: then whoever waits is woken already. Or it is closed.
            self._theirs.send(b"!")

    def stop(self) -> None:
        self._give_back()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        try:
            signal.raise_signal(signal.SIGTSTP)
        finally:
            signal.signal(signal.SIGTSTP, ours)
        self._take()

    def close(self) -> None:
        self._give_back()
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
        self._ours.close()
        self._theirs.close()

    def _typed(self, readable: list[Any]) -> list[str]:
        if self._terminal not in readable or self._terminal is None:
            return [] if readable else self._keys.nothing_more()
        try:
            data = os.read(self._terminal, 4096)
        except OSError:
            data = b""
        if not data:  # It has hung up.
            self._fds = [self._ours]
        return self._keys.typed(data)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (what a handler is given)
        self._noted.append(_TOLD[signal.Signals(number)])
        self.wake()

    def _take(self) -> None:
        """In the background this stops the process, until it is in front."""
        if self._terminal is None:
            return
        if self._modes is None:
            with contextlib.suppress(termios.error):
                self._modes = termios.tcgetattr(self._terminal)
        if self._modes is not None:
            modes, control = [*self._modes], [*self._modes[_CONTROL]]
            modes[_LOCAL] &= ~(termios.ECHO | termios.ICANON)
            control[termios.VMIN], control[termios.VTIME] = 1, 0
            modes[_CONTROL] = control
            _set(self._terminal, modes)

    def _give_back(self) -> None:
        if self._terminal is not None and self._modes is not None:
            with _never_stopped():
                _set(self._terminal, self._modes)
            self._modes = None


def _set(terminal: int, modes: list[Any]) -> None:
    while True:
        try:
            termios.tcsetattr(terminal, termios.TCSANOW, modes)
        except termios.error as error:
            if error.args[0] == errno.EINTR:
                continue
        return  # One that has hung up has no modes.


@contextlib.contextmanager
def _never_stopped() -> Iterator[None]:
    """Who is not in front would be stopped (SIGTTOU) when it gives the terminal back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_no_reader(fd: int) -> bool:
    """Whether it is a pipe that nobody reads any more. macOS tells so only whoever asks for something else, too."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
