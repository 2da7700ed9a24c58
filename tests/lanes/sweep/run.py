"""A sweep of faults: each filesystem call of each verb fails once, in each way that there is, and the truth is looked for.

    cd tests && python -m lanes.sweep.run [--backends posix,advisory] [--without-links] [--every N] [--seed S] [VERB ...]

`--every N`: only every N-th point, beginning with one that `--seed` chooses. Prints the counts, and what was untrue.
Does not see: what two faults do together, but for a disk that is full, or fails, from some call on.
"""

from __future__ import annotations

import argparse
import collections
import gc
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from looop_portable.errors import LooopError
from looop_portable.testing import without_links

from .answers import Case, held_by, kind, untrue
from .blocks import BLOCKS, COMMANDS
from .faults import NONE, ONWARD, Fault, faults_at
from .known import known
from .mutants import MUTANTS
from .oracle import destroyed, let_in, lives, look, wedged
from .points import Actor, Report
from .stores import Maker, Store
from .verbs import LIBRARY, Verb

VERBS = (*LIBRARY, *BLOCKS, *COMMANDS)


class Sweep:
    """All points of one verb on one backend."""

    def __init__(self, maker: Maker, verb: Verb) -> None:
        self._maker = maker
        self._verb = verb
        self._is_command = verb.name.startswith("$")
        self._store: Store = maker.store(verb.store)
        self._store.image.put_back()
        self._before = look(maker.open())
        self.clean = self._without_a_fault()
        wrong = list(self.point(NONE)[1])
        assert not wrong, f"{verb.name} without a fault: {wrong}"

    def _without_a_fault(self) -> Report:
        with self._actor(NONE) as actor:
            report = actor.report()
        assert report, f"{self._verb.name} without a fault: killed, or it hangs"
        return report

    def faults(self, only: str = "") -> list[Fault]:
        calls = [(at, call) for at, call in enumerate(self.clean.calls, 1) if only in ("", call.name)]
        return [fault for at, call in calls for fault in faults_at(at, call)]

    def point(self, fault: Fault) -> tuple[bool, list[str]]:
        """Whether it happened, and what was wrong then."""
        with self._actor(fault) as actor:
            report = actor.report()
            wrong = ["hangs"] if actor.hangs else []
            rival = report.rival if report else None
            case = Case(
                self._verb, self._store, self._maker.open(), self.clean.answer, rival, fails_on=fault.kind == ONWARD
            )
            wrong += _judged(lambda: self._look(report, case))
            if report and not self._is_command:
                wrong += self._repeated(actor.again(), case)
        if report and self._is_command:  # A command's process has ended with it, and lets go what it had open.
            with Actor(self._verb, self._store, self._maker.root, self._maker.backend) as another:
                wrong += self._repeated(another.report(), case)
        wrong += _judged(self._end)
        return report.fired if report else not actor.hangs, wrong

    def _repeated(self, report: Report | None, case: Case) -> list[str]:
        """What is wrong with the same verb once more, without a fault."""
        wrong = ["hangs, or died, when it was repeated"] if report is None else []
        return wrong + _judged(lambda: self._look(report, case._replace(again=True)))

    def _actor(self, fault: Fault) -> Actor:
        self._store.image.put_back()
        return Actor(self._verb, self._store, self._maker.root, self._maker.backend, fault)

    def _look(self, report: Report | None, case: Case) -> Iterator[str]:
        after = look(case.claims)
        yield from destroyed(self._before, after, self._store, self._verb, case.rival)
        if not report:
            return
        yield from untrue(report.answer, after, case)
        # A lock that was there stays as long as its session does, which cannot be ended on a disk that fails from then on.
        allowed = max(self.clean.descriptors, 0) + case.fails_on
        if report.descriptors > allowed and not self._is_command:
            yield f"leaked: {report.descriptors - allowed} descriptors after {kind(report.answer)}"
        if case.rival is None and "fresh" not in self._verb.store:
            yield from let_in(case.claims, iter(held_by(report.answer)))

    def _end(self) -> Iterator[str]:
        claims = self._maker.open()
        seen = look(claims)
        for session in (*sorted(self._store.live), "rival", "new"):
            try:
                if lives(claims, session):
                    claims.sessions.stop(session)
            except LooopError as error:
                yield f"wedged: {session} cannot be ended: {error}"
        numbers = {name: max((n for key, n in seen.records if key == name), default=0) for name in self._verb.names}
        yield from wedged(claims, self._verb.names, numbers)


def _judged(judge: Callable[[], Iterator[str]]) -> list[str]:
    """What is wrong; and whoever cannot look, without a fault of his own, is kept out."""
    try:
        return list(judge())
    except LooopError as error:
        return [f"wedged: {error}"]


def _gone() -> int:
    """A process id that was somebody's."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def main() -> int:
    options = _options()
    if options.mutant:
        MUTANTS[options.mutant]()
    if options.without_links:
        without_links.deny()
    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    print(f"seed {seed}, every {options.every}", flush=True)
    parent = options.directory or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    scratch = tempfile.mkdtemp(prefix="looop-sweep-", dir=parent)
    try:
        return _sweep(options, random.Random(seed), scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sweep(options: argparse.Namespace, chance: random.Random, scratch: str) -> int:
    counts: collections.Counter[str] = collections.Counter()
    skip = chance.randrange(options.every)
    began = time.monotonic()
    for backend in options.backends.split(","):
        maker = Maker(f"{scratch}/store", backend, _gone())
        Sweep(maker, VERBS[0])  # From here on this process knows its mounts: calls are counted as they will come.
        for verb in VERBS:
            if options.verbs and verb.name not in options.verbs:
                continue
            sweep = Sweep(maker, verb)
            gc.freeze()
            counts["calls"] += len(sweep.clean.calls)
            for fault in sweep.faults(options.only):
                counts["all points"] += 1
                if (counts["all points"] + skip) % options.every:
                    continue
                happened, wrong = sweep.point(fault)
                counts["points"] += 1
                counts["faults"] += happened
                _tell(backend, verb, fault, sweep, wrong, counts, options.verbose)
            if options.verbose:
                spent = time.monotonic() - began
                print(
                    f"  {backend} {verb.name}: {len(sweep.clean.calls)} calls, {counts['points']} points, {spent:.1f} s",
                    flush=True,
                )
    for what in ("calls", "all points", "points", "faults", "untrue", "known"):
        print(what, counts[what])
    print(f"{time.monotonic() - began:.1f} s")
    return 1 if counts["untrue"] else 0


def _tell(
    backend: str, verb: Verb, fault: Fault, sweep: Sweep, wrong: list[str], counts: collections.Counter[str], verbose: bool
) -> None:
    if not wrong:
        return
    call = sweep.clean.calls[fault.at - 1]
    expected = all(known(verb.name, each) for each in wrong)
    counts["known" if expected else "untrue"] += 1
    if not expected or verbose:
        where = call.path.rpartition("/store/")[2]
        print(
            f"  {backend}, {verb.name}, {fault} ({call.name} {where}): {'known: ' if expected else ''}{'; '.join(wrong)}",
            flush=True,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A fault at each filesystem call of each verb.")
    parser.add_argument("--backends", default="posix,advisory")
    parser.add_argument("--without-links", action="store_true")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--directory")
    parser.add_argument("--only", default="", metavar="CALL", help="only faults at calls of that name")
    parser.add_argument("--mutant", choices=tuple(MUTANTS))
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("verbs", nargs="*", metavar="VERB")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
