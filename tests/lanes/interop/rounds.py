"""Rounds: all of ours and of looop's claim one name at the same moment, once each. Then the winner lets go, or dies.

    cd tests && python -m lanes.interop.rounds --looop PATH [--ours 3] [--theirs 3] [--rounds 200] [--deaths]

Prints what happened. Exit 1 if in some round not exactly one had won, or had lost it again before all had their answer.

Nobody lets go while anybody claims, so the answers themselves are the oracle: two that have won a round are an overlap,
whatever lies on the disk. Without `--deaths` each round is for a vacant claim; with it the winner's session is killed, so
that each is for taking over a dead one's lease, which the winner of the round before had.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import subprocess
import sys
import time
import traceback
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

from .fighters import Fighter, OurFighter, Ring, TheirFighter, report, ring_for, stuck

PATIENCE = 60.0
SPREAD, SPREAD_AT_DEATHS = 0.003, 0.012
"""Seconds, at most, for which ours hold back in each round: about what looop's process takes to get as far."""


class Options(NamedTuple):
    looop: str
    ours: int
    theirs: int
    rounds: int
    deaths: bool


class Corner:
    """A slot: a fighter after the other, each with a process of its own for a session."""

    def __init__(self, ring: Ring, options: Options, slot: int) -> None:
        self.ring, self.options, self.slot = ring, options, slot
        self.random = random.Random(slot)
        self.lives = 0
        self.enter()

    def enter(self) -> None:
        self.lives += 1
        session = f"slot-{self.slot}-{self.lives}"
        self.fighter: Fighter
        if self.slot < self.options.ours:
            self.process = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
            self.fighter = OurFighter(self.ring, self.slot, session, self.process.pid)
        else:
            self.process = self.ring.rust.start(self.ring.data_dir, session)
            self.fighter = TheirFighter(self.ring, self.slot, session)

    def leave(self) -> None:
        self.process.kill()
        self.process.wait()

    def fight(self, number: int, meet: Barrier) -> None:
        meet.wait(PATIENCE)
        if isinstance(self.fighter, OurFighter):
            time.sleep(self.random.random() * (SPREAD_AT_DEATHS if self.options.deaths else SPREAD))
        won = self.fighter.claim()
        self.ring.put(self.slot, "won", won)
        meet.wait(PATIENCE)
        winners = self.ring.total(range(self.ring.slots), "won")
        if won:
            self.fighter.count("acquisitions")
            self.judge(number, winners)
        if winners == 0 and self.slot == 0:
            self.fighter.accuse("failed", round=number, error="nobody has won")
        meet.wait(PATIENCE)
        if won:
            self.let_go()

    def judge(self, number: int, winners: int) -> None:
        if self.options.deaths and number:
            self.fighter.count("takeovers")
        if winners > 1:
            self.fighter.accuse("overlap", round=number, winners=winners)
        if not self.fighter.is_mine():
            self.fighter.accuse("lost", round=number)

    def let_go(self) -> None:
        if self.options.deaths:
            self.leave()
            self.enter()
        elif not self.fighter.release():
            self.fighter.accuse("lost", when="at its release")


def work(ring: Ring, options: Options, slot: int, meet: Barrier) -> None:
    corner = Corner(ring, options, slot)
    try:
        for number in range(options.rounds):
            corner.fight(number, meet)
    except BaseException:  # noqa: BLE001 (whatever it is, it is told)
        ring.accuse(slot, "failed", error=traceback.format_exc())
        meet.abort()
    finally:
        corner.leave()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--looop", required=True)
    parser.add_argument("--ours", type=int, default=3)
    parser.add_argument("--theirs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--deaths", action="store_true")
    options = Options(**vars(parser.parse_args()))
    context = multiprocessing.get_context("fork")
    with ring_for(options.looop, options.ours + options.theirs) as ring:
        meet = context.Barrier(ring.slots)
        processes = [context.Process(target=work, args=(ring, options, slot, meet)) for slot in range(ring.slots)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        left = stuck(ring)
        violations = [*ring.violations(), *left]
        print(json.dumps(report(ring, options._asdict(), options.ours, options.theirs, stuck=len(left))))
    print("\n".join(violations[:20]), file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
