"""Chaos among those who share claims and those who want them alone: nobody is let in beside whom he may not be beside.

    python -m lanes.chaos.sharing [--processes 8] [--seconds 60] [--names 2] [--backend posix] [--without-links]
        [--every 0.2] [--lease 3] [--fault joins]

Processes claim names, three of four times to share them, hold them for a moment and let them go; one after the other is
killed, wherever it is, and another takes its place. `--backend` may be an engine's URL.
Oracle: the kernel's flock on a file a name, shared or alone, taken without waiting after a win and dropped before the
release; it ends with its process. Who does not get it has found an overlap. Another file a name has the greatest number
by which anybody had it alone, and by which anybody shared it: who has it alone has a greater one than all before; who
shares it, than all who had it alone.
When the time is over nobody is killed any more, and each process has to have each name alone once more, by waiting, while
the others go on to share it: who has not after a minute is stuck. The longest wait for a name, alone, is told.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from looop_portable import ClaimHeld, Claims, Held, Holder, Liveness, LooopError, Reader, Verdict, Won, hold
from looop_portable.claims.sharing import Share, Sharing
from looop_portable.protocol.records import shared_lease
from looop_portable.system.clock import elapsed
from looop_portable.testing import without_links

from .harness import there

STUCK = 60.0
"""Seconds: who has waited for so long is stuck."""


class Witness:
    """What all processes see of one name, whatever looop says."""

    def __init__(self, directory: str, name: str) -> None:
        self._inside = os.open(f"{directory}/{name}.inside", os.O_RDWR | os.O_CREAT)
        self._numbers = os.open(f"{directory}/{name}.numbers", os.O_RDWR | os.O_CREAT)

    def enters(self, generation: int, *, shared: bool) -> str:
        """What is wrong with it; empty: nothing."""
        try:
            fcntl.flock(self._inside, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return "overlap"
        fcntl.flock(self._numbers, fcntl.LOCK_EX)
        alone, sharing = map(int, (os.pread(self._numbers, 64, 0) or b"0 0").split())
        least = alone if shared else max(alone, sharing)
        greatest = (alone, max(sharing, generation)) if shared else (generation, sharing)
        if generation > least:
            os.pwrite(self._numbers, b"%20d %20d" % greatest, 0)
        fcntl.flock(self._numbers, fcntl.LOCK_UN)
        return "" if generation > least else "number"

    def leaves(self) -> None:
        fcntl.flock(self._inside, fcntl.LOCK_UN)


class Member:
    """One process: until it is killed; or, asked to end, until it has had each name alone once more."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.random = random.Random(given.member)
        self.ends = False
        self.longest = 0.0
        self.counts = dict.fromkeys(("shared", "alone", "beside", "overlap", "number", "failed", "stuck"), 0)
        self.witnesses = {name: Witness(given.oracle, name) for name in names(given)}

    def work(self) -> None:
        left = set(self.witnesses)
        while left:
            name = self.random.choice(sorted(self.witnesses))
            shared = self.random.random() < 0.75
            if self.ends and name in left:
                shared = not self.once(name, shared=False)
                left -= {name} - ({name} if shared else set())
            else:
                self.once(name, shared=shared)
            print(
                " ".join(f"{key}={value}" for key, value in self.counts.items()), f"longest={self.longest:.3f}", flush=True
            )

    def once(self, name: str, *, shared: bool) -> bool:
        began = elapsed()
        where = {"data_dir": self.given.directory, "backend": self.given.backend, "lease_seconds": self.given.lease}
        try:
            with hold(name, **where, timeout=STUCK, shared=shared) as held:
                if not shared:
                    self.longest = max(self.longest, elapsed() - began)
                wrong = self.witnesses[name].enters(held.generation, shared=shared)
                self.counts["shared" if shared else "alone"] += 1
                self.counts["beside"] += len(held.lease.readers) > 1
                if wrong:
                    self.counts[wrong] += 1
                    sys.stderr.write(f"{wrong}: {name}, generation {held.generation}, shared={shared}: {held.lease}\n")
                time.sleep(self.random.random() * 0.02)
                held.check()
                self.witnesses[name].leaves()
        except ClaimHeld as error:
            self.counts["stuck"] += 1
            sys.stderr.write(f"stuck: {error}\n")
            return False
        except LooopError as error:
            self.witnesses[name].leaves()
            self.counts["failed"] += 1
            sys.stderr.write(f"failed: {error}\n")
            return False
        return True

    def end(self, *_: object) -> None:
        self.ends = True


def names(given: argparse.Namespace) -> list[str]:
    return [f"name-{number}" for number in range(given.names)]


def joins_whoever_holds(self: Sharing, name: str, me: Holder, note: str, share: Share) -> Won | Held:
    """Without a look at who holds it: he is left out, and goes on."""
    head = self.backend.read(name)
    kept = head.lease.readers if head.lease else ()
    new = shared_lease(name, (*kept, Reader(*me, head.generation + 1, share=share.word)), len(kept))
    return Won(new) if self.backend.advance(name, head.generation, new) else Held(new, Verdict(Liveness.ALIVE, "lost"))


FAULTS = {"joins": ("_claim_shared", joins_whoever_holds), "starves": ("_first_alone", lambda *_: None)}


class Harness:
    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.random = random.Random(given.seed)
        self.totals: dict[str, float] = {"kills": 0}
        self.running: list[tuple[subprocess.Popen[str], str]] = []
        self.number = 0

    def run(self) -> int:
        end = elapsed() + self.given.seconds
        while len(self.running) < self.given.processes:
            self.start()
        while elapsed() < end:
            time.sleep(self.random.random() * 2 * self.given.every)
            process, said = self.running.pop(self.random.randrange(len(self.running)))
            process.kill()
            process.wait()
            self.totals["kills"] += 1
            self.count(said)
            self.start()
        for process, _ in self.running:
            process.send_signal(signal.SIGUSR1)
        for process, said in self.running:
            try:
                process.wait(2 * STUCK)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.totals["stuck"] = self.totals.get("stuck", 0) + 1
            self.count(said)
        return self.report()

    def start(self) -> None:
        self.number += 1
        said = f"{self.given.oracle}/said-{self.number}"
        told = ("directory", "oracle", "backend", "names", "lease", *(["fault"] if self.given.fault else []))
        options = [f"--{key}={getattr(self.given, key)}" for key in told]
        command = [sys.executable, "-m", "lanes.chaos.sharing", "--member", str(self.given.seed + self.number), *options]
        with open(said, "w") as out:  # A file, as a pipe that nobody reads fills up.
            self.running.append((subprocess.Popen(command, stdout=out, env=there(), text=True), said))

    def count(self, said: str) -> None:
        """The last line that it has said whole."""
        lines = Path(said).read_text().split("\n")[:-1]
        for word in lines[-1].split() if lines else ():
            key, _, value = word.partition("=")
            known = self.totals.get(key, 0)
            self.totals[key] = max(known, float(value)) if key == "longest" else known + int(value)

    def report(self) -> int:
        claims = Claims.open(self.given.directory, self.given.backend)
        with contextlib.closing(claims.backend):
            left = [status for status in claims.list() if status.verdict and not status.verdict.dead]
        for key, value in self.totals.items():
            print(f"{key} {value:.3f}" if key == "longest" else f"{key} {value:.0f}")
        print(f"left {len(left)}")
        bad = [key for key in ("overlap", "number", "failed", "stuck") if self.totals.get(key)]
        return 1 if bad or left else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--names", type=int, default=2)
    parser.add_argument("--backend", default="posix")
    parser.add_argument("--lease", type=int, default=3)
    parser.add_argument("--every", type=float, default=0.2, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--without-links", action="store_true", help="hard links fail, as on vfat")
    parser.add_argument("--fault", choices=FAULTS, help="one that is put back, to see it found")
    for name in ("--member", "--directory", "--oracle"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.member:
        if given.fault:
            setattr(Sharing, *FAULTS[given.fault])
        member = Member(given)
        signal.signal(signal.SIGUSR1, member.end)
        member.work()
        return 0
    if given.without_links:
        without_links.deny()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        given.directory, given.oracle = f"{directory}/data", f"{directory}/oracle"
        os.mkdir(given.oracle)
        return Harness(given).run()


if __name__ == "__main__":
    raise SystemExit(main())
