"""Chaos: workers that claim and are killed, stopped and restarted, watched by an oracle that knows nothing of us.

    cd tests && python -m lanes.chaos.run --processes 8 --seconds 60 [--directory DIR] [--names 8] [--reapers 1] [--seed N]
        [--backends posix,advisory] [--without-links]

Prints a summary. Exit 1: an overlap, a stuck name, or a worker that failed.

The workers are forked processes, each a session. Each picks a name, claims it, holds it for a moment, releases it. Some
abandon what they hold by ending their session, some release what is not theirs. The parent kills them (SIGKILL, mostly
while they hold), leaves some as zombies for a while, stops others for less than half a second, and starts anew whoever
died: under the same id, under one that two of them fight for, or under a random one. Reapers sweep all the time, and are
killed and stopped like everybody else. Each life uses one of the `--backends`; the last of these makes the directory.

The oracle of exclusion: oracle.py.

The oracle of progress. A claimer that is refused insists until somebody else has won that name since, or has had a good
excuse a few times over. It adds up the time for which it is refused without excuse; more than one second is a stuck name.
What excuses, by the oracle's own word: a living worker says that it holds the name (flocked), or one that is anywhere
between its claim and the end of its release is stopped (the parent says so before it stops, and takes it back after it has
continued). The dead are no excuse (the parent says so before it kills), nor is a running worker that has not got to its
flock or its release yet: that takes microseconds. Between two refusals at most 10 ms are counted, so a claimer that was
itself stopped, or starved, accuses nobody. In the end, when all are dead, every name must be won at the first attempt.

Slowest takeover: of all claims won from somebody who was killed while holding, the longest time from the kill, or from
the winner's first attempt, if that was later. Those whose winner was itself stopped meanwhile are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from typing import NoReturn

import looop_portable.backends.directory.backend
import looop_portable.system.locks.guard
import looop_portable.system.mounts  # noqa: F401 (else each life would import them anew)
from looop_portable import Claims, Held, LooopError, Refused, Released, Renewed, SessionAlive, Won
from looop_portable.testing import without_links

from .oracle import (
    BACKENDS,
    COUNTERS,
    HOLDING,
    IDLE,
    KILLED,
    LEAVING,
    MOST_LIVES,
    RUNNING,
    SELDOM,
    STOPPED,
    TRYING,
    VIOLATIONS,
    Options,
    Process,
    Record,
    Shared,
)

STUCK, STEP = 1.0, 0.01
PATIENCE, MANY = 5, 20


class Worker(Process):
    """A session that claims, holds and releases until it is killed."""

    def run(self) -> None:
        self.enrol()
        self.heir = True
        while True:
            chance = self.random.random()
            try:
                if chance < 0.01:
                    self.meddle()
                elif chance < 0.015:
                    self.quit()
                    self.enrol()
                else:
                    self.once()
            except LooopError as error:
                self.cannot("once", error)

    def enrol(self) -> None:
        """Register: under the id that this slot had before, one that others want as well, or a random one."""
        session = self.random.choice([f"slot-{self.slot}", f"wanted-{self.life % 2}", ""])
        try:
            found = self.claims.sessions.register(session)
        except SessionAlive as error:
            if not session.startswith("wanted"):
                self.cannot("register", error)
            session = ""
            found = self.claims.sessions.register()
        self.me = found.holder
        self.identity = session
        if session and not self.oracle.take(f"id-{session}"):
            self.accuse("identity", session=session)

    def quit(self) -> None:
        if self.identity:
            self.oracle.drop(f"id-{self.identity}")
        self.claims.sessions.stop(*self.me)

    def meddle(self) -> None:
        """Release what is another's, if anybody's: refused, unless that one is dead."""
        self.claims.release(self.pick()[1], self.me)

    def pick(self) -> tuple[int, str]:
        number = self.random.randrange(self.options.names)
        return number, f"name-{number}"

    def inherit(self) -> tuple[int, str]:
        """What this slot held last: where somebody of the same id might take a dead one's lease for its own."""
        self.heir = False
        number = self.shared.get(self.slot, "last")
        return number, f"name-{number}"

    def say(self, phase: int, name: int = 0) -> None:
        """In one word, so that nobody reads half of it."""
        self.shared.put(self.slot, "state", name * 4 + phase)

    def once(self) -> None:
        number, name = self.inherit() if self.heir else self.pick()
        self.say(TRYING, number)
        outcome = self.insist(number, name)
        if outcome:
            self.hold(number, name, outcome)
        self.say(IDLE)

    def insist(self, number: int, name: str) -> Won | Renewed | None:
        """Claim until won, or until somebody else has won it, or is seen to hold it for a while."""
        wins = self.shared.wins(number)
        self.stops = self.shared.get(self.slot, "stopped")
        self.began = time.monotonic_ns()
        refused, excused, last = 0.0, 0, time.monotonic()
        while True:
            outcome = self.claims.claim(name, self.me)
            if not isinstance(outcome, Held):
                return outcome
            self.count("refusals")
            now = time.monotonic()
            if self.shared.wins(number) != wins:
                return None
            if self.excused(number):
                refused, excused = 0.0, excused + 1
            else:
                refused += min(now - last, STEP)
            if excused > PATIENCE:
                return None
            last = now
            if refused > STUCK:
                self.accuse("stuck", name=name, lease=outcome.lease, verdict=outcome.verdict)
                return None
            time.sleep(0.001)

    def excused(self, number: int) -> bool:
        for slot in range(self.options.processes):
            where, phase = divmod(self.shared.get(slot, "state"), 4)
            if slot == self.slot or where != number or phase == IDLE:
                continue
            fate = self.shared.get(slot, "fate")
            if fate == STOPPED or (fate == RUNNING and phase == HOLDING):
                return True
        return False

    def hold(self, number: int, name: str, outcome: Won | Renewed) -> None:
        mine = self.enter(number, name, outcome)
        if self.random.random() < 0.9:
            time.sleep(self.random.random() * 0.002)
        if self.random.random() < 0.05:
            self.ask_again(name, outcome.generation)
        self.say(LEAVING, number)
        if mine:
            self.unlock(name, outcome)
        if self.random.random() < 0.005:
            self.count("abandoned")
            self.quit()
            self.enrol()
            self.heir = True
            return
        self.release(name, outcome)

    def enter(self, number: int, name: str, outcome: Won | Renewed) -> bool:
        """What has been won: does the oracle think so as well?"""
        mine = self.oracle.take(name)
        if mine:
            self.look(name, outcome)
            self.oracle.write(name, Record(outcome.generation, self.life, 1))
            self.shared.won(number)
        else:
            self.accuse("overlap", name=name, outcome=outcome, other=self.oracle.read(name))
        self.count("acquisitions")
        self.count(f"by {self.backend}")
        self.say(HOLDING, number)
        self.shared.put(self.slot, "last", number)
        return mine

    def unlock(self, name: str, outcome: Won | Renewed) -> None:
        self.oracle.write(name, Record(outcome.generation, self.life, 0))
        self.oracle.drop(name)

    def release(self, name: str, outcome: Won | Renewed) -> None:
        lease = outcome.lease
        by_name = self.random.random() < 0.5
        released = self.claims.release(name, self.me) if by_name else self.claims.release_lease(lease)
        if isinstance(released, Refused) or released.previous is None or released.generation != lease.generation + 1:
            self.accuse("lost", name=name, won=outcome, released=released)

    def look(self, name: str, outcome: Won | Renewed) -> None:
        """With the flock just taken: is this a new generation, and did the last holder leave in peace?"""
        now = time.monotonic_ns()
        last = self.oracle.read(name)
        if outcome.generation <= last.generation:
            self.accuse("generation", name=name, outcome=outcome, last=last)
        if isinstance(outcome, Won) and outcome.previous:
            self.count("takeovers")
        killed = self.shared.killed_at(last.life)
        if last.holding and killed:
            self.count("recoveries")
            if self.shared.get(self.slot, "stopped") == self.stops:
                waited = now - max(killed, self.began)
                self.shared.put(self.slot, "slowest", max(self.shared.get(self.slot, "slowest"), waited))

    def ask_again(self, name: str, generation: int) -> None:
        again = self.claims.claim(name, self.me)
        if not isinstance(again, Renewed) or again.generation != generation:
            self.accuse("lost", name=name, generation=generation, again=again)
        found = self.claims.check(name, generation)
        if not found.current:
            self.accuse("lost", name=name, generation=generation, found=found)


class Reaper(Process):
    """One that sweeps until it is killed."""

    def run(self) -> None:
        while True:
            try:
                found = self.claims.reap()
            except LooopError as error:
                self.cannot("reap", error)
                continue
            self.count("sweeps")
            self.shared.add(self.slot, "reaped", len(found.reaped))
            if found.skipped:
                self.trouble(found.skipped)
            for name, reason in found.failed:
                self.trouble(f"{name}: {reason}")
            time.sleep(0.01)

    def trouble(self, reason: str) -> None:
        self.count("reaper_trouble")
        with open(f"{self.options.oracle}/trouble", "a", encoding="utf-8") as file:
            file.write(reason + "\n")


class Parent:
    """Starts, kills, stops, continues and buries."""

    worker: type[Worker] = Worker
    pause, longest_stop = 0.06, 0.45

    def __init__(self, options: Options) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.slots = options.processes + options.reapers
        self.shared = Shared(self.slots, len(self.names()))
        self.pids: dict[int, int] = {}
        self.continues: dict[int, float] = {}
        self.buries: dict[int, float] = {}
        self.lives = self.kills = self.stops = self.zombies = 0

    def run(self) -> None:
        try:
            for slot in range(self.slots):
                self.start(slot)
            end = time.monotonic() + self.options.seconds
            while time.monotonic() < end and self.lives < MOST_LIVES - self.slots and self.shared.total("failed") < MANY:
                time.sleep(self.random.random() * self.pause)
                self.due()
                self.strike()
            self.calm()
        finally:
            self.end()

    def calm(self) -> None:
        """Before the survivors are killed."""

    def more(self) -> dict[str, object]:
        """What else there is to be told in the summary."""
        return {}

    def names(self) -> list[str]:
        """All claims that there are."""
        return [f"name-{number}" for number in range(self.options.names)]

    def start(self, slot: int) -> None:
        self.lives += 1
        for field, value in (("life", self.lives), ("state", IDLE), ("came", 0), ("fate", RUNNING)):
            self.shared.put(slot, field, value)
        sys.stdout.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self.work(slot, parent)
        self.pids[slot] = pid

    def work(self, slot: int, parent: int) -> NoReturn:
        try:
            # An orphan ends at its next alarm.
            signal.signal(signal.SIGALRM, lambda *_: os._exit(0) if os.getppid() != parent else None)
            signal.setitimer(signal.ITIMER_REAL, 1, 1)
            kind: type[Worker | Reaper] = self.worker if slot < self.options.processes else Reaper
            kind(self.options, self.shared, slot).run()
        except BaseException:  # noqa: BLE001 (whatever it is, the parent tells)
            Process(self.options, self.shared, slot).accuse("failed", error=traceback.format_exc())
        finally:
            os._exit(1)

    def due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, at in self.continues.items() if at <= now]:
            self.resume(slot)
        for slot in [slot for slot, at in self.buries.items() if at <= now]:
            self.bury(slot)
            self.start(slot)
        for slot, pid in self.pids.items():
            if slot not in self.buries and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.buries[slot] = now + 1  # It has failed, and has said why.

    def strike(self) -> None:
        well = [slot for slot in self.pids if slot not in self.buries]
        if not well:
            return
        slot = self.random.choice(well)
        chance = self.random.random()
        if chance < 0.6:
            holding = [slot for slot in well if self.shared.get(slot, "state") % 4 == HOLDING]
            self.kill(self.random.choice(holding) if holding and self.random.random() < 0.7 else slot)
        elif chance < 0.9 and slot not in self.continues:
            self.stop(slot)

    def stop(self, slot: int) -> None:
        self.stops += 1
        self.shared.add(slot, "stopped")
        self.shared.put(slot, "fate", STOPPED)
        os.kill(self.pids[slot], signal.SIGSTOP)
        self.continues[slot] = time.monotonic() + self.random.random() ** 3 * self.longest_stop

    def resume(self, slot: int) -> None:
        del self.continues[slot]
        os.kill(self.pids[slot], signal.SIGCONT)
        self.shared.put(slot, "fate", RUNNING)

    def kill(self, slot: int) -> None:
        """Also one that is stopped. It is dead when this returns, and a zombie until it is buried."""
        self.continues.pop(slot, None)
        self.kills += 1
        self.shared.kill(self.shared.get(slot, "life"))
        self.shared.put(slot, "fate", KILLED)
        os.kill(self.pids[slot], signal.SIGKILL)
        os.waitid(os.P_PID, self.pids[slot], os.WEXITED | os.WNOWAIT)
        chance = self.random.random()
        if chance < 0.3:
            self.bury(slot)
            self.start(slot)
            return
        stays = chance < 0.7
        self.zombies += stays
        self.buries[slot] = time.monotonic() + (self.random.random() * 0.3 if stays else 0)

    def bury(self, slot: int) -> None:
        self.buries.pop(slot, None)
        self.shared.put(slot, "state", IDLE)  # Before its pid can be somebody else's.
        os.waitpid(self.pids.pop(slot), 0)

    def end(self) -> None:
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
        for pid in self.pids.values():
            os.waitpid(pid, 0)
        self.pids.clear()


def afterwards(options: Options, shared: Shared, names: list[str]) -> None:
    """Everybody is dead: each name is to be had at once, and with a generation above all others."""
    shared.put(0, "life", 0)
    last = Process(options, shared, 0)
    found = last.claims.sessions.register()
    me = found.holder
    for name in names:
        outcome = last.claims.claim(name, me)
        if not isinstance(outcome, Won):
            last.accuse("stuck", name=name, outcome=outcome, when="all are dead")
            continue
        if not last.oracle.take(name):
            last.accuse("overlap", name=name, outcome=outcome, when="all are dead")
        if outcome.generation <= last.oracle.read(name).generation:
            last.accuse("generation", name=name, outcome=outcome, last=last.oracle.read(name))
    trouble = last.claims.reap().failed
    if trouble:
        last.accuse("failed", action="the last reap", trouble=trouble)
    for name in names:
        if not isinstance(last.claims.release(name, me), Released):
            last.accuse("lost", name=name, when="all are dead")


def summary(parent: Parent, seconds: float) -> dict[str, object]:
    total = parent.shared.total
    slowest = max(parent.shared.get(slot, "slowest") for slot in range(parent.slots))
    return {
        "processes": parent.options.processes,
        "names": parent.options.names,
        "seconds": round(seconds, 1),
        "seed": parent.options.seed,
        **{counter: total(counter) for counter in COUNTERS if counter not in SELDOM or total(counter)},
        "kills": parent.kills,
        "zombies": parent.zombies,
        "stops": parent.stops,
        "lives": parent.lives,
        "overlaps": sum(map(total, ("overlap", "generation", "lost", "identity"))),
        **{f"  of these: {kind}": total(kind) for kind in ("overlap", "generation", "lost", "identity")},
        "stuck": total("stuck"),
        "tickets left behind": total("ticket"),
        "failed": total("failed"),
        "slowest takeover": f"{slowest / 1e6:.1f} ms",
        **parent.more(),
    }


def local_directory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Chaos: see the head of this file.")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--directory", help="what is under test (default: a new one in /dev/shm, else the temporary one)")
    parser.add_argument("--oracle", help="a LOCAL directory for the oracle (default: a new one, likewise)")
    parser.add_argument("--names", type=int, default=8)
    parser.add_argument("--reapers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--backends", default="posix", help=f"one or more of {','.join(BACKENDS)} (default: posix)")
    parser.add_argument("--without-links", action="store_true", help="for all of this: hard links fail, as on vfat")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, start: type[Parent] = Parent) -> int:
    given = parse(arguments)
    if given.without_links:
        without_links.deny()
    with contextlib.ExitStack() as stack:

        def directory(named: str | None, what: str) -> str:
            base = named or local_directory()
            return stack.enter_context(tempfile.TemporaryDirectory(prefix=f"chaos-{what}-", dir=base))

        options = Options(
            given.processes,
            given.seconds,
            directory(given.directory, "claims"),
            directory(given.oracle, "oracle"),
            given.names,
            given.reapers,
            random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed,
            tuple(given.backends.split(",")),
        )
        made = Claims.open(options.directory, options.backends[-1])
        made.claim("made", "nobody")  # What the directory's stamp says is decided here.
        made.release("made", "nobody")
        parent = start(options)
        began = time.monotonic()
        parent.run()
        seconds = time.monotonic() - began
        afterwards(options, parent.shared, parent.names())
        for key, value in summary(parent, seconds).items():
            print(f"{key:24} {value}")
        for kind in ("violations", "trouble"):
            path = f"{options.oracle}/{kind}"
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    print(f"{kind}:", *file.read().splitlines()[:10], sep="\n  ")
    return 1 if any(parent.shared.total(violation) for violation in VIOLATIONS) else 0


if __name__ == "__main__":
    sys.exit(main())
