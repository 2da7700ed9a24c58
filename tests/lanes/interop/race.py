"""Processes of ours and of the real looop fight for one claim, watched by an oracle that knows nothing of either.

    cd tests && python -m lanes.interop.race --looop PATH [--ours 3] [--theirs 3] [--seconds 10] [--kills] [--reapers]
        [--seed N]

Prints what happened. Exit 1: an overlap, a lease that was lost, a generation that did not grow, a name that is stuck, or a
fighter that failed.

Each fighter is a process with a session of its own: one of ours registers itself and claims by the library, advisory; one
of looop's has a real session of looop's, and runs the binary for every claim and unclaim. It claims, holds for a moment,
lets go, and begins anew. With `--kills` some die while they hold, and others are killed wherever they are: in the middle of
a claim, under the guard, between a release and its answer. Their session dies with them, and they come back as another.
With `--reapers` ours and looop's sweep meanwhile.

The oracle is a kernel flock on a file outside: taken, without waiting, by whoever has been told that it has won; dropped
before it lets go, or by the kernel, when it dies. Why there is no false alarm: a fighter's session ends after the fighter
itself has been waited for (ours is the fighter, and a zombie has closed its files); each opens the file itself, after its
fork, so that nobody shares its flock, and starts no process while it holds. Before it lets go, a holder also looks whether
the claim is still its own: `lost` if not, by `check` for ours, by `claims/NAME.json` for looop's.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

from looop_portable import Claims

from .fighters import Fighter, OurFighter, Ring, TheirFighter, report, ring_for, stuck
from .parties import BACKEND

RECORD = struct.Struct("@qq")
HOLDS = 0.003
"""Seconds, at most."""


class Options(NamedTuple):
    looop: str
    ours: int
    theirs: int
    seconds: float
    kills: bool
    reapers: bool
    seed: int


class Oracle:
    """The kernel's word on who holds. In its file: the last generation of ours that won, and whether somebody holds."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    def take(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        data = os.pread(self._fd, RECORD.size, 0)
        self.generation, self.died = RECORD.unpack(data) if data else (0, 0)
        self.say(self.generation, 1)
        return True

    def drop(self) -> None:
        self.say(self.generation, 0)
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def say(self, generation: int, holding: int) -> None:
        self.generation = generation
        os.pwrite(self._fd, RECORD.pack(generation, holding), 0)


class Life:
    """One fighter, until it dies or is told to stop."""

    def __init__(self, fighter: Fighter, options: Options) -> None:
        self.fighter = fighter
        self.kills = options.kills
        self.random = random.Random(f"{options.seed} {fighter.session}")
        self.oracle = Oracle(fighter.ring.data_dir.with_name("oracle"))

    def run(self) -> None:
        while not self.fighter.ring.get(self.fighter.slot, "stop"):
            if self.fighter.claim():
                self.hold()
            else:
                time.sleep(self.random.random() * 0.002)

    def hold(self) -> None:
        self.fighter.count("acquisitions")
        mine = self.oracle.take()
        if mine:
            self.look()
        else:
            self.fighter.accuse("overlap")
        time.sleep(self.random.random() * HOLDS)
        if self.kills and self.random.random() < 0.1:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self.fighter.is_mine():
            self.fighter.accuse("lost", when="while it was held")
        if mine:
            self.oracle.drop()
        if not self.fighter.release():
            self.fighter.accuse("lost", when="at its release")

    def look(self) -> None:
        """With the flock just taken: did the last holder die, and is our generation above the last of ours?"""
        self.fighter.count("takeovers", self.oracle.died)
        generation = self.fighter.generation
        if generation:
            if generation <= self.oracle.generation:
                self.fighter.accuse("generation", won=generation, last=self.oracle.generation)
            self.oracle.say(generation, 1)


def reap(ring: Ring, slot: int) -> None:
    """Sweep until told to stop: as ours in slots of odd numbers, as looop in the others."""
    ours = Claims.open(str(ring.data_dir), BACKEND)
    while not ring.get(slot, "stop"):
        # A beat of looop's reads every session once for each: without pruning, hundreds of dead ones take it half a minute.
        reaped = len(ours.reap().reaped if slot % 2 else ring.rust.reap(ring.data_dir, LOOOP_SESSION_TTL="2"))
        ring.add(slot, "sweeps")
        ring.add(slot, "reaped", reaped)
        time.sleep(0.01)


class Referee:
    """Starts the fighters, kills them, and buries them."""

    def __init__(self, ring: Ring, options: Options) -> None:
        self.ring, self.options = ring, options
        self.random = random.Random(options.seed)
        self.fighters: dict[int, int] = {}
        self.sessions: dict[int, subprocess.Popen[bytes]] = {}
        self.lives = self.kills = 0

    def run(self) -> None:
        try:
            for slot in range(self.ring.slots):
                self.start(slot)
            end = time.monotonic() + self.options.seconds
            while time.monotonic() < end:
                time.sleep(self.random.random() * 0.1)
                if self.options.kills:
                    self.kills += 1
                    os.kill(self.fighters[self.random.randrange(self.options.ours + self.options.theirs)], signal.SIGKILL)
                self.bury()
            for slot in self.fighters:
                self.ring.put(slot, "stop", 1)
            while self.fighters:
                os.waitpid(self.fighters.popitem()[1], 0)
        finally:
            while self.fighters:
                pid = self.fighters.popitem()[1]
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            for slot in list(self.sessions):
                self.end(slot)

    def start(self, slot: int) -> None:
        self.lives += 1
        if self.options.ours <= slot < self.options.ours + self.options.theirs:
            self.sessions[slot] = self.ring.rust.start(self.ring.data_dir, f"looops-{self.lives}")
        pid = os.fork()
        if pid == 0:
            self.work(slot)
        self.fighters[slot] = pid

    def work(self, slot: int) -> NoReturn:
        try:
            if slot < self.options.ours:
                Life(OurFighter(self.ring, slot, f"ours-{self.lives}"), self.options).run()
            elif slot < self.options.ours + self.options.theirs:
                Life(TheirFighter(self.ring, slot, f"looops-{self.lives}"), self.options).run()
            else:
                reap(self.ring, slot)
        except BaseException:  # noqa: BLE001 (whatever it is, it is told)
            self.ring.accuse(slot, "failed", error=traceback.format_exc())
        finally:
            os._exit(0)

    def bury(self) -> None:
        """Of looop's fighters the session dies after them: then their flock is gone for certain."""
        for slot, pid in list(self.fighters.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.end(slot)
                self.start(slot)

    def end(self, slot: int) -> None:
        process = self.sessions.pop(slot, None)
        if process:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--looop", required=True)
    parser.add_argument("--ours", type=int, default=3)
    parser.add_argument("--theirs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--kills", action="store_true")
    parser.add_argument("--reapers", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = Options(**vars(parser.parse_args()))
    with ring_for(options.looop, options.ours + options.theirs + 2 * options.reapers) as ring:
        referee = Referee(ring, options)
        referee.run()
        left = stuck(ring)
        violations = [*ring.violations(), *left]
        counts = {"lives": referee.lives, "kills": referee.kills, "stuck": len(left)}
        print(json.dumps(report(ring, options._asdict(), options.ours, options.theirs, **counts)))
    print("\n".join(violations[:20]), file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
