"""One scenario between two hosts on one share. Run on both at the same time, by `lanes.guests.run`.

    cd tests && python -m lanes.guests.scenario NAME [--lease 15] [--directory SHARE/data] [--host 1] [--peer host2]

Host 1 prints what was measured. Exit 1: something else happened than the head of the scenario's function says.
"""

from __future__ import annotations

import argparse
import os
import sys

from . import clocks, cuts, twins
from .stage import Stage
from .wire import PORT, Wire

SCENARIOS = {
    "power-cut": (cuts.power_cut_1, cuts.power_cut_2),
    "power-cut-command": (cuts.power_cut_command_1, cuts.power_cut_2),
    "waiter-cut": (cuts.waiter_cut_1, cuts.waiter_cut_2),
    "worker-kill": (cuts.worker_kill_1, cuts.worker_kill_2),
    "partition": (cuts.partition_1, cuts.partition_2),
    "short-partition": (cuts.short_partition_1, cuts.short_partition_2),
    "freeze": (cuts.freeze_1, cuts.freeze_2),
    "freeze-alone": (cuts.freeze_alone_1, cuts.freeze_alone_2),
    "ages": (clocks.ages, clocks.ages),
    "skew": (clocks.mutual, clocks.mutual),
    "step": (clocks.step, clocks.step),
    "step-server": (clocks.step_server, clocks.step_server),
    "twins": (twins.boot_1, twins.boot_2),
    "twins-given": (twins.given_1, twins.given_2),
}
"""What host 1 and what host 2 does."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A scenario between two hosts: see the head of this file.")
    share = os.environ.get("SHARED_DIR")
    parser.add_argument("name", choices=SCENARIOS)
    parser.add_argument("--lease", type=int, default=15, help="seconds")
    parser.add_argument("--directory", default=share and f"{share}/data", help="on the share [$SHARED_DIR/data]")
    parser.add_argument("--host", type=int, choices=(1, 2), default=os.environ.get("HOST_INDEX", "1"), help="[$HOST_INDEX]")
    parser.add_argument("--peer", help="the other host [host1, host2]")
    given = parser.parse_args(arguments)
    if not given.directory:
        parser.error("no --directory, and no SHARED_DIR")
    other = 3 - given.host
    wire = Wire(("", PORT + given.host), (given.peer or f"host{other}", PORT + other))
    stage = Stage(given.host, given.directory, given.lease, wire)
    SCENARIOS[given.name][given.host - 1](stage)
    wire.linger()
    return stage.report()


if __name__ == "__main__":
    sys.exit(main())
