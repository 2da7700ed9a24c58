"""Everything that needs other machines: what each backend does on real mounts, and what hosts on a share do to each other.

    cd tests && python -m lanes.guests.run [--short] [--only nfs4] [--scenario partition] [--seconds 60] [--lease 15]

$NETFS_RUN names the command that boots guests (default: ../shared/netfs/run beside the checkout) and runs a command in all
of them: `$NETFS_RUN --fs KIND [--hosts N] [FAULTS] -- COMMAND`, with SHARED_DIR, HOST_INDEX and HOST_COUNT set there. They
see this machine's files. Without one this says so and succeeds; where $NETFS_RUN is set, it must work.

Prints a table in the end. Exit 1: something failed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from . import plan

TESTS = Path(__file__).parents[2]
RESULT = "host1: result "
"""How the line begins by which a module tells what it has measured."""


def in_guests(command: str, job: plan.Job) -> tuple[int, str]:
    """Run a module of this package in each guest: its exit code, and what it has measured."""
    module = " ".join(shlex.quote(word) for word in [sys.executable, "-m", *job.words])
    inside = f"cd {shlex.quote(str(TESTS))} && exec {module}"
    guests = ["--fs", job.kind, "--timeout", "900", "--hosts", str(job.hosts), *job.options]
    print(f"== {job.kind}: {' '.join([*job.words, *job.options])}", flush=True)
    measured = ""
    with subprocess.Popen([command, *guests, "--", "bash", "-c", inside], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        for line in running.stdout:
            print(line, end="", flush=True)
            if line.startswith(RESULT):
                measured = line.removeprefix(RESULT).strip()
    return running.returncode, measured


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="On guests: see the head of this file.")
    parser.add_argument("--short", action="store_true", help="a few minutes")
    parser.add_argument("--only", help="one filesystem")
    parser.add_argument("--scenario", help="one scenario, or several: a,b")
    parser.add_argument("--seconds", type=int, default=60, help="of each race")
    parser.add_argument("--lease", type=int, default=15, help="seconds, of each scenario but the race")
    given = parser.parse_args(arguments)
    named = os.environ.get("NETFS_RUN")
    command = named or str(TESTS.parents[1] / "shared" / "netfs" / "run")
    if not os.access(command, os.X_OK):
        print(f"guests: skipped: {command} is missing (set NETFS_RUN)")
        return int(bool(named))
    every = plan.short() if given.short else plan.jobs(given.lease, given.seconds)
    scenarios = (given.scenario or "").split(",") if given.scenario else [job.scenario for job in every]
    chosen = [job for job in every if given.only in (None, job.kind) and job.scenario in scenarios]
    if not chosen:
        parser.error("there is no such scenario on such a filesystem")
    rows, failed = [], []
    for job in chosen:
        began = time.monotonic()
        code, measured = in_guests(command, job)
        rows.append(
            f"{job.kind:14}{job.scenario:19}{'failed' if code else 'ok':8}{time.monotonic() - began:4.0f} s  {measured}"
        )
        if code:
            failed.append(f"{job.kind}: {job.scenario}")
    print("==", *rows, sep="\n")
    print(f"guests: {'failed: ' + ', '.join(failed) if failed else 'all passed'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
