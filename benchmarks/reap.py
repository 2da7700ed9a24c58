"""One sweep of the reaper over many claims of 1,000 sessions, half of them dead, in one process.

    python benchmarks/reap.py [DIRECTORY]      (default: /dev/shm, else the temporary directory)

Printed for 1,000 and for 10,000 claims: seconds, microseconds a claim, and how often each session's process was looked at
while sweeping (must be once). The last line is the ratio of the two times, beside what linear would be. The dead are
sessions of processes that have run and are gone.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter

from looop_portable import Claims
from looop_portable.backends import open_backend
from looop_portable.liveness import Here, Holder, ProcessState
from looop_portable.processes import SYSTEM
from looop_portable.sessions import Sessions

SESSIONS, SIZES = 1_000, (1_000, 10_000)


class Counting:
    """The system's `Processes`, with a count of the looks at each process.

    Every session is given a pid of its own, though 1,000 processes do not run here: the living stand for this process,
    the dead for one that is gone. The same question is asked of the system, so a look costs what it costs.
    """

    def __init__(self, dead: int) -> None:
        self.looks: Counter[int] = Counter()
        self._dead = dead

    def here(self) -> Here:
        return SYSTEM.here()

    def start_of(self, pid: int) -> str:
        return str(pid)

    def state(self, pid: int, start: str) -> ProcessState:
        self.looks[int(start)] += 1
        real = self._dead if pid % 2 else os.getpid()
        return SYSTEM.state(real, "")


def corpse() -> int:
    """The pid of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def sweep(directory: str, size: int) -> float:
    """Seconds for one sweep of `size` claims."""
    counting = Counting(corpse())
    backend = open_backend("posix", directory)
    claims = Claims(backend, Claims.open(directory, "posix").events, Sessions(backend.sessions, counting))
    found = [claims.sessions.register(f"session-{pid}", pid=pid) for pid in range(1, SESSIONS + 1)]
    for number in range(size):
        registration = found[number % SESSIONS]
        claims.claim(f"repo-{number}", Holder(registration.session, registration.incarnation))
    counting.looks.clear()
    gc.collect()
    begin = time.perf_counter()
    outcome = claims.reap()
    seconds = time.perf_counter() - begin
    assert (len(outcome.reaped), outcome.kept, outcome.failed) == (size // 2, size - size // 2, ())
    times = Counter(counting.looks.values())
    looked = ", ".join(f"{sessions} sessions {count} x" for count, sessions in sorted(times.items()))
    print(f"{size:7,} claims  {seconds:7.3f} s  {seconds / size * 1e6:7.1f} us a claim  looked at: {looked}")
    return seconds


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else "/dev/shm" if os.path.isdir("/dev/shm") else None
    times = []
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir=base) as directory:
            times.append(sweep(directory, size))
    print(f"{times[-1] / times[0]:.1f} x the time for {SIZES[-1] / SIZES[0]:.0f} x the claims")


if __name__ == "__main__":
    main()
