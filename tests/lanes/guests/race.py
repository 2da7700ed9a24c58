"""Chaos between hosts on one share. Run on each host at the same time, by `lanes.guests.run`.

    cd tests && python -m lanes.guests.race [--processes 4] [--seconds 60] [--backend auto] [--directory SHARE/data]
        [--host 1] [--hosts 2] [--lease 6] [--wait 20] [--may-see-little]

Each host has its own harness, which kills its own members. All members tell the arbiter, on host 1, over the network and
not by the share, what they believe (see chaos/arbiter.py). They give heartbeats, so a host's dead are taken over from by
the other's members too, after 4/3 of the lease. One whose heartbeats do not get through ends itself, and is replaced. In
the end all are dead, and each host starts an heir.
Exit 1, on host 1: an overlap, a generation that did not grow, a lost claim, a stuck name, a failure.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time

from lanes.chaos.arbiter import VIOLATIONS, Arbiter, Distant, Table
from lanes.chaos.harness import Harness, Setting, Slot, library_in, stuck
from looop_portable import Claims

PORT = 7733
HOLDS = 2.0
"""Seconds, at most. Where calls take long, nobody would be killed while he holds, if that did not take long as well."""
PATIENCE = 120.0
"""Seconds: emulated guests take long to start a process, and some filesystems longer to see a change."""
LIVES_OF_A_HOST = 1_000_000
DOWN = {1: 0.4, 2: 0.7}
"""When a host goes down: all of its members at once, after this part of the time."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Chaos between hosts: see the head of this file.")
    share = os.environ.get("SHARED_DIR")
    parser.add_argument("--directory", default=share and f"{share}/race", help="on the share [$SHARED_DIR/race]")
    parser.add_argument(
        "--host", type=int, default=os.environ.get("HOST_INDEX", "1"), help="which one this is [$HOST_INDEX]"
    )
    parser.add_argument("--hosts", type=int, default=os.environ.get("HOST_COUNT", "2"), help="[$HOST_COUNT]")
    parser.add_argument("--first", default="host1", help="how the others reach host 1")
    parser.add_argument("--processes", type=int, default=4, help="on each host")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--names", type=int, default=2)
    parser.add_argument("--wait", type=float, default=0, help="seconds, at most, for which a member waits for a claim")
    parser.add_argument("--lease", type=int, default=6, help="seconds; 0: no heartbeats, no takeovers among hosts")
    parser.add_argument("--may-see-little", action="store_true", help="that nobody took over among hosts is no failure")
    given = parser.parse_args(arguments)
    if not given.directory:
        parser.error("no --directory, and no SHARED_DIR")
    with tempfile.TemporaryDirectory(prefix="race-") as local:
        library = library_in(f"{local}/library")
        slots = [
            Slot("native", given.backend, f"{given.backend} host{given.host}", number == given.processes)
            for number in range(given.processes + 1)
        ]
        first = given.host == 1
        setting = Setting(
            ("127.0.0.1" if first else given.first, PORT),
            given.directory,
            library,
            given.names,
            0,
            given.host * LIVES_OF_A_HOST,
            20.0,
            HOLDS,
            given.wait,
            given.lease,
        )
        return _lead(slots, setting, given) if first else _follow(slots, setting, given)


class _Host(Harness):
    """Kills its members; at `down`, by `time.monotonic`, all at once, and starts none for a while.

    Without that, a host's own members would be there first each time: they see at once that a process is gone.
    """

    down = 0.0

    def strike(self) -> None:
        if not self.setting.lease or time.monotonic() < self.down:
            super().strike()
            return
        self.down = float("inf")
        # On host 1, where it is known: somebody holds, so that there is something to take over.
        inside = time.monotonic() + PATIENCE / 4
        while time.monotonic() < inside and not any(self.arbiter.holds(life.number) for life in self.living.values()):
            self.arbiter.listen(0.1)
        self.kill_all()
        end = time.monotonic() + 2 * self.setting.lease  # They need 4/3 of it, and then some calls.
        while time.monotonic() < end:
            self.arbiter.listen(end - time.monotonic())
        for slot in range(len(self.slots)):
            self.start(slot)


def _lead(slots: list[Slot], setting: Setting, given: argparse.Namespace) -> int:
    table = Table()
    arbiter = Arbiter(table, "", PORT)
    harness = _Host(slots, setting, arbiter)
    harness.down = time.monotonic() + DOWN[1] * given.seconds

    def enough() -> bool:
        """Once the other hosts are done, theirs are dead: there is something to take over."""
        labels = [f"{given.backend} host{host + 1}" for host in range(given.hosts)]
        seen = [table.counts.get(("acquisitions", label), 0) for label in labels]
        return min(seen) > 0 and (table.total("of others") > 0 or not given.lease)

    harness.run(given.seconds, enough)
    if not enough():
        fact = "too little was seen: a host won nothing, or nothing was taken over among hosts"
        if given.may_see_little:
            table.facts.append(fact)
        else:
            table.accuse("failed", "", fact)
    while len(arbiter.done) < given.hosts - 1:
        arbiter.listen(1)
    try:
        harness.start_heirs()
        arbiter.go_on()
        for fact in stuck(arbiter, given.names, PATIENCE):
            table.accuse("stuck", "", fact)
    finally:
        harness.kill_all()
    for fact in harness.ended:
        table.accuse("failed", "", fact)
    arbiter.close()
    print(table)
    own = table.total("takeovers") - table.total("of others")
    counted = ", ".join(f"{table.total(what)} {what}" for what in ("acquisitions", "refused", "kills", "fenced"))
    print(
        f"result {Claims.open(given.directory, given.backend).backend.name}: {counted}; takeovers: {own} on one host (the "
        f"slowest {table.slowest:.1f} s), {table.total('of others')} among hosts ({table.slowest_of_others:.1f} s); "
        + ", ".join(f"{table.total(what)} {what}" for what in VIOLATIONS),
        flush=True,
    )
    return int(table.violated)


def _follow(slots: list[Slot], setting: Setting, given: argparse.Namespace) -> int:
    arbiter = Distant(given.first, PORT, PATIENCE)
    harness = _Host(slots, setting, arbiter)
    harness.down = time.monotonic() + DOWN.get(given.host, 1.0) * given.seconds
    harness.run(given.seconds)
    arbiter.say_done(f"host{given.host}")
    harness.start_heirs()
    arbiter.wait_for_the_end()
    for life in harness.living.values():
        life.process.wait(PATIENCE)  # It ends when the arbiter does.
    print(*harness.ended, sep="\n")
    return int(bool(harness.ended))


if __name__ == "__main__":
    sys.exit(main())
