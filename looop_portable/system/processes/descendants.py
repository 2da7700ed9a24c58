"""What a command has started, and what that has started: who they are, and ending exactly them.

Does not guarantee: to find, once a command's own process and its parent are gone, one that has left its group, closed what
it inherited and cleared its environment. Nor to see what another user runs where /proc hides that (hidepid). Nor to find
any at all where there is no /proc.
Guarantees: a signal goes to the process that was found, and not to a later one of its id.
How: /proc/PID/stat tells parents, groups and start tokens (proc(5)). What has lost its parent is known by its *marks*: the
lock of its session, which it has inherited as an open file, or its run's variables in the environment that it began with.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Iterable

from looop_portable.system.opening.locales import settled
from looop_portable.system.processes import SYSTEM
from looop_portable.typed import NamedTuple

assert sys.platform != "win32"

_LONGEST = 40
"""Characters of a command that is named."""


class Process(NamedTuple):
    """`start`: its start token, in ticks."""

    pid: int
    parent: int
    group: int
    start: int


class Marks(NamedTuple):
    """`lock`: device and inode of the session's lock; `words`: what is in the environment of whatever the run has begun."""

    lock: tuple[int, int] | None = None
    words: frozenset[bytes] = frozenset()


def lock_at(path: str) -> tuple[int, int] | None:
    """As in `Marks`. None: there is none."""
    try:
        found = os.stat(settled(path))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def are_seen() -> bool:
    """Whether /proc tells of our own pid namespace. One of another would have us signal others' processes."""
    return sys.platform == "linux" and bool(SYSTEM.here().namespace)


def look(pid: int) -> Process | None:
    """None if it has ended, or cannot be seen."""
    return _look(pid) if are_seen() else None


def _look(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            line = file.read(4096)
        fields = line[line.rindex(b")") + 2 :].split()
        if fields[0] in (b"Z", b"X", b"x") and int(fields[17]) <= 1:
            return None
        return Process(pid, int(fields[1]), int(fields[2]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def everybody() -> list[Process]:
    """All that run and can be seen."""
    try:
        names = os.listdir("/proc") if are_seen() else []
    except OSError:
        return []
    return [found for name in names if name.isdigit() and (found := _look(int(name)))]


def below(roots: Collection[int], among: Iterable[Process]) -> list[Process]:
    """Those that have one of `roots` above them, the roots not included."""
    children: dict[int, list[Process]] = {}
    for each in among:
        children.setdefault(each.parent, []).append(each)
    found: list[Process] = []
    above = list(roots)
    while above:
        more = children.pop(above.pop(), [])
        found += more
        above += [each.pid for each in more]
    return found


def is_marked(process: Process, marks: Marks) -> bool:
    """Whether it was begun by the run that has these marks."""
    return _has_words(process.pid, marks.words) or _has_lock(process.pid, marks.lock)


def _pidfd(pid: int) -> int:
    """-1: there are none on this system. Raises OSError."""
    if sys.platform != "linux":
        return -1
    return os.pidfd_open(pid)


def send(process: Process, number: int) -> bool:
    """False: it has ended, or is another's. Not to the children that it has, nor to its group."""
    try:
        fd = _pidfd(process.pid)
    except ProcessLookupError:
        return False
    except OSError:  # An old kernel, or no descriptor.
        fd = -1
    try:
        found = look(process.pid)
        if found is None or found.start != process.start:
            return False
        if sys.platform == "linux" and fd >= 0:
            signal.pidfd_send_signal(fd, number)
        else:
            os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def named(process: Process) -> str:
    """Its process id, and its command: for people."""
    words = b""
    with contextlib.suppress(OSError), open(f"/proc/{process.pid}/cmdline", "rb") as file:
        words = file.read(4096)
    if not words:
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/comm", "rb") as file:
            words = file.read(64)
    text = " ".join(words.decode(errors="replace").replace("\0", " ").split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f"pid {process.pid} ({text})" if text else f"pid {process.pid}"


def _has_words(pid: int, words: frozenset[bytes]) -> bool:
    if not words:
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return words <= set(file.read().split(b"\0"))
    except OSError:
        return False


def _has_lock(pid: int, lock: tuple[int, int] | None) -> bool:
    """Whether it holds it. Who only looks has the file open for a moment, and holds nothing."""
    if lock is None:
        return False
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            found = os.stat(f"/proc/{pid}/fd/{fd}")
            if (found.st_dev, found.st_ino) == lock:
                with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
                    if b"OFDLCK" in file.read():
                        return True
    except OSError:
        return False
    return False
