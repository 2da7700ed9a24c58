"""Whether the kernel's locks exclude in a directory: two processes, and the one must be refused what the other holds.

Guarantees: a lock counts as working only if a second process was refused it, and got it once the first had let go.
Does not guarantee: anything about other hosts (see `Mount.local_guard`, and `meeting`).
How: both processes are children with a conversation each, so that a filesystem that does not answer (an NFSv3 server whose
lock service is behind a firewall) delays the doctor by `_ANSWER` seconds, and does not hang it.
"""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading

from looop_portable.doctor.findings import Probe
from looop_portable.errors import because
from looop_portable.system.processes.python import PATIENCE, end, job, start

FLOCK, RANGE = "flock", "range"

_ANSWER = 20.0
_BUSY = (errno.EAGAIN, errno.EACCES)
_TAKEN, _REFUSED, _DROPPED = "taken", "refused", "dropped"


def probe(path: str) -> tuple[Probe, Probe]:
    """flock(2), and a byte range (fcntl's on POSIX, LockFile's on Windows), on `path`, a file that is there."""
    one, two = _Party(path), _Party(path)
    try:
        return exclude(one, two, FLOCK), exclude(one, two, RANGE)
    finally:
        one.end()
        two.end()


class _Party:
    """One of the two processes."""

    def __init__(self, path: str) -> None:
        self._child = start("looop_portable.doctor.probes.locks", {"path": path})
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._patience = PATIENCE
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, deed: str, kind: str) -> str:
        """Its answer; if there is none, that there is none."""
        assert self._child.stdin
        try:
            self._child.stdin.write(f"{deed} {kind}\n")
            self._child.stdin.flush()
            answer = self._answers.get(timeout=self._patience)
        except queue.Empty:
            return f"no answer within {self._patience:.0f} s"
        except OSError:
            answer = ""
        self._patience = _ANSWER
        return answer or f"the process that was to try it has ended: {end(self._child)}"

    def end(self) -> None:
        end(self._child)

    def _listen(self) -> None:
        assert self._child.stdout
        try:
            for line in self._child.stdout:
                self._answers.put(line.rstrip("\n"))
        except (OSError, ValueError):
            return  # It has been ended.
        finally:
            self._answers.put("")


def exclude(one: _Party, two: _Party, kind: str) -> Probe:
    """Whether `two` is refused what `one` has, and only that."""
    if kind == FLOCK and sys.platform == "win32":
        return Probe(None, "not on Windows")
    first = one.ask("take", kind)
    if first != _TAKEN:
        return Probe(False, first)
    second = two.ask("take", kind)
    one.ask("drop", kind)
    if second == _TAKEN:
        two.ask("drop", kind)
        return Probe(False, "granted to two processes at once")
    if second != _REFUSED:
        return Probe(False, second)
    third = two.ask("take", kind)
    two.ask("drop", kind)
    return Probe(True) if third == _TAKEN else Probe(False, f"not granted after it was released: {third}")


def serve() -> None:
    """The child: takes and drops what it is told to, each by a descriptor of its own."""
    path = str(job()["path"])
    held: dict[str, int] = {}
    for line in sys.stdin:
        deed, kind = line.split()
        if deed == "take":
            answer = _take(path, kind, held)
        else:
            fd = held.pop(kind, -1)
            answer = _DROPPED
            if fd >= 0:
                _drop(fd, kind)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _take(path: str, kind: str, held: dict[str, int]) -> str:
    try:
        fd = os.open(path, os.O_RDWR)  # NFS grants an exclusive flock only to who may write.
    except OSError as error:
        return because(error)
    try:
        _lock(fd, kind)
    except OSError as error:
        os.close(fd)
        return _REFUSED if error.errno in _BUSY else because(error)
    held[kind] = fd
    return _TAKEN


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int, kind: str) -> None:
        assert kind == RANGE
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _drop(fd: int, kind: str) -> None:
        assert kind == RANGE
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        os.close(fd)

else:
    import fcntl

    def _lock(fd: int, kind: str) -> None:
        if kind == FLOCK:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _drop(fd: int, kind: str) -> None:  # noqa: ARG001 (as on Windows)
        os.close(fd)  # Closing releases both kinds, at once.
