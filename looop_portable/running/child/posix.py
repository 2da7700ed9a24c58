"""The process that `looop run` runs a command in: made before anything is claimed, let go on when all is. And its signals.

Guarantees: the command runs only after `begin`; if this process ends before that, it never runs. When this process is
killed the command is, and on Linux all that it has started (`guardian`). When a signal has ended the command, or it has
lost its claim, what it has left behind is ended before `wait` returns.
Does not guarantee: the end of what this user may not signal (set-user-ID): that is waited for. Nor the end of what the
command leaves behind when it exits by itself: `wait` names it, or waits for it. See `guardian` and `kin` for what is not
seen.
How: fork, for the command (`execution`) and its guardian. This process blocks its signals and takes them one by one
(`arriving`): none is lost, and nothing is polled. Without a controlling terminal the command leads a process group; with
one it stays in this process's, as the terminal and the shell know no other. Where the system does not tell who has sent a
signal it leads one there too, to which the terminal is lent (`terminals`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from looop_portable.errors import Interrupted, UsageError
from looop_portable.running.child.environment import marks_of
from looop_portable.running.child.execution import execute, failure, send_go
from looop_portable.running.child.guardian import LEAVE, OVER, guarded, marks_said
from looop_portable.running.child.inherited import dispositions
from looop_portable.running.child.kin import Ending, Kin, end_group
from looop_portable.system.clock import elapsed
from looop_portable.system.processes.descendants import Marks, are_seen, lock_at, named, send
from looop_portable.system.signals.arriving import TELLS_WHO, next_of, next_within
from looop_portable.system.signals.asking import Asked
from looop_portable.system.signals.terminals import Lending, Sharing, has_terminal, stop_job
from looop_portable.typed import Any

assert sys.platform != "win32"

_ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_PASSED = (*_ENDS, signal.SIGCONT, signal.SIGWINCH, signal.SIGTSTP)
_KEYS = (signal.SIGINT, signal.SIGQUIT)
"""What keys of the terminal send to end a command."""
_GRACE = 5.0
"""Seconds that what a command has left behind has to end when it is asked to."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5  # Seconds.


class Child:
    """One command, `command` its words. `prepare`, then `begin` and `wait`, or `discard`. `holds`: until all have ended.

    `left`: what the command has left behind, once it has been waited for; `ended_by`: which signal. Both for people.
    """

    def __init__(self, command: Sequence[str], *, holds: bool = False) -> None:
        self.left, self.ended_by = list[str](), ""
        self._command = list(command)
        self._holds = holds
        if holds and not are_seen():
            raise UsageError(
                "--until-all-end: what a command leaves behind cannot be seen here: there is no /proc, as on Linux"
            )
        self._guard, self._pid = threading.Lock(), 0
        self._status: int | None = None
        self._asked = Asked()
        self._patient = self._ends = self._hurries = False
        self._kin: Kin | None = None
        self._go = self._failure = self._guardian = -1
        self._before: set[int] = set()
        self._handlers: dict[int, Any] = {}
        self._terminal = has_terminal()
        self._leads = not (self._terminal and TELLS_WHO)
        self._job = Sharing() if self._terminal else None
        self._lending: Lending | None = None
        self._passed: set[int] = set()
        self._signals = {number for number in _PASSED if signal.getsignal(number) is not signal.SIG_IGN} | {signal.SIGCHLD}

    def prepare(self) -> int:
        """Make it; its process id. From here on this process is sent no signal, but inside of `interruptible`."""
        self._before |= signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for number in self._signals - {signal.SIGTSTP}:  # What has a handler is kept until it is asked for, everywhere.
            self._handlers[number] = signal.signal(number, self._interrupt)
        given = dispositions(self._handlers)
        self._kin = Kin()
        commands, self._go = os.pipe()
        self._failure, failed = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._go)
            os.close(self._failure)
            execute(self._command, commands, failed, given, self._before)
        os.close(commands)
        os.close(failed)
        if self._leads:
            os.setpgid(self._pid, self._pid)
            self._job = self._lending = Lending(self._pid, self.send) if self._terminal else None
        if os.getpid() != 1:  # With process 1 of a container all others end.
            self._kin.guardian, self._guardian = guarded(self._pid, leads=self._leads)
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

    def begin(self, environment: Mapping[str, str], registered: Callable[[int], None], lock: str = "") -> None:  # noqa: ARG002
        """Run the command. `registered` is for systems on which its process could not be made before.

        `lock`: the path of its session's lock, in which it and all that it starts take part; empty: it has none.
        """
        assert self._kin
        words = marks_of(environment)
        self._kin.marks = Marks(lock_at(lock), frozenset(words))
        self._send(marks_said(lock, words))
        if self._lending:
            self._lending.begin()
        with contextlib.suppress(BrokenPipeError):  # Somebody has killed it: `wait` tells.
            send_go(self._go, environment, lock)

    def discard(self) -> None:
        """The command is not to run any more, or not at all."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self.kill()
        with self._guard:
            if self._pid and self._status is None:
                self._status = os.waitpid(self._pid, 0)[1]
                self._send(OVER)
        self._end_rest()

    def wait(self) -> int:
        """Until it has ended, with signals passed on to it; its exit code, or 128 and the signal that ended it."""
        assert self._kin
        while not self._has_ended():
            self._pass_one_on()
        if self._lending:
            self._lending.command_has_ended(self._killed_by_a_key())
        while self._holds and not self._is_ended() and self._has_ended() and self._kin.some():
            self._pass_one_on()
        if self._is_ended():
            self._end_rest()
        elif self._kin.some():
            self.left = [named(each) for each in self._kin.rest()]
        self._send(LEAVE)
        self._drain()
        code = os.waitstatus_to_exitcode(self._status or 0)
        self.ended_by = f"signal {-code}" if code < 0 else ""
        return code if code >= 0 else 128 - code

    def failure(self) -> tuple[int, str]:
        """After `wait`: 127, or another code, and why the command could not be run; 0 and nothing if it was."""
        return failure(self._failure, self._command[0])

    def close(self) -> None:
        """This process's signals are as they were. What has come for the command dies with it."""
        if not self._handlers:
            return
        self._drain()
        if self._lending:
            self._lending.take_back()
        ending = self._asked.recently()  # Then this process ends now, and the same request once more is not to kill it.
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_IGN if ending and number in _ENDS else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
        self._send(LEAVE)
        for pipe in (self._go, self._failure, self._guardian):
            if pipe >= 0:
                os.close(pipe)
        if self._kin and self._kin.guardian:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._kin.guardian, 0)

    def terminate(self) -> None:
        """Ask it to end, and all that it leaves behind."""
        self._ends = True
        self.send(signal.SIGTERM)
        if self._pid:
            os.kill(os.getpid(), signal.SIGCHLD)  # Without this, `wait` would not hear of it after the command's end.

    def kill(self) -> None:
        self._ends = self._hurries = True
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Signal the command; if it has ended, what it left behind: its process id may be another's by now."""
        with self._guard:
            if not self._pid or self._kin is None:
                return
            if self._status is not None:
                for each in self._kin.rest() if self._holds or self._ends else []:
                    send(each, number)
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):  # It has another user by now, and goes its way.
                (os.killpg if self._leads else os.kill)(self._pid, number)

    def _is_ended(self) -> bool:
        """Whether what the command leaves behind is not to go on."""
        return self._ends or os.WIFSIGNALED(self._status or 0)

    def _end_rest(self) -> None:
        """End what is left: ask first, then kill, until none is left. Processes of other users are waited for."""
        kin = self._kin
        if kin is None:
            return
        if not are_seen() and self._leads and self._pid:
            end_group(self._pid, lambda: self._hurries, self._heed, _GRACE)
        ending, until, pause = Ending(kin), elapsed() + _GRACE, _FIRST_PAUSE
        while self._has_ended() and kin.some():
            hurries = self._hurries or elapsed() >= until
            ending.send(signal.SIGKILL if hurries else signal.SIGTERM)
            self._heed(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _heed(self, seconds: float) -> None:
        """Sleep until a process ends. A signal now that asks for the end means that the user is impatient."""
        number = next_within(self._signals, seconds)
        if number in _ENDS and self._asked.counts():
            self._hurries = True

    def _pass_one_on(self) -> None:
        """Pass the next signal on to the command, unless the terminal has sent it there already."""
        if self._job:
            self._job.stop_too()
        number, by_the_kernel = next_of(self._signals)
        if number == signal.SIGTSTP:
            self._pass_stop(by_the_kernel)
            return
        if number in _ENDS:
            self._asked.counts()
        if number != signal.SIGCHLD and not (by_the_kernel and self._has_it_already(number)):
            self._has_ended()  # Without this, one that comes just after would go to the dead, and not to what is left.
            if number == signal.SIGCONT and self._lending:
                self._lending.lend()
            self._passed.add(number)
            self.send(number)
            if number == signal.SIGCONT and signal.SIGTSTP in signal.sigpending():
                self.send(signal.SIGTSTP)  # A Ctrl-Z had stopped it already, before this SIGCONT lets it go on.

    def _send(self, what: bytes) -> None:
        """The guardian, if it has not been killed."""
        if self._guardian >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._guardian, what)

    def _drain(self) -> None:
        while pending := signal.sigpending() & self._signals:
            next_within(pending, 0)  # Not waited for: a thread that does not block it may have had it.

    def _has_ended(self) -> bool:
        """Reap other children too: as process 1 of a container this process is given all orphans."""
        while True:
            with self._guard:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG | (os.WUNTRACED if self._job else 0))
                except ChildProcessError:
                    pid, status = 0, 0
                if self._job and os.WIFSTOPPED(status):
                    if pid == self._pid:
                        self._job.has_stopped(os.WSTOPSIG(status))
                elif pid == self._pid:
                    self._status = status
                    self._send(OVER)
                elif pid and self._kin and pid == self._kin.guardian:
                    self._kin.guardian = 0
            if not pid:
                return self._status is not None

    def _has_it_already(self, number: int) -> bool:
        """Whether the terminal has sent it to the child as well. A hang-up is told to the session's leader alone."""
        return not self._leads and not (number == signal.SIGHUP and os.getsid(0) == os.getpid())

    def _pass_stop(self, by_the_kernel: bool) -> None:
        """Ctrl-Z: this process stops when the command has. If only it is asked to stop, the child is asked too."""
        if self._lending:
            self._lending.pass_stop()
            return
        if not by_the_kernel:
            self.send(signal.SIGTSTP)
        if self._terminal and self._status is not None:  # There is nothing left but what the command has started.
            stop_job(signal.SIGTSTP, others=False)

    def _killed_by_a_key(self) -> int:
        """The signal by which the terminal, which it was lent, has ended the command; 0: it was not."""
        number = os.WTERMSIG(self._status or 0)
        return number if number in self._signals.intersection(_KEYS) - self._passed else 0

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (what a handler is given)
        before = self._asked.ever
        if number in _ENDS and self._asked.counts() and (before or not self._patient):
            raise Interrupted(number)
