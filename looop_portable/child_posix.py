"""The process that `looop run` runs a command in: made before anything is claimed, let go on when all is. And its signals.

Guarantees: the command runs only after `begin`. On Linux it is killed when this process ends, however it ends (prctl(2),
PR_SET_PDEATHSIG); if this process ends before `begin`, the command never runs, on any system.
Does not guarantee: the end of what the command itself starts and leaves behind; on Linux, that of a command that changes
whose it is (set-user-ID, or with capabilities: the kernel takes the death signal from it). On other systems the command
goes on when this process is killed.
How: fork; the child reads from a pipe until it is told to go on, and what its environment is; an exec that fails is told by
a second pipe, which exec closes. This process blocks its signals and takes them one by one (sigwaitinfo(2)), so that none
is lost and nothing is looked at again and again. Where no terminal is on stdin the child leads a process group.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from looop_portable.asking import Asked
from looop_portable.errors import Interrupted

assert sys.platform != "win32"

_ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_PASSED = (*_ENDS, signal.SIGCONT, signal.SIGWINCH, signal.SIGTSTP)
_BY_THE_KERNEL = 0x80  # SI_KERNEL, on Linux (sigaction(2)).
_PR_SET_PDEATHSIG = 1
_LENGTH = 16  # Digits before what is written to the pipe.
_LONGEST_ERROR = 4096


class Child:
    """One command, `command` its words. `prepare`, then `begin` and `wait`, or `discard`."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._guard = threading.Lock()
        self._status: int | None = None
        self._pid = 0
        self._asked = Asked()
        self._patient = False
        self._go = self._failure = -1
        self._before: set[int] = set()
        self._handlers: dict[int, Any] = {}
        self._terminal = os.isatty(0)
        self._signals = {number for number in _PASSED if signal.getsignal(number) is not signal.SIG_IGN} | {signal.SIGCHLD}

    def prepare(self) -> int:
        """Make it; its process id. From here on this process is sent no signal, but inside of `interruptible`."""
        self._before |= signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for number in self._signals - {signal.SIGTSTP}:  # What has a handler is kept until it is asked for, everywhere.
            self._handlers[number] = signal.signal(number, self._interrupt)
        told, self._go = os.pipe()
        self._failure, failed = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._go)
            os.close(self._failure)
            self._be_the_child(told, failed)
        os.close(told)
        os.close(failed)
        if not self._terminal:
            os.setpgid(self._pid, self._pid)
        return self._pid

    @contextlib.contextmanager
    def interruptible(self, *, patiently: bool = False) -> Iterator[None]:
        """Inside, a signal that is to end this process raises `Interrupted`; one that comes just after it does not.

        `patiently`: what goes on inside is what such a signal asks for. Then the first one raises nothing either.
        """
        if patiently:
            self._asked.begin_anew()
        self._patient = patiently
        numbers = self._signals.intersection(_ENDS) | {signal.SIGTSTP}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def begin(self, environment: Mapping[str, str], registered: Callable[[int], None]) -> None:  # noqa: ARG002
        """Run the command. `registered` is for systems on which its process could not be made before."""
        said = json.dumps(dict(environment)).encode()
        said = f"{len(said):{_LENGTH}}".encode() + said
        try:
            while said:
                said = said[os.write(self._go, said) :]
        except BrokenPipeError:
            return  # Somebody has killed it: `wait` tells.

    def discard(self) -> None:
        """The command is not to run any more, or not at all."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self.kill()
        with self._guard:
            if self._pid and self._status is None:
                self._status = os.waitpid(self._pid, 0)[1]

    def wait(self) -> int:
        """Until it has ended, with signals passed on to it; its exit code, or 128 and the signal that ended it."""
        while not self._has_ended():
            number, by_the_kernel = _next(self._signals)
            if number == signal.SIGTSTP:
                self._pass_stop(by_the_kernel)
                continue
            if number in _ENDS:
                self._asked.counts()
            if number != signal.SIGCHLD and not (by_the_kernel and self._has_it_already(number)):
                self.send(number)
        self._drain()
        code = os.waitstatus_to_exitcode(self._status or 0)
        return code if code >= 0 else 128 - code

    def failure(self) -> tuple[int, str]:
        """After `wait`: 127, or another code, and why the command could not be run; 0 and nothing if it was."""
        said = os.read(self._failure, _LONGEST_ERROR)
        if not said:
            return 0, ""
        number, _, why = said.decode(errors="surrogateescape").partition(" ")
        return explained(self._command[0], int(number), why)

    def close(self) -> None:
        """This process's signals are as they were. What has come for the command dies with it."""
        if not self._handlers:
            return
        self._drain()
        ending = self._asked.recently()  # Then this process ends now, and the same request once more is not to kill it.
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_IGN if ending and number in _ENDS else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
        for pipe in (self._go, self._failure):
            if pipe >= 0:
                os.close(pipe)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Nothing if it has ended: its process id may be another's by now."""
        with self._guard:
            if not self._pid or self._status is not None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):  # It has another user by now, and goes its way.
                if self._terminal:
                    os.kill(self._pid, number)
                else:
                    os.killpg(self._pid, number)

    def _drain(self) -> None:
        while pending := signal.sigpending() & self._signals:
            _next(pending)

    def _has_ended(self) -> bool:
        """Whatever else has ended is put away as well: as process 1 of a container we are given everybody's orphans."""
        while True:
            with self._guard:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    pid, status = 0, 0
                if pid == self._pid:
                    self._status = status
            if not pid:
                return self._status is not None

    def _has_it_already(self, number: int) -> bool:
        """Whether the terminal has sent it to the child as well. A hang-up is told to the session's leader alone."""
        return self._terminal and not (number == signal.SIGHUP and os.getsid(0) == os.getpid())

    def _pass_stop(self, by_the_kernel: bool) -> None:
        """Ctrl-Z: this process stops too, or the shell would wait for it. If only it is asked to stop, the child does."""
        if not (by_the_kernel and self._terminal):
            self.send(signal.SIGTSTP)
        if by_the_kernel or self._terminal:
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (what a handler is given)
        before = self._asked.ever
        if number in _ENDS and self._asked.counts() and (before or not self._patient):
            raise Interrupted(number)

    def _be_the_child(self, told: int, failed: int) -> None:
        """Never returns."""
        code = 127
        try:
            _die_with_parent()
            environment = _told(told)
            if environment is None:
                return
            for number in (*self._signals, signal.SIGPIPE, signal.SIGXFSZ):  # The last two are Python's own doing.
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            os.execvpe(self._command[0], self._command, environment)  # noqa: S606 (what the user has told us to run)
        except OSError as error:
            os.write(failed, f"{error.errno or 0} {error.strerror or error}".encode(errors="surrogateescape"))
        except BaseException as error:  # noqa: BLE001 (there is nobody above who could tell)
            os.write(failed, f"0 {error}".encode(errors="replace")[:_LONGEST_ERROR])
        finally:
            os._exit(code)


def explained(program: str, number: int, why: str) -> tuple[int, str]:
    """The exit code, as shells have it, and a line, of a program that could not be executed."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        if number == errno.ENOENT and os.sep in program and os.path.exists(program):
            return 126, f"{program}: what its first line names, or its loader, was not found"
        return 127, f"{program}: command not found"
    if number == errno.ENOEXEC:
        return 126, f"{program}: not a program, nor a script that begins with #! and its interpreter"
    return 126, f"{program}: cannot be executed: {why}"


def _next(numbers: set[int] | set[signal.Signals]) -> tuple[int, bool]:
    """The next signal of `numbers`, waited for, and whether it was the terminal's: without siginfo, those of keys are."""
    if sys.platform == "darwin":
        number = signal.sigwait(numbers)
        return number, number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)
    found = signal.sigwaitinfo(numbers)
    return found.si_signo, found.si_code == _BY_THE_KERNEL


def _told(pipe: int) -> dict[str, str] | None:
    """The environment to go on with; None if this process's parent is gone.

    The parent keeps the pipe open as long as it lives. Without the last look, one that was killed before it could be
    died with would leave a child behind.
    """
    import select

    length = _read(pipe, _LENGTH)
    said = _read(pipe, int(length)) if length else b""
    if not said:
        return None
    poll = select.poll()
    poll.register(pipe, 0)
    if poll.poll(0):
        return None
    found: dict[str, str] = json.loads(said)
    return found


def _read(pipe: int, size: int) -> bytes:
    """So many bytes; none if they do not come."""
    found = b""
    while len(found) < size:
        more = os.read(pipe, size - len(found))
        if not more:
            return b""
        found += more
    return found


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel does not let it die with looop run")
