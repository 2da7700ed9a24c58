"""Us and the peers, each in the form that its documentation shows first, behind one interface.

Does not guarantee: the same promises. Only ours recovers from a dead holder without an operator *and* never lets two in;
flock(2) and what rests on it frees a dead holder's lock, but not across hosts that do not share locks.
How they wait: as they do unless told otherwise; nothing is tuned, neither ours nor theirs. A timeout is only given where
there is one by default.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import fasteners
import filelock
import flufl.lock
import portalocker
from tables import OURS

import looop_portable

FOR_EVER = 1e6  # Seconds.

logging.getLogger("flufl.lock").addHandler(logging.NullHandler())  # It tells of each refusal on stderr.


class Contender(NamedTuple):
    """`acquire` waits without limit; `attempt` does not wait and says whether it has it; `release` lets go."""

    acquire: Callable[[], object]
    attempt: Callable[[], bool]
    release: Callable[[], object]


def ours(directory: str) -> Contender:
    patient = looop_portable.hold("repo-x", data_dir=directory)
    held = [patient]

    def acquire() -> None:
        held[0] = looop_portable.hold("repo-x", data_dir=directory, timeout=None)
        held[0].__enter__()

    def attempt() -> bool:
        held[0] = patient
        try:
            patient.__enter__()
        except looop_portable.ClaimHeld:
            return False
        return True

    return Contender(acquire, attempt, lambda: held[0].__exit__(None, None, None))


def of_filelock(kind: type[filelock.BaseFileLock]) -> Callable[[str], Contender]:
    def make(directory: str) -> Contender:
        lock = kind(f"{directory}/{kind.__name__}")

        def attempt() -> bool:
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                return False
            return True

        return Contender(lock.acquire, attempt, lock.release)

    return make


def of_portalocker(directory: str) -> Contender:
    lock = portalocker.Lock(f"{directory}/portalocker", timeout=FOR_EVER)

    def attempt() -> bool:
        try:
            lock.acquire(timeout=0, fail_when_locked=True)
        except portalocker.AlreadyLocked:
            return False
        return True

    return Contender(lock.acquire, attempt, lock.release)


def of_fasteners(directory: str) -> Contender:
    lock = fasteners.InterProcessLock(f"{directory}/fasteners")
    return Contender(lock.acquire, lambda: bool(lock.acquire(blocking=False)), lock.release)


def of_flufl(directory: str) -> Contender:
    # Its lifetime is how long it believes in a holder; without this, ours that hold for long would be broken.
    lock = flufl.lock.Lock(f"{directory}/flufl", lifetime=timedelta(hours=1))

    def attempt() -> bool:
        try:
            lock.lock(timeout=0)
        except flufl.lock.TimeOutError:
            return False
        return True

    return Contender(lock.lock, attempt, lock.unlock)


def of_flock_command(directory: str) -> Contender:
    """flock(1) as shells use it: it locks a descriptor of its parent's and ends."""
    command = shutil.which("flock")
    if command is None:
        raise FileNotFoundError("flock(1) is not installed: it is in util-linux; or pass --without 'flock(1)'")
    held = [-1]

    def run(*options: str) -> bool:
        held[0] = os.open(f"{directory}/flock", os.O_RDWR | os.O_CREAT, 0o644)
        os.set_inheritable(held[0], True)
        words = ["flock", *options, str(held[0])]
        code = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(command, words, os.environ), 0)[1])
        if code not in (0, 1):
            raise OSError(f"{' '.join(words)}: exit code {code}")
        if code:
            os.close(held[0])
        return code == 0

    return Contender(run, lambda: run("--nonblock"), lambda: os.close(held[0]))


def of_flock_call(directory: str) -> Contender:
    """The bare calls of flock(2): no peer, but how fast the kernel is."""
    held = [-1]

    def run(flags: int) -> bool:
        held[0] = os.open(f"{directory}/flock2", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(held[0], flags)
        except BlockingIOError:
            os.close(held[0])
            return False
        return True

    return Contender(lambda: run(fcntl.LOCK_EX), lambda: run(fcntl.LOCK_EX | fcntl.LOCK_NB), lambda: os.close(held[0]))


HOLD = f"{OURS}: hold"
MAKERS: dict[str, Callable[[str], Contender]] = {
    HOLD: ours,
    "filelock.FileLock": of_filelock(filelock.FileLock),
    "filelock.SoftFileLock": of_filelock(filelock.SoftFileLock),
    "filelock.StrictSoftFileLock": of_filelock(filelock.StrictSoftFileLock),
    "filelock.SoftFileLease": of_filelock(filelock.SoftFileLease),
    "portalocker.Lock": of_portalocker,
    "fasteners.InterProcessLock": of_fasteners,
    "flufl.lock.Lock": of_flufl,
    "flock(1)": of_flock_command,
    "flock(2), bare": of_flock_call,
}
"""By the name of their rows; ours first."""
PACKAGES = ("looop-portable", "filelock", "portalocker", "fasteners", "flufl.lock")
