"""An uncontended claim and release beside its peers, in one process and one run.

    python benchmarks/cycle.py [DIRECTORY]      (default: /dev/shm, else the temporary directory)

The contenders take turns, 100 cycles each, so that a noisy machine disturbs all alike; printed are each one's median in
microseconds and the median of its ratios, round by round, to ours.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import filelock

from looop_portable import Claims, Won

ROUNDS, CYCLES = 60, 100


def contenders(directory: str) -> dict[str, Callable[[], object]]:
    claims = Claims.open(directory, "posix")
    registration = claims.sessions.register()
    me = registration.holder

    def ours() -> None:
        outcome = claims.claim("repo-x", me)
        assert isinstance(outcome, Won)
        claims.release_lease(outcome.lease)

    def by_name() -> None:
        claims.claim("repo-x", me)
        claims.release("repo-x", me)

    def cycle(lock: filelock.BaseFileLock) -> Callable[[], object]:
        def run() -> None:
            lock.acquire()
            lock.release()

        return run

    peers = ("SoftFileLock", "StrictSoftFileLock", "FileLock")
    return {
        "ours: claim, release_lease (as hold does)": ours,
        "ours: claim, release": by_name,
    } | {f"filelock.{name}": cycle(getattr(filelock, name)(f"{directory}/{name}")) for name in peers}


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=base) as directory:
        timed: dict[str, list[float]] = {name: [] for name in contenders(directory)}
        runs = contenders(directory)
        for _ in range(ROUNDS):
            for name, run in runs.items():
                begin = time.perf_counter()
                for _ in range(CYCLES):
                    run()
                timed[name].append((time.perf_counter() - begin) / CYCLES * 1e6)
    first = next(iter(timed))
    for name, times in timed.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(timed[first], times, strict=True))
        print(f"{statistics.median(times):8.1f} us  {name:45} ours is {ratio:.2f} x")


if __name__ == "__main__":
    main()
