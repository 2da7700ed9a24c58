"""Chaos among those who wait: in line for a claim, for a slot of one, for several at once; killed and stopped in it.

    cd tests && python -m lanes.chaos.waiters --processes 8 --names 2 --seconds 60 [as lanes.chaos.run]

Prints a summary. Exit 1: what `lanes.chaos.run` exits with 1 for, somebody who waits for ever, or a ticket left behind.

As run.py, with these members instead of workers. Each waits for one of the names, for one of the slots of another, or for
two names at once, in either order; most without end, some for a moment; now and then one claims without waiting, or ends
its session while it holds. The parent kills and stops by preference who is the first in a line; it stops them for up to
4.5 s, so that some lose their turns and others do not. The oracle is that of run.py, with a kernel lock for each claim,
and so for each slot.

Nobody waits for ever: after the storm the parent lets all go on, and each of them has to win every name once more, and some
two in either order, by waiting without end, while all others do. Who has not done so after a minute is stuck. Then, while
all of them live, there must be no ticket of a living one; and when a reaper has been there, none at all.

Told, and no violation: how often somebody won who had come later than one that waited; than one that was well, which is to
say that it was not stopped since it came; and than one that was well, though he stood in line himself. What may do that:
who does not wait, and whose time is over, ask whoever is first; and of two that come at once a random word decides.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from looop_portable import Claims, Held, LooopError, Renewed, Won
from looop_portable.protocol.records import Holder, Registration
from looop_portable.protocol.shares import slots_of
from looop_portable.waiting.claiming import claim_all, wait_for

from .oracle import IDLE, KILLED, STOPPED, TRYING, Options, Process, Shared
from .run import Parent, Worker, main

WIDE, SLOTS = "wide", 2
LONG = 60.0
"""Seconds after which whoever still waits, though nobody is killed or stopped any more, is stuck."""

Outcomes = list[Won | Renewed]


class Waiter(Worker):
    """A session that waits for what it claims until it is killed."""

    def __init__(self, options: Options, shared: Shared, slot: int) -> None:
        super().__init__(options, shared, slot)
        self.lines = [f"name-{number}" for number in range(options.names)] + [WIDE]
        self.there = [*self.lines[:-1], *slots_of(WIDE, SLOTS)]
        self.observe()

    def run(self) -> NoReturn:
        self.enrol()
        self.end = 0.0
        while not self.shared.get(self.slot, "calm"):
            try:
                self.turn()
            except LooopError as error:
                self.cannot("turn", error)
        for name in self.lines:
            self.hold_all(self.wait(name, None))
            self.hold_all(self.wait_for_several(None))
        self.shared.put(self.slot, "done", 1)
        while True:
            signal.pause()

    def turn(self) -> None:
        chance, name = self.random.random(), self.random.choice(self.lines[:-1])
        limit = self.random.random() * 0.2 if self.random.random() < 0.3 else None
        if chance < 0.01:
            self.claims.release(name, self.me)  # Another's, if anybody's.
        elif chance < 0.05:
            self.hold_all(self.pass_by(name))
        elif chance < 0.3:
            self.hold_all(self.wait(WIDE, limit))
        elif chance < 0.5:
            self.hold_all(self.wait_for_several(limit))
        else:
            self.hold_all(self.wait(name, limit))

    def pass_by(self, name: str) -> Outcomes:
        self.begin(name, 0.0)
        outcome = self.claims.claim(name, self.me)
        if isinstance(outcome, Won):
            self.count("passers-by")
        return self.ended(outcome)

    def wait(self, name: str, limit: float | None) -> Outcomes:
        self.begin(name, limit)
        self.count("in slots" if name == WIDE else "waits")
        return self.ended(wait_for(self.claims, name, self.me, limit, SLOTS if name == WIDE else 0))

    def wait_for_several(self, limit: float | None) -> Outcomes:
        names = self.random.sample(self.lines[:-1], 2)
        self.begin(names[0], limit)
        self.count("several")
        return self.ended(claim_all(self.claims, names, self.me, limit))

    def begin(self, name: str, limit: float | None) -> None:
        self.say(TRYING, self.lines.index(name))
        self.began, self.stops = time.monotonic_ns(), self.shared.get(self.slot, "stopped")
        self.end = float("inf") if limit is None else self.began + limit * 1e9

    def ended(self, found: Outcomes | Won | Renewed | Held) -> Outcomes:
        self.shared.put(self.slot, "came", 0)
        if isinstance(found, Held):
            self.count("timeouts")
            self.say(IDLE)
            return []
        if self.shared.get(self.slot, "stopped") == self.stops:
            waited = time.monotonic_ns() - self.began
            self.shared.put(self.slot, "longest", max(self.shared.get(self.slot, "longest"), waited))
        return found if isinstance(found, list) else [found]

    def hold_all(self, outcomes: Outcomes) -> None:
        for each in outcomes:
            if each.lease.name not in self.there:
                self.accuse("overlap", name=each.lease.name, outcome=each, there=self.there)
        held = [(each, self.enter(self.number(each.lease.name), each.lease.name, each)) for each in outcomes]
        if not held:
            return
        time.sleep(self.random.random() * 0.003)
        if self.random.random() < 0.05:
            self.ask_again(outcomes[0].lease.name, outcomes[0].generation)
        for each, mine in held:
            if mine:
                self.unlock(each.lease.name, each)
        if self.random.random() < 0.003:
            self.count("abandoned")
            self.quit()
            self.enrol()
        else:
            for each, _ in held:
                self.release(each.lease.name, each)
        self.say(IDLE)

    def number(self, name: str) -> int:
        return self.lines.index(name.partition("#")[0])

    def observe(self) -> None:
        """Say when we have come to a line; and count, when we have won, who had come before and waits still."""
        tickets, claim = self.claims.backend.tickets, self.claims.claim
        assert tickets
        take = tickets.take

        def comes(name: str, waiter: Registration) -> str:
            ticket = take(name, waiter)
            self.shared.put(self.slot, "line", self.number(name))
            self.shared.put(self.slot, "well", self.shared.get(self.slot, "stopped"))
            self.shared.put(self.slot, "came", time.monotonic_ns())
            return ticket

        def wins(name: str, session: str | Holder | None = None) -> Won | Renewed | Held:
            outcome = claim(name, session)
            if isinstance(outcome, Won):
                self.look_back(self.number(name))
            return outcome

        setattr(tickets, "take", comes)  # noqa: B010 (methods, for the type checker)
        setattr(self.claims, "claim", wins)  # noqa: B010

    def look_back(self, line: int) -> None:
        now, came = time.monotonic_ns(), self.shared.get(self.slot, "came")
        lined_up = came > 0 and self.shared.get(self.slot, "line") == line
        self.shared.put(self.slot, "came", 0)
        for other in range(self.options.processes):
            here = self.shared.get(other, "line") == line and 0 < self.shared.get(other, "came") < (
                came if lined_up else now
            )
            if other == self.slot or not here or self.shared.get(other, "fate") == KILLED:
                continue
            self.count("overtaken")
            stopped = self.shared.get(other, "stopped") > self.shared.get(other, "well")
            if not stopped:
                self.count("overtaken well")
                if lined_up and now < self.end:
                    self.count("overtaken in line")


class Siege(Parent):
    """Strikes less often, and those who are first in a line, and stops them for longer."""

    worker = Waiter
    pause, longest_stop = 0.25, 4.5

    def names(self) -> list[str]:
        return [*super().names(), *slots_of(WIDE, SLOTS)]

    def strike(self) -> None:
        slot = self.first_in_some_line() if self.random.random() < 0.5 else None
        if slot is None:
            super().strike()
        elif self.random.random() < 0.5:
            self.kill(slot)
        elif slot not in self.continues:
            self.stop(slot)

    def first_in_some_line(self) -> int | None:
        line = self.random.randrange(self.options.names + 1)
        waiting = [
            (came, slot)
            for slot in range(self.options.processes)
            if slot in self.pids
            and slot not in self.buries
            and self.shared.get(slot, "line") == line
            and (came := self.shared.get(slot, "came"))
        ]
        return min(waiting)[1] if waiting else None

    def calm(self) -> None:
        for slot in list(self.continues):
            self.resume(slot)
        for slot in list(self.buries):
            self.bury(slot)
            self.start(slot)
        for slot in range(self.options.processes):
            self.shared.put(slot, "calm", 1)
        self.all_have_done(lambda: [s for s in range(self.options.processes) if not self.shared.get(s, "done")])
        self.look_at_the_lines()

    def all_have_done(self, waiting: Callable[[], list[int]]) -> None:
        end = time.monotonic() + LONG
        while (left := waiting()) and time.monotonic() < end:
            time.sleep(0.01)
        for slot in left:
            state, fate = self.shared.get(slot, "state"), self.shared.get(slot, "fate")
            assert fate != STOPPED
            self.observer(slot).accuse("stuck", state=divmod(state, 4), when="nobody is killed or stopped any more")

    def look_at_the_lines(self) -> None:
        """While all live who have done."""
        last = self.observer(0)
        claims, tickets = last.claims, last.claims.backend.tickets
        assert tickets
        for claim in tickets.claims():
            for ticket in tickets.line(claim):
                waiter = tickets.waiter(claim, ticket)
                if waiter and not claims.sessions.evidence.examine(waiter).dead:
                    last.accuse("ticket", claim=claim, ticket=ticket, waiter=waiter, when="all have done")
        self.reap(claims)
        for claim in tickets.claims():
            if line := tickets.line(claim):
                last.accuse("ticket", claim=claim, line=line, when="a reaper has been there")

    def reap(self, claims: Claims) -> None:
        if trouble := claims.reap().failed:
            self.observer(0).accuse("failed", action="a reap among the living", trouble=trouble)

    def observer(self, slot: int) -> Process:
        return Process(self.options, self.shared, slot)

    def more(self) -> dict[str, object]:
        longest = max(self.shared.get(slot, "longest") for slot in range(self.slots))
        return {"longest wait": f"{longest / 1e6:.1f} ms"}


if __name__ == "__main__":
    sys.exit(main(start=Siege))
