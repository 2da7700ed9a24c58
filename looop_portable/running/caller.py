"""Which process called this command: the one that a session is to live by where nobody has named one.

Guarantees: on Windows none is taken that only waits for this command: a launcher (`looop.exe`, `py`, `uv`, the Python of a
virtual environment), the `cmd /c` that `for /f` makes, a shell of MSYS or Cygwin that has forked itself to run us. One that
was started just now, and may have been started for us alone, is refused. An id is one of Windows', and its process runs.
Does not guarantee: that the process found goes on for longer: a script may end with this command as its last. Nor anything
of what is above a process that cannot be looked at.
How: a process whose command line says `looop ... session start`, and nothing to be done after it, ends with us. All but
cmd.exe, which has no word for its own process id, can name themselves with --pid.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from looop_portable.errors import NoSuchProcess, UsageError
from looop_portable.running.child.programs import found
from looop_portable.typed import NamedTuple

JUST_NOW = 2.0
"""Seconds. A process that is no older than that when it starts us, or our launcher, was started just now."""

_LAUNCHERS = {"py", "pyw", "pymanager", "uv", "uvx", "pipx"}
_FORKING = {"bash", "sh", "dash", "zsh", "fish", "ksh", "mksh", "busybox"}
_DEEPEST = 32
_US = re.compile(r"looop.*?[\s\"']session[\s\"',]+start\b", re.DOTALL)
_STAYS = re.compile(
    r"(?:^|[\\/])(?:cmd(?:\.exe)?\s+(?:/\S+\s+)*/k\b|(?:powershell|pwsh)(?:\.exe)?\s.*-noe(?:x|xi|xit)?\s)", re.IGNORECASE
)
_GOES_ON = re.compile(r"(?<![<>])[&;\n]+\s*[^\s\"'()\[\]{}&;]|\)\s*do\s", re.IGNORECASE)
_WINPID = "--pid $(cat /proc/$$/winpid)"
_NAME_ONE = "name the process that the session is to live by, with --pid (PowerShell: --pid $PID)"


class Seen(NamedTuple):
    """A process: its program's path, its command line, and when it began (seconds). Empty, or 0: it cannot be told."""

    pid: int
    program: str
    line: str = ""
    began: float = 0.0


def caller() -> int:
    """The process that called this command. Raises `UsageError` where it cannot be told, or may end with this command."""
    if sys.platform != "win32":
        pid = os.getppid()
    else:
        chain = _chain()
        pid = beyond_launchers(chain[1:], sys.executable, sys.argv[0], virtual=sys.prefix != sys.base_prefix)
        refuse_one_just_started(chain, pid)
    if not pid:
        raise UsageError("the caller cannot be told (it has ended, or looop is process 1 here): pass --pid")
    return pid


def named(pid: int) -> int:
    """The process that somebody means by `pid`. Raises `NoSuchProcess`, or `UsageError` where it may be two."""
    if sys.platform != "win32":
        return pid
    chain = _chain()
    if not in_unix_shell(os.environ, chain):
        return _running(pid, _runs)
    return translated(pid, unix_pid(pid), [each.pid for each in chain], _runs)


def described(pid: int) -> tuple[str, bool]:
    """The name of a process's program, for people, empty if it cannot be told; and whether it ends with this command.

    Only a shell that was given a command line (`sh -c`) is known to end.
    """
    words = _command_line(pid)
    name = _name(words[0]).rpartition("/")[2].removeprefix("-") if words else ""
    options = itertools.takewhile(lambda word: word[:1] in ("-", "+"), words[1:])
    return name, name in _FORKING and any(word[:2] != "--" and "c" in word for word in options)


def _command_line(pid: int, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> list[str]:
    """The words of a process; empty, if they cannot be told."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    if sys.platform == "win32":
        return []  # There one that was started just now is refused.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ps = ["ps", "-o", "args=", "-p", str(pid)]
        return run(ps, capture_output=True, text=True, errors="replace", timeout=10, check=False).stdout.split()
    return []


def beyond_launchers(parents: Sequence[Seen], python: str, script: str, *, virtual: bool) -> int:
    """The first of `parents`, the nearest first, that does not only wait for us; 0: there is none in sight."""
    ours = [_name(python)] if virtual else []
    ours.append(_name(script))
    for above, each in enumerate(parents):
        name = _name(each.program)
        if name in ours:
            ours.remove(name)
        elif not (_ends_with_us(each) or _is_fork(each, parents[above + 1 : above + 2])):
            return each.pid
    return 0


def refuse_one_just_started(chain: Sequence[Seen], pid: int) -> None:
    """`chain`: our own process, and those above it. Raises `UsageError`."""
    for below, each in itertools.pairwise(chain):
        program = _program(each)
        if each.pid == pid and program != "cmd" and each.began and 0 <= below.began - each.began < JUST_NOW:
            described = f"process {pid} ({program or 'it cannot be told which'})"
            raise UsageError(f"{described} was started just now, and may end with this command: {_NAME_ONE}")


def in_unix_shell(environment: Mapping[str, str], chain: Sequence[Seen]) -> bool:
    """Whether we are called from MSYS (Git Bash is one) or Cygwin, whose process ids are not those of Windows."""
    return bool(environment.get("MSYSTEM")) or any(_program(each) in _FORKING for each in chain)


def translated(pid: int, of_windows: int, above: Sequence[int], runs: Callable[[int], bool]) -> int:
    """What is meant by `pid` in such a shell: the process that it calls so, which is `of_windows` (0: none), or Windows'.

    `above`: those that called us, by Windows' ids. Raises `UsageError` where both run, and neither is one of these.
    """
    if of_windows in (0, pid) or pid in above:
        return _running(pid, runs, hint=f": in Git Bash, MSYS2 and Cygwin Windows' own id is needed: {_WINPID}")
    if of_windows in above or not runs(pid):
        return _running(of_windows, runs)
    both = f"it is process {of_windows} of Windows to this shell, and another process of Windows has that id"
    raise UsageError(f"--pid {pid} may be two: {both}: call this from cmd or PowerShell, or with {_WINPID}")


def unix_pid(pid: int, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> int:
    """Windows' id of the process that MSYS or Cygwin calls `pid`, as its ps(1) tells; 0: it does not."""
    ps = found("ps", os.environ.get("PATH", ""), "", os.path.isfile)
    if not ps:
        return 0
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        done = run([ps, "-p", str(pid)], capture_output=True, text=True, errors="replace", timeout=10, check=False)
        head, *rows = done.stdout.splitlines()
        column, own = head.split().index("WINPID"), head.split().index("PID")
        for row in rows:
            fields = row.split()  # A letter for its state may come first: I, S, O.
            fields = fields[1:] if fields and not fields[0].isdigit() else fields
            if fields[own] == str(pid):
                return int(fields[column])
    return 0


def _running(pid: int, runs: Callable[[int], bool], hint: str = "") -> int:
    if not runs(pid):
        raise NoSuchProcess(f"no such process: {pid}{hint}")
    return pid


def _ends_with_us(seen: Seen) -> bool:
    """Whether it is known for it by its name, or by what its command line does not go on with."""
    said = _US.search(seen.line)
    if said is None:
        return not seen.line and _program(seen) in _LAUNCHERS
    return not (_STAYS.search(seen.line) or _GOES_ON.search(seen.line, said.end()))


def _is_fork(seen: Seen, above: Sequence[Seen]) -> bool:
    """Whether it is what MSYS and Cygwin make to run another program: a copy of its parent, which waits for that."""
    if not above or not seen.line:
        return False
    same = (seen.program.lower(), seen.line) == (above[0].program.lower(), above[0].line)
    return same and _program(seen) in _FORKING


def _program(seen: Seen) -> str:
    """What it is called, wherever it is."""
    return _name(seen.program).rpartition("/")[2]


def _name(path: str) -> str:
    """Without what Windows leaves out, and in one case and one kind of slash."""
    return path.replace("\\", "/").lower().removesuffix(".exe").removesuffix("-script.py")


def _chain() -> list[Seen]:
    """Our own process, and those above it, as far as they are in sight.

    Not by psutil's `parent`: that takes the process of the lowest id for the first of all, which it need not be.
    """
    import psutil

    process = psutil.Process()
    seen = [_seen(process)]
    with contextlib.suppress(psutil.Error, OSError):  # What is above them may be out of our sight: then it is none of them.
        while (above := process.ppid()) and len(seen) < _DEEPEST:
            process = psutil.Process(above)
            seen.append(_seen(process))
            if seen[-1].began > seen[-2].began:  # A later process of its id: the parent has ended.
                seen.pop()
                break
    return seen


def _seen(process: object) -> Seen:
    import psutil

    assert isinstance(process, psutil.Process)
    program = line = ""
    with contextlib.suppress(psutil.Error, OSError):
        program = process.exe()
    with contextlib.suppress(psutil.Error, OSError):
        line = " ".join(process.cmdline())
    return Seen(process.pid, program, line, process.create_time())


def _runs(pid: int) -> bool:
    """Whether Windows has a process of exactly that id, which has not ended.

    Windows takes an id for that of the next lower multiple of four, and one that has ended is there while somebody has it
    open.
    """
    if sys.platform != "win32":
        return False
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
    for call in (kernel.GetProcessId, kernel.CloseHandle):
        call.argtypes = (wintypes.HANDLE,)
    kernel.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    if pid >= 1 << 32:
        return False
    handle = kernel.OpenProcess(_SYNCHRONIZE | _QUERY_LIMITED, False, pid)
    if not handle:
        return ctypes.get_last_error() == _ACCESS_DENIED and pid % 4 == 0  # There is one, and it is not ours.
    try:
        return bool(kernel.GetProcessId(handle) == pid and kernel.WaitForSingleObject(handle, 0) == _TIMEOUT)
    finally:
        kernel.CloseHandle(handle)


_SYNCHRONIZE, _QUERY_LIMITED = 0x100000, 0x1000
_ACCESS_DENIED, _TIMEOUT = 5, 0x102
