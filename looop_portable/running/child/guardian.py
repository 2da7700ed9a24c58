"""A process beside a command that `looop run` runs: when `looop run` is killed, it ends all that the command has started.

Guarantees: the command's descendants end first, and the command last: so the session, which lives by the command's process,
is not over before they are. On Linux it takes part in the session's lock until none of them is left. Whatever fails
meanwhile, the command and its group are killed before it leaves, and then it leaves with a code that is not 0.
Does not guarantee: the end of what it may not signal (another user's): it waits for that, and keeps the claim on this host.
The end of what is not found: see `descendants`, and without /proc `descendants_portable`. Anything, if it is killed too:
then the command goes on, and holds, and so does what has inherited the lock, as with flock(1).
How: it is in a session of its own, with no signal that could end it but SIGKILL, blocked in read(2) on a pipe whose other
end only `looop run` has. So it needs nothing that one system alone has, and wakes up for nothing. It is told the marks of
the run, and, at an orderly end, that there is nothing to be done.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import sys
import time
from collections.abc import Iterable

from looop_portable.system.locks.session_locks import share_lock
from looop_portable.system.processes.descendants import Marks, Process, below, everybody, is_marked, look, send
from looop_portable.system.processes.descendants_portable import Unseen
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # `signal` makes names of all the numbers that these calls take and give.

assert sys.platform != "win32"

OVER = b"over\n"
"""What it is told when the command's own process has ended: its id, and its group's, may be another's later."""
LEAVE = b"leave\n"
"""What it is told when nothing is to be ended any more."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 1.0
"""Seconds."""
_DESCRIPTORS = 1 << 16


def marks_said(lock: str, words: Iterable[bytes]) -> bytes:
    """One line, to tell a guardian. `lock`: the path of the session's lock; empty: it has none."""
    return marshal.dumps((lock, list(words))).hex().encode() + b"\n"


def guarded(pid: int, *, leads: bool) -> tuple[int, int]:
    """Have the process `pid`, the command's, guarded: the guardian's process id, and the pipe that tells it."""
    reader, writer = os.pipe()
    guardian = os.fork()
    if not guardian:
        os.close(writer)
        guard(reader, pid, leads=leads)
    os.close(reader)
    return guardian, writer


def guard(reader: int, pid: int, *, leads: bool) -> None:
    """Be the guardian of the process `pid`, in a process that was just forked. `leads`: a group. Never returns."""
    guardian, code = _Guardian(pid, leads), 1
    try:
        began = guardian.begin(reader)
        code = 0 if guardian.serve(reader) and began else 1
    finally:
        try:  # Whatever was raised. Without this, one that fails would leave the command to itself.
            code = code if guardian.end() else 1
        finally:
            os._exit(code)


class _Guardian:
    def __init__(self, pid: int, leads: bool) -> None:
        self._command = pid
        self._group = pid if leads else 0
        self._first: Process | None = None
        self._unseen: Unseen | None = None
        self._marks = Marks()
        self._lock = -1
        self._leaves = False

    def begin(self, reader: int) -> bool:
        """Become a process apart, that nothing reaches but what it is told. False: something has failed."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            os.closerange(0, reader)  # Without this, who reads what the command says would wait for the guardian too.
            os.closerange(reader + 1, _DESCRIPTORS)
            os.setsid()
            os.chdir("/")
            self._first = look(self._command)
            self._unseen = None if self._first else Unseen(self._command)
        except Exception:  # noqa: BLE001 (it waits all the same)
            return False
        return True

    def serve(self, reader: int) -> bool:
        """All lines, until `looop run` is no more, or has no use for it. False: one was not understood, and passed over."""
        said, understood = b"", True
        while not self._leaves and (more := os.read(reader, 1 << 16)):
            *lines, said = (said + more).split(b"\n")
            for line in lines:
                try:
                    self._obey(line + b"\n")
                except Exception:  # noqa: BLE001 (it is needed for what comes)
                    understood = False
        return understood

    def _obey(self, line: bytes) -> None:
        if line == LEAVE:
            self._leaves = True
        elif line == OVER:
            self._command = self._group = 0
        else:
            path, words = marshal.loads(bytes.fromhex(line.decode()))  # noqa: S302 (from our parent)
            self._marks = Marks(None, frozenset(words))
            with contextlib.suppress(OSError):  # It has none, say.
                self._lock = share_lock(path)
                found = os.fstat(self._lock)
                self._marks = self._marks._replace(lock=(found.st_dev, found.st_ino))

    def end(self) -> bool:
        """End it all, unless there is nothing to be ended. False: something has failed; then what is left is to kill."""
        try:
            self.end_all()
        except Exception:  # noqa: BLE001 (there is nobody above who could)
            self._end_blindly()
            return False
        return True

    def end_all(self) -> None:
        """Until none is left. All are stopped before any is ended, so that they make no more."""
        if self._leaves:
            return
        if self._first is None:
            self._end_unseen()
            return
        stopped: set[tuple[int, int]] = set()
        pause = _FIRST_PAUSE
        while True:
            others, command = self._others(self._first.start), self._found()
            here = [*others, *filter(None, [command])]
            new = [each for each in here if (each.pid, each.start) not in stopped]
            for each in new:
                send(each, signal.SIGSTOP)
                stopped.add((each.pid, each.start))
            if new:
                continue
            if not here:
                return
            if not others and send(here[0], 0):
                self._end_command()
            for each in others or here:
                send(each, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _found(self) -> Process | None:
        """The command, if it lives."""
        found = look(self._command) if self._command else None
        return found if found and self._first and found.start == self._first.start else None

    def _others(self, since: int) -> list[Process]:
        """What the command has started, the command not included."""
        here = [each for each in everybody() if each.pid not in (os.getpid(), self._command) and each.start >= since]
        roots = [each for each in here if each.group == self._group != 0 or is_marked(each, self._marks)]
        above = {each.pid for each in roots}
        found = below(above | ({self._command} if self._found() else set()), here)
        return [*roots, *(each for each in found if each.pid not in above)]

    def _end_command(self) -> None:
        """The command alone is left, and the session lives by it. So who waits for its end finds the claim free then."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _end_unseen(self) -> None:
        """Without /proc. Once the command has ended there is nothing that its id would tell."""
        if self._unseen and self._command:
            if self._unseen.is_reused():
                return
            self._unseen.end_others(self._group, self._marks.words)
        self._end_blindly()

    def _end_blindly(self) -> None:
        """Its group, until none is left that could be killed: one may be about to fork when the others are killed."""
        pause = _FIRST_PAUSE
        with contextlib.suppress(ProcessLookupError, PermissionError):  # None is left; or all that is are zombies.
            if self._command and not self._group:
                os.kill(self._command, signal.SIGKILL)
            while self._group and pause < _LONGEST_PAUSE:
                os.killpg(self._group, signal.SIGKILL)
                time.sleep(pause)
                pause *= 1.5
