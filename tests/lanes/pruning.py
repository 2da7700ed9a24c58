"""Rounds of pruning one name while others claim it, and somebody kills them: no number is won twice.

    cd tests && python -m lanes.pruning --rounds 1000000 [--seconds 600] [--claimers 2] [--pruners 1] [--backend posix]

Ends after so many rounds, or seconds. A round is a prune that took the name's directory away. Prints a summary. Exit 1: two
held at once, a number was won that was not greater than every one before, a reader was shown a smaller one than before, or
a verb could not answer.

The oracle is a kernel lock, which each winner must get, and a number in shared memory, which only its holder changes. It
knows nothing of us. Each quarter of a second one of the processes is killed, wherever it is, and another begins.
"""

from __future__ import annotations

import argparse
import fcntl
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from looop_portable import Claims, Won

NAME = "repo-x"
_SLOTS = 16
_LAST, _BAD, _FIRST = 0, 1, 2
"""In the shared memory: the greatest number that was won; how many laws were broken; then a counter for each process."""
_KILL_EVERY = 0.25
_PATIENT, _PATIENCE = 0.9, 0.02
"""How often a claimer waits for the name to be pruned before it claims again; and for how long, in seconds."""

Body = Callable[["Scene", int], None]


class Scene:
    """What the processes share."""

    def __init__(self, directory: str, backend: str) -> None:
        self.directory = directory
        self.backend = backend
        self.shared = memoryview(mmap.mmap(-1, 8 * (_FIRST + _SLOTS))).cast("Q")
        self.lock = os.path.join(directory, "oracle")

    def claims(self) -> Claims:
        return Claims.open(os.path.join(self.directory, "store"), self.backend)

    def let_it_be_pruned(self) -> None:
        """Else nobody who prunes would find it free often."""
        end = time.monotonic() + _PATIENCE
        while os.path.exists(self.directory + "/store/claims/.ledger/" + NAME) and time.monotonic() < end:
            time.sleep(0.0002)

    def broken(self, what: str) -> None:
        self.shared[_BAD] += 1
        sys.stderr.write(f"{what}\n")


def claimer(scene: Scene, slot: int) -> None:
    """Claims and releases."""
    claims, lock = scene.claims(), os.open(scene.lock, os.O_RDWR | os.O_CREAT)
    me = claims.sessions.register().holder
    while True:
        won = claims.claim(NAME, me)
        if not isinstance(won, Won):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            scene.broken(f"generation {won.generation} was won while another holds")
        if won.generation <= scene.shared[_LAST]:
            scene.broken(f"generation {won.generation} was won after {scene.shared[_LAST]}")
        scene.shared[_LAST] = won.generation
        if not (checked := claims.check(NAME, won.generation)).current:
            scene.broken(f"generation {won.generation} is held, and is not current: {checked}")
        fcntl.flock(lock, fcntl.LOCK_UN)
        claims.release(NAME, me)
        scene.shared[_FIRST + slot] += 1
        if random.random() < _PATIENT:
            scene.let_it_be_pruned()


def pruner(scene: Scene, slot: int) -> None:
    """Prunes what is free, however young; now and then it sweeps."""
    claims = scene.claims()
    while True:
        sweep = claims.prune(0)
        if sweep.failed or sweep.skipped:
            scene.broken(f"prune: {sweep}")
        scene.shared[_FIRST + slot] += len(sweep.pruned)
        if random.random() < 0.01:
            claims.reap()


def reader(scene: Scene, slot: int) -> None:
    """What it is shown only grows."""
    claims, last = scene.claims(), 0
    while True:
        shown = claims.show(NAME).generation
        if shown < last:
            scene.broken(f"generation {shown} was shown after {last}")
        last = shown
        scene.shared[_FIRST + slot] += 1
        time.sleep(0.001)


def start(scene: Scene, slot: int, body: Body) -> int:
    pid = os.fork()
    return pid or run(scene, slot, body)


def run(scene: Scene, slot: int, body: Body) -> NoReturn:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        random.seed()
        body(scene, slot)
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is told)
        scene.broken(f"{body.__name__}: {error!r}")
    os._exit(1)


def storm(scene: Scene, bodies: Sequence[Body], rounds: int, seconds: float) -> tuple[int, int]:
    """How many rounds there were, and how many were killed."""
    pids = [start(scene, slot, body) for slot, body in enumerate(bodies)]
    killed, end = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end and not scene.shared[_BAD] and counted(scene, bodies, pruner) < rounds:
            time.sleep(_KILL_EVERY)
            slot = random.randrange(len(bodies))
            os.kill(pids[slot], signal.SIGKILL)
            os.waitpid(pids[slot], 0)
            pids[slot] = start(scene, slot, bodies[slot])
            killed += 1
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return counted(scene, bodies, pruner), killed


def counted(scene: Scene, bodies: Sequence[Body], kind: object) -> int:
    return sum(scene.shared[_FIRST + slot] for slot, body in enumerate(bodies) if body is kind)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=86400)
    parser.add_argument("--claimers", type=int, default=2)
    parser.add_argument("--pruners", type=int, default=1)
    parser.add_argument("--backend", default="posix")
    parser.add_argument("--directory", help="where the store is made")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that no process of the storm goes on without it.
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        scene = Scene(directory, asked.backend)
        bodies = [claimer] * asked.claimers + [pruner] * asked.pruners + [reader]
        rounds, killed = storm(scene, bodies, asked.rounds, asked.seconds)
        wins = counted(scene, bodies, claimer)
        claims = scene.claims()
        won = claims.claim(NAME, claims.sessions.register().holder)
        if not isinstance(won, Won) or won.generation <= scene.shared[_LAST]:
            scene.broken(f"after all that a newcomer was told {won}")
    bad, last = scene.shared[_BAD], scene.shared[_LAST]
    print(f"{asked.backend}: {rounds} rounds, {wins} wins, {killed} killed, the greatest number {last}, {bad} broken")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
