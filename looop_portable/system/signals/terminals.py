"""The terminal of this process, as job control has it: whether there is one, and lending it to a command's group.

Guarantees: what decides is the controlling terminal, whatever stdin is: `echo x | looop run -- ssh host` asks at it.
Does not guarantee: to the others of our job (a pipeline's, a script) that they hear of a key when it is pressed, while the
terminal is lent: it goes to the command alone. They are told afterwards, if it has stopped the command, or ended it. Nor
that a command which was stopped as it asked hears of a Ctrl-Z that comes between the loan and its SIGCONT, which throws it
away: so has a shell's `fg`. Nor, where this process is killed meanwhile, that anybody but a shell takes the terminal back.
How: tcsetpgrp(3), and what a shell does with a job that stops or ends. A command that has nothing but the terminal for its
input and output is lent it at once. Any other (a pager may read from it, at the end of a pipeline) when it asks there: it
is stopped then (SIGTTIN, SIGTTOU), and goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

assert sys.platform != "win32"

_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""What a terminal stops a job with."""


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, and so is part of a job, in the foreground or the background.

    A command in a group of its own would be stopped when it reads from that terminal, unless it is lent to it: the shell
    knows of our group only.
    """
    return front() is not None


def front() -> int | None:
    """The group in the foreground. None: there is no terminal, or it has hung up."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno())
    except OSError:
        return None


class Sharing:
    """The terminal, shared with a command of this process's own group, of which the shell knows this process alone.

    A key that stops the job stops this process when it has stopped the command, as a shell waits for a command of its own:
    until then that may read what is typed. A command that ignores the key goes on, and this process with it.
    """

    def __init__(self) -> None:
        self._stopped_by = 0

    def has_stopped(self, number: int) -> None:
        """The command has, by this signal."""
        self._stopped_by = number

    def stop_too(self) -> None:
        """If the terminal has stopped the command, so is our job: the shell knows that one."""
        number, self._stopped_by = self._stopped_by, 0
        if number in _STOPS and signal.SIGCONT not in signal.sigpending():  # Else all of it is let go on next.
            self._stop(number)

    def _stop(self, number: int) -> None:
        stop_job(number, others=False)


class Lending(Sharing):
    """The terminal, lent to `group`, a command's, which is not this process's own. `send` sends that group a signal.

    Nothing is lent where this process's job is not in the foreground.
    """

    def __init__(self, group: int, send: Callable[[int], object]) -> None:
        super().__init__()
        self._group = group
        self._send = send
        self._is_lent = False

    def begin(self) -> None:
        """Before the command runs. Who ignores Ctrl-C, as a script's `command &` does, does not take it from the script."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN and all(map(os.isatty, (0, 1, 2))):
            self.lend()

    def lend(self) -> None:
        if front() == os.getpgrp():
            self._is_lent = _put_in_front(self._group)

    def take_back(self) -> None:
        """Nobody but what `group` has started can have it meanwhile: a shell takes it when we have stopped, or ended."""
        if self._is_lent:
            self._is_lent = False
            _put_in_front(os.getpgrp())

    def let_continue(self) -> None:
        self.lend()
        self._send(signal.SIGCONT)

    def _stop(self, number: int) -> None:
        was_lent = self._is_lent
        if not was_lent and front() == os.getpgrp():  # It may have the terminal, as it asks for it.
            self.let_continue()
            return
        self.take_back()
        if stop_job(number, others=True):
            return
        if not was_lent:  # As the kernel has it with a stopped job that no shell looks after.
            self._send(signal.SIGHUP)
        self.let_continue()

    def pass_stop(self) -> None:
        """This process was asked to stop, and so is the command."""
        self._send(signal.SIGTSTP)
        self.take_back()
        if not stop_job(signal.SIGTSTP, others=False):
            self.let_continue()

    def command_has_ended(self, key: int) -> None:
        """By this signal of a key (0: by none), of which the others of our job would have heard too."""
        if self._is_lent:
            self.take_back()
            if key:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(os.getpgrp(), key)


def stop_job(number: int, *, others: bool) -> bool:
    """Stop this process as the signal `number` does; `others`: and all of its group. Whether it was let go on.

    False: the kernel stops nobody of a job that no shell looks after. SIGCONT must be blocked.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if others:
        os.killpg(os.getpgrp(), number)
    else:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return signal.SIGCONT in signal.sigpending()


def _put_in_front(group: int) -> bool:
    with _never_stopped(), contextlib.suppress(OSError), open("/dev/tty", "rb", buffering=0) as terminal:
        os.tcsetpgrp(terminal.fileno(), group)
        return True
    return False


@contextlib.contextmanager
def _never_stopped() -> Iterator[None]:
    """Who is not in the foreground is stopped when it changes who is (tcsetpgrp(3)), unless it has blocked that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
