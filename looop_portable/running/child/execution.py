"""A process of `looop run` that was just forked, until it is the command: it waits to be told, and executes it.

Guarantees: nothing is executed before it is told to; and nothing at all once this process's parent is gone.
Does not guarantee: that the command has a part in its session's lock: there may be none.
How: it reads its environment, and where that lock is, from a pipe; an exec that fails is told by a second pipe, which exec
closes.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import signal
import sys
from collections.abc import Mapping

from looop_portable.system.locks.session_locks import share_lock
from looop_portable.typed import NamedTuple

assert sys.platform != "win32"

_LENGTH = 16  # Digits before what is written to the pipe.
_LONGEST_ERROR = 4096
_SHELL = "/bin/sh"
"""Runs a script that does not say what runs it."""
_FIRST_LINE = 256
"""Bytes, as many as Linux reads of a program to find out what it is."""


class Go(NamedTuple):
    """`lock`: the path of the session's lock; empty: it has none."""

    environment: dict[str, str]
    lock: str


def send_go(pipe: int, environment: Mapping[str, str], lock: str) -> None:
    """Have it execute the command. Raises BrokenPipeError if it is gone."""
    said = marshal.dumps((dict(environment), lock))  # Both ends are of one Python.
    said = f"{len(said):{_LENGTH}}".encode() + said
    while said:
        said = said[os.write(pipe, said) :]


def failure(pipe: int, program: str) -> tuple[int, str]:
    """Once it has ended: 127, or another code, and why the command could not be executed; 0 and nothing if it was."""
    said = os.read(pipe, _LONGEST_ERROR)
    if not said:
        return 0, ""
    number, _, why = said.decode(errors="surrogateescape").partition(" ")
    return explained(program, int(number), why)


def execute(command: list[str], pipe: int, failed: int, signals: Mapping[int, signal.Handlers], before: set[int]) -> None:
    """`signals`: what the command is to do with each; those of `before` are blocked. Never returns."""
    code = 127
    try:
        found = _receive_go(pipe)
        if found is None:
            return
        if found.lock:
            with contextlib.suppress(OSError):
                share_lock(found.lock)
        for number, disposition in signals.items():
            signal.signal(number, disposition)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _execute_found(command, found.environment)
    except OSError as error:
        os.write(failed, f"{error.errno or 0} {error.strerror or error}".encode(errors="surrogateescape"))
    except BaseException as error:  # noqa: BLE001 (there is nobody above who could tell)
        os.write(failed, f"0 {error}".encode(errors="replace")[:_LONGEST_ERROR])
    finally:
        os._exit(code)


def _execute_found(command: list[str], environment: dict[str, str]) -> None:
    """As execvp(3): the first on the PATH that can be executed. Returns never, or raises OSError."""
    program = command[0]
    path = environment.get("PATH", os.defpath)
    directories = [""] if os.path.dirname(program) else path.split(os.pathsep)
    missing: OSError | None = None
    refused: OSError | None = None
    for directory in directories:
        try:
            _execute_one(os.path.join(directory, program), command, environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = error
        except OSError as error:
            refused = refused or error
            if error.errno == errno.ENOEXEC:
                break
    raise refused or missing or FileNotFoundError(errno.ENOENT, "the PATH is empty", program)


def _execute_one(path: str, command: list[str], environment: dict[str, str]) -> None:
    """One that the kernel does not know is a script of the shell, unless its first line is none of text."""
    try:
        os.execve(path, command, environment)  # noqa: S606 (what the user has told us to run)
    except OSError as error:
        if error.errno != errno.ENOEXEC or not _is_text(path):
            raise
        script = path if os.path.dirname(path) else os.path.join(os.curdir, path)  # Else `-c` would be an option.
        with contextlib.suppress(FileNotFoundError):  # There is no shell.
            os.execve(_SHELL, [_SHELL, script, *command[1:]], environment)  # noqa: S606
        raise


def _is_text(path: str) -> bool:
    """Whether a shell may take it for a script: see `sh` of POSIX. One that cannot be read, it refuses itself."""
    try:
        with open(path, "rb") as file:
            return b"\0" not in file.read(_FIRST_LINE).split(b"\n", 1)[0]
    except OSError:
        return True


def explained(program: str, number: int, why: str) -> tuple[int, str]:
    """The exit code, as shells have it, and a line, of a program that could not be executed."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        if number == errno.ENOENT and os.sep in program and os.path.exists(program):
            return 126, f"{program}: what its first line names, or its loader, was not found"
        return 127, f"{program}: command not found"
    if number == errno.ENOEXEC:
        return 126, f"{program}: not a program of this system, nor a script"
    return 126, f"{program}: cannot be executed: {why}"


def _receive_go(pipe: int) -> Go | None:
    """What to go on with; None if this process's parent is gone.

    The parent keeps the pipe open as long as it lives. Without the last look, one that was killed just after it had told
    would leave a child behind that begins.
    """
    length = _read(pipe, _LENGTH)
    said = _read(pipe, int(length)) if length else b""
    if not said:
        return None
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):  # The parent lives, and says no more.
        os.read(pipe, 1)
        return None
    return Go(*marshal.loads(said))  # noqa: S302 (from our parent)


def _read(pipe: int, size: int) -> bytes:
    """So many bytes; none if they do not come."""
    found = b""
    while len(found) < size:
        more = os.read(pipe, size - len(found))
        if not more:
            return b""
        found += more
    return found
