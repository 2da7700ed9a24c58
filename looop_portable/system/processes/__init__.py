"""What the operating system says of a process, and of the kernel that we run on.

Guarantees: GONE, REUSED and ZOMBIE are said only of a process that has ended. Whatever could not be read is UNREADABLE.
How: a process is a pid and a *start token*: on Linux field 22 of /proc/PID/stat (clock ticks since boot; see proc(5)), on
macOS the kernel's own (`kernel_macos`), elsewhere psutil's, but for what moves when the clock is set (`kernel_psutil`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable

from looop_portable.errors import NoSuchProcess
from looop_portable.protocol.liveness import Here, ProcessState
from looop_portable.typed import Protocol

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
        return _judged(found, pid, start)


class PortableProcesses:
    """`Processes` from psutil, for Windows and the BSDs; and for a macOS whose answers are not what we know."""

    def here(self) -> Here:
        return _portable_here()

    def start_of(self, pid: int) -> str:
        """The start token of a process that runs; empty if there is none, or it cannot be read."""
        from looop_portable.system.processes import kernel_psutil

        return kernel_psutil.start_of(pid)

    def state(self, pid: int, start: str) -> ProcessState:
        """Of the process `pid` that had the token `start` (empty: not recorded, then the pid alone counts)."""
        from looop_portable.system.processes import kernel_psutil

        return kernel_psutil.state(pid, start)


class MacProcesses(PortableProcesses):
    """`Processes` from macOS's kernel."""

    def start_of(self, pid: int) -> str:
        """The start token of a process that runs; empty if there is none, or a sandbox refuses it. Raises OSError."""
        from looop_portable.system.processes import kernel_macos

        try:
            found = kernel_macos.process(pid)
        except kernel_macos.NotReported:
            return super().start_of(pid)
        except PermissionError:
            return ""
        return found[1] if found and found[0] is not ProcessState.ZOMBIE else ""

    def state(self, pid: int, start: str) -> ProcessState:
        """Of the process `pid` that had the token `start` (empty: not recorded, then the pid alone counts)."""
        from looop_portable.system.processes import kernel_macos

        try:
            found = kernel_macos.process(pid)
        except kernel_macos.NotReported:
            return super().state(pid, start)
        except OSError:  # A sandbox refuses it.
            found = None
        return _judged(found, pid, start)


def start_of(processes: Processes, pid: int) -> str:
    """What tells a process from later ones of its id. Empty where that cannot be read. Raises `NoSuchProcess`."""
    with contextlib.suppress(OSError):
        start = processes.start_of(pid)
        if start:
            return start
    if processes.state(pid, "") is not ProcessState.UNREADABLE:
        raise NoSuchProcess(f"no such process: {pid}")
    return ""


_KNOWN: dict[str, Callable[[], Processes]] = {"linux": LinuxProcesses, "darwin": MacProcesses}
SYSTEM = _KNOWN.get(sys.platform, PortableProcesses)()


@functools.cache
def host() -> str:
    """This machine's name, for people: as much of it as a name of DNS may have."""
    if sys.platform == "win32":
        from looop_portable.system.processes import kernel_windows

        return kernel_windows.name()[:_LONGEST_NAME]
    return os.uname().nodename[:_LONGEST_NAME]


def user() -> str:
    """The name of the user that this process runs for, for people; empty if nobody has told. As `getpass` finds it."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if name := os.environ.get(variable):
            return _for_a_record(name)
    return _for_a_record(_listed_user())


def _for_a_record(name: str) -> str:
    return name.encode(errors="replace").decode()[:_LONGEST_NAME]


def _listed_user() -> str:
    if sys.platform == "win32":
        return ""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # In a container that was given a number alone.
        return ""


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


def _judged(found: tuple[ProcessState, str] | None, pid: int, start: str) -> ProcessState:
    if found is None:
        # Without this, /proc mounted with hidepid would make a corpse of every process of another user.
        return ProcessState.UNREADABLE if _exists(pid) else ProcessState.GONE
    state, began = found
    return ProcessState.REUSED if start and began != start else state


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
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().decode()
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
    given, namespace = _given(), f"pids of {sys.platform}"
    if sys.platform.startswith("freebsd"):
        from looop_portable.system.processes import kernel_bsd

        namespace = kernel_bsd.namespace()
    return _remembered("psutil", Here(given or _boot_session(), namespace, given=bool(given), pid=pid))


def _boot_session() -> str:
    """What tells this kernel, since it booted, from all others; empty where it does not tell. Never made up."""
    if sys.platform == "darwin":
        from looop_portable.system.processes import kernel_macos

        return kernel_macos.boot_session()
    if sys.platform == "win32":
        from looop_portable.system.processes import kernel_windows

        return kernel_windows.identity()
    if sys.platform == "linux":
        return _boot_id()
    from looop_portable.system.processes import kernel_bsd

    return kernel_bsd.boot_id()
