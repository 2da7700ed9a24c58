"""As `child/posix`, on Windows: the process that `looop run` runs a command in.

Guarantees: the command is made suspended, and runs only when its session lives by it. It and all that it starts are in a
job object, which ends them when this process ends, however it ends. What the command leaves behind has ended when `wait`
returns, so before anything is released. No argument of a batch file is run as a command (`programs`).
Does not guarantee: that a command is asked to end: there is no signal for that, it is ended. Nor, if this process is killed
between the making of the command's and its being put into the job, that it is not left behind, suspended for ever.
How: CREATE_SUSPENDED, a job with JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, NtResumeProcess. A process cannot be given its
environment later, and the generations are in it: so the session lives by this process until there is that one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from looop_portable.errors import Interrupted, Unavailable, UsageError
from looop_portable.running.child.programs import BUILT_IN, batch_line, found, is_batch
from looop_portable.system.signals.asking import Asked
from looop_portable.typed import Any

assert sys.platform == "win32"

import ctypes  # noqa: E402
from ctypes import wintypes  # noqa: E402

from looop_portable.system.processes.windows_system import KILL_ON_JOB_CLOSE, Accounting, kernel, new_job, system_directory  # noqa: E402

_CREATE_SUSPENDED = 0x4
_KILLED = 128 + 9
_ENDED = 128 + 15
_FIRST_OF_ERRORS = 0xC0000000
"""Of the codes of processes: Windows' own word for what one has died of. It is an NTSTATUS."""
_ACCOUNTING = 1  # JobObjectBasicAccountingInformation.
_LOOK = 0.01
_PATIENCE = 10.0
"""Seconds from one look at what is left in the job to the next, and until that is given up."""


_resume = ctypes.WinDLL("ntdll").NtResumeProcess
_resume.argtypes = (wintypes.HANDLE,)
_resume.restype = ctypes.c_int32  # An NTSTATUS: an error if it is below 0.


class Child:
    """One command, `command` its words. `prepare`, then `begin` and `wait`, or `discard`.

    Nothing is ever left: what the command has started ends with it. So it cannot hold (`holds`).
    """

    def __init__(self, command: Sequence[str], *, holds: bool = False) -> None:
        if holds:
            raise UsageError("--until-all-end: on Windows all that a command has started ends with it")
        self.left: list[str] = []
        self.ended_by = ""
        """What it has died of, for people: an error's status. Who has ended it (taskkill) chooses its code himself."""
        self._command = list(command)
        self._program = self._line = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._interruptible = self._patient = False
        self._asked = Asked()
        self._handlers: dict[int, Any] = {}

    def prepare(self) -> int:
        """The process that the session lives by until the command's is there: this one. Raises `UsageError`."""
        try:
            self._program, self._line = _line(self._command, os.environ)
        except FileNotFoundError as error:
            self._failure = error
        for number in (signal.SIGINT, signal.SIGBREAK):  # The console sends them to the command as well.
            self._handlers[number] = signal.signal(number, self._interrupt)
        self._job = new_job(KILL_ON_JOB_CLOSE)
        return os.getpid()

    @contextlib.contextmanager
    def interruptible(self, *, patiently: bool = False) -> Iterator[None]:
        """Inside, Ctrl-C and Ctrl-Break raise `Interrupted`; `patiently`: the second one does, not just after the first."""
        if patiently:
            self._asked.begin_anew()
        self._interruptible, self._patient = True, patiently
        try:
            yield
        finally:
            self._interruptible = False

    def begin(self, environment: Mapping[str, str], registered: Callable[[int], None], lock: str = "") -> None:  # noqa: ARG002
        """Run the command. `registered` is called with its process id, before it runs."""
        if self._failure:
            return
        try:
            self._process = subprocess.Popen(  # noqa: S603 (what the user has told us to run)
                self._line, executable=self._program, env=dict(environment), creationflags=_CREATE_SUSPENDED
            )
        except OSError as error:
            self._failure = error
            return
        handle = int(self._process._handle)  # type: ignore[attr-defined]
        try:
            if not kernel.AssignProcessToJobObject(self._job, handle):
                raise ctypes.WinError(ctypes.get_last_error())
            registered(self._process.pid)
            status = _resume(handle)
            if status < 0:
                raise Unavailable(f"the command could not be begun: NtResumeProcess: status {status & 0xFFFFFFFF:#010x}")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def discard(self) -> None:
        """The command is not to run any more, or not at all."""
        self._end(_KILLED)
        if self._process:
            self._process.wait()
            self._wait_for_all()

    def wait(self) -> int:
        """Until it has ended, and all that it has left behind; its exit code."""
        if self._process is None:
            return 127
        code = self._process.wait()
        self.ended_by = f"status {code:#x}" if code >= _FIRST_OF_ERRORS else ""
        self._end(_KILLED)
        self._wait_for_all()
        return code - (1 << 32) if code >= 1 << 31 else code

    def failure(self) -> tuple[int, str]:
        """After `wait`: 127, or another code, and why the command could not be run; 0 and nothing if it was."""
        if self._failure is None:
            return 0, ""
        if self._failure.errno == errno.ENOENT:
            name = self._command[0]
            way_out = f": it is a part of cmd.exe: run `cmd /c {name} ...`" if name.lower() in BUILT_IN else ""
            return 127, f"{name}: command not found{way_out}"
        return 126, f"{self._command[0]}: cannot be executed: {self._failure.strerror}"

    def close(self) -> None:
        """This process's signals are as they were."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def terminate(self) -> None:
        self._end(_ENDED)

    def kill(self) -> None:
        self._end(_KILLED)

    def _end(self, code: int) -> None:
        if self._process:
            kernel.TerminateJobObject(self._job, code)

    def _wait_for_all(self) -> None:
        """Until the job is empty: to be told to end takes time. Without this, the next holder would find them running."""
        began, left = time.monotonic(), Accounting()
        while (
            kernel.QueryInformationJobObject(self._job, _ACCOUNTING, ctypes.byref(left), ctypes.sizeof(left), None)
            and left.active
        ):
            if time.monotonic() - began > _PATIENCE:
                self.left = [f"{left.active} of the processes that it has started"]
                return
            time.sleep(_LOOK)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (what a handler is given)
        before = self._asked.ever
        if self._asked.counts() and self._interruptible and (before or not self._patient):
            raise Interrupted(number)


def _line(command: Sequence[str], environment: Mapping[str, str]) -> tuple[str, str]:
    """The program to be run, and its command line. Raises OSError where there is none, and `UsageError`."""
    name, *arguments = command
    system = system_directory()
    here = "" if "NoDefaultCurrentDirectoryInExePath" in environment else "."
    path = f"{environment.get('PATH', '')};{system}"
    program = found(name, path, environment.get("PATHEXT", ""), os.path.isfile, here)
    if not program:
        raise FileNotFoundError(errno.ENOENT, "command not found", name)
    if not is_batch(program):
        return program, subprocess.list2cmdline(command)
    interpreter = f"{system}\\cmd.exe"
    return interpreter, batch_line(os.path.abspath(program), arguments, interpreter)
