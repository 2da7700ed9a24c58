"""What the operating system says of a process, and of the kernel that we run on.

Guarantees: GONE, REUSED and ZOMBIE are said only of a process that has ended. Whatever could not be read is UNREADABLE.
How: a process is a pid and a *start token*: on Linux field 22 of /proc/PID/stat (clock ticks since boot; see proc(5)),
elsewhere psutil's create_time. psutil's create_time is never used on Linux: there it moves when the clock is set.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
from typing import Protocol

from looop_portable.errors import NoSuchProcess
from looop_portable.liveness import Here, ProcessState

_LONGEST_NAME = 255
"""Characters of a host's name or identity."""


class Processes(Protocol):
    """What liveness asks of the operating system."""

    def here(self) -> Here: ...
    def start_of(self, pid: int) -> str: ...
    def state(self, pid: int, start: str) -> ProcessState: ...


class LinuxProcesses:
    """`Processes` from /proc."""

    def here(self) -> Here:
        return _linux_here()

    def start_of(self, pid: int) -> str:
        """The start token of a process that runs; empty if there is none, or it cannot be read."""
        found = _stat(pid) if self.here().namespace else None
        return found[1] if found and found[0] is not ProcessState.ZOMBIE else ""

    def state(self, pid: int, start: str) -> ProcessState:
        """Of the process `pid` that had the token `start` (empty: not recorded, then the pid alone counts)."""
        try:
            found = _stat(pid) if self.here().namespace else None  # A /proc of others tells of others.
        except OSError:
            found = None
        if found is None:
            # Without this, /proc mounted with hidepid would make a corpse of every process of another user.
            return ProcessState.UNREADABLE if _exists(pid) else ProcessState.GONE
        state, token = found
        return ProcessState.REUSED if start and token != start else state


class PortableProcesses:
    """`Processes` from psutil, for macOS, Windows and the BSDs."""

    def here(self) -> Here:
        return _portable_here()

    def start_of(self, pid: int) -> str:
        import psutil

        try:
            return repr(psutil.Process(pid).create_time())
        except psutil.Error:
            return ""

    def state(self, pid: int, start: str) -> ProcessState:
        import psutil

        try:
            process = psutil.Process(pid)
            if start and repr(process.create_time()) != start:
                return ProcessState.REUSED
            status = process.status()
        except psutil.ZombieProcess:
            return ProcessState.ZOMBIE
        except psutil.NoSuchProcess:
            return ProcessState.GONE
        except (psutil.Error, OSError):
            return ProcessState.UNREADABLE
        if status == psutil.STATUS_ZOMBIE:
            return ProcessState.ZOMBIE
        return ProcessState.STOPPED if status == psutil.STATUS_STOPPED else ProcessState.RUNNING


def start_of(processes: Processes, pid: int) -> str:
    """What tells a process from later ones of its id. Empty where that cannot be read. Raises `NoSuchProcess`."""
    with contextlib.suppress(OSError):
        start = processes.start_of(pid)
        if start:
            return start
    if processes.state(pid, "") is not ProcessState.UNREADABLE:
        raise NoSuchProcess(f"no such process: {pid}")
    return ""


SYSTEM: Processes = LinuxProcesses() if sys.platform == "linux" else PortableProcesses()


@functools.cache
def host() -> str:
    """This machine's name, for people: as much of it as a name of DNS may have."""
    if sys.platform == "win32":
        from looop_portable import kernel_windows

        return kernel_windows.name()[:_LONGEST_NAME]
    return os.uname().nodename[:_LONGEST_NAME]


def _stat(pid: int) -> tuple[ProcessState, str] | None:
    """State and start token; None if /proc has no such process. Other errors are raised."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            line = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        # The second field is the command's name in parentheses, and may itself contain both spaces and parentheses.
        fields = line[line.rindex(b")") + 2 :].split()
        letter, threads, start = fields[0], int(fields[17]), fields[19].decode()
    except (ValueError, IndexError) as error:
        raise OSError(errno.EIO, "not as proc(5) has it", f"/proc/{pid}/stat") from error
    if letter in (b"Z", b"X", b"x"):
        # A process whose first thread has ended shows as a zombie while its other threads run on.
        return (ProcessState.RUNNING if letter == b"Z" and threads > 1 else ProcessState.ZOMBIE), start
    return (ProcessState.STOPPED if letter in (b"T", b"t") else ProcessState.RUNNING), start


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    except OverflowError:
        return False
    return True


_known: dict[tuple[str, int], Here] = {}
"""What this process, by its id, has found out, and how of itself. What could not be read is asked again."""


def _remembered(how: str, found: Here) -> Here:
    """A child made by fork, whether Python knows of that or not, may have been put into another pid namespace."""
    if found.boot and found.namespace:
        _known[how, found.pid] = found
    return found


def _linux_here() -> Here:
    pid = os.getpid()
    known = _known.get(("proc", pid))
    if known is not None:
        return known
    given = _given()
    return _remembered("proc", Here(given or _boot_id(), _namespace(pid), given=bool(given), pid=pid))


def _given() -> str:
    """$LOOOP_HOST_ID. Of one that no record should have, a hash: cut, two hosts could have the same."""
    given = os.environ.get("LOOOP_HOST_ID", "")
    if len(given) <= _LONGEST_NAME and given.isprintable():
        return given
    import hashlib

    return hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _namespace(pid: int) -> str:
    """Of pids, and of the start tokens that are to be read here; empty where /proc does not tell of our own processes.

    A /proc of another pid namespace would answer for pids that are not ours: it knows us by more than one of them.
    """
    try:
        if os.readlink("/proc/self") != str(pid):
            return ""
        with open("/proc/self/status", "rb") as file:
            own = next((line.split()[1:] for line in file if line.startswith(b"NSpid:")), [])
        if len(own) > 1:
            return ""
        # A start token is counted in the time namespace of whoever reads it.
        time = os.readlink("/proc/self/ns/time") if os.path.lexists("/proc/self/ns/time") else ""
        return os.readlink("/proc/self/ns/pid") + time
    except OSError:
        return ""


def _portable_here() -> Here:
    pid = os.getpid()
    known = _known.get(("psutil", pid))
    if known is not None:
        return known
    given = _given()
    return _remembered("psutil", Here(given or _boot_session(), f"pids of {sys.platform}", given=bool(given), pid=pid))


def _boot_session() -> str:
    """macOS: kern.bootsessionuuid, new with each boot. Elsewhere: whose the kernel is, and when it booted; or empty."""
    if sys.platform == "darwin":
        import ctypes

        size = ctypes.c_size_t(64)
        value = ctypes.create_string_buffer(size.value)
        libc = ctypes.CDLL(None)
        if libc.sysctlbyname(b"kern.bootsessionuuid", value, ctypes.byref(size), None, 0) == 0:
            return value.value.decode()
    if sys.platform == "win32":
        from looop_portable import kernel_windows

        return kernel_windows.identity()
    import psutil

    return f"{host()} booted at {psutil.boot_time():.0f}"
