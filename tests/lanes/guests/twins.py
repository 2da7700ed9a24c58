"""Two hosts that take themselves for one: machines resumed from one memory snapshot, or an image with LOOOP_HOST_ID in it.

The initial pid namespace has the same number everywhere. So what a session says of itself is true of host 1 as well, but
for its process. Host 2 holds, and host 1 wants its claims. Three holders: `hold`, `looop run`, and a session with a keeper.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from looop_portable import Held
from looop_portable.protocol.records import Holder
from looop_portable.system.processes import SYSTEM

from .stage import PATIENCE, Stage

BOOT_ID = "/proc/sys/kernel/random/boot_id"
SAME = "5eed5eed-0000-4000-8000-000000000001"
NAMES = ["hold", "run", "session"]
_HOLD = """
import sys, time
from looop_portable import hold
with hold("hold", data_dir=sys.argv[1], lease_seconds=int(sys.argv[2])):
    print("holds", flush=True)
    time.sleep(3600)
"""


def boot_1(stage: Stage) -> None:
    """Both have one boot id. Host 1 is not let in while a holder lives, for three leases; and is when it was killed."""
    _bind_boot_id()
    _want(stage)


def boot_2(stage: Stage) -> None:
    _bind_boot_id()
    _hold(stage)


def given_1(stage: Stage) -> None:
    """The same of a LOOOP_HOST_ID that both were given."""
    os.environ["LOOOP_HOST_ID"] = SAME
    _want(stage)


def given_2(stage: Stage) -> None:
    os.environ["LOOOP_HOST_ID"] = SAME
    _hold(stage)


def _bind_boot_id() -> None:
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(f"{SAME}\n")
    subprocess.run(["mount", "--bind", file.name, BOOT_ID], check=True)


def _want(stage: Stage) -> None:
    here = SYSTEM.here()
    assert here.boot == SAME, here
    there = stage.wire.wait("holds", PATIENCE)
    stage.expect(there == [here.boot, here.namespace], f"they are no twins: {there}, {here}")
    me = stage.worker()
    let_in = _let_in(stage, me, 3 * stage.lease)
    stage.expect(not let_in, f"let in while the holder lives: {', '.join(let_in)}")
    stage.wire.tell("watched")
    stage.wire.wait("killed", PATIENCE)
    killed = time.monotonic()
    for name in NAMES:
        won = stage.try_until_won(me, PATIENCE + 3 * stage.lease, 0.2, name) if name not in let_in else None
        stage.expect(won is not None or name in let_in, f"nobody got {name} after its holder was killed")
        stage.figure(
            f"{name}: let in while it lived" if won is None else f"{name}: won {won.at - killed:.1f} s after the kill"
        )
    stage.wire.tell("over")


def _let_in(stage: Stage, me: Holder, seconds: float) -> list[str]:
    """Those claims that `me` got."""
    end, found, left = time.monotonic() + seconds, list[str](), list(NAMES)
    while time.monotonic() < end:
        for name in [*left]:
            outcome = stage.claims.claim(name, me)
            if not isinstance(outcome, Held):
                left.remove(name)
                found.append(name)
        time.sleep(0.2)
    return found


def _hold(stage: Stage) -> None:
    here, lease = SYSTEM.here(), str(stage.lease)
    looop = [sys.executable, "-m", "looop_portable", "--data-dir", stage.directory]
    run = [*looop, "run", "--claim", "run", "--lease", lease, "--", "sh", "-c", "echo holds; exec sleep 3600"]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for command in (
            [sys.executable, "-c", _HOLD, stage.directory, lease],
            run,
            ["sh", "-c", "echo holds; exec sleep 3600"],
        )
    ]
    try:
        for process in started:
            assert process.stdout
            assert process.stdout.readline().strip() == "holds"
        said = stage.looop("session", "start", "w2", "--pid", str(started[-1].pid), "--lease", lease)
        assert said.returncode == 0, said
        said = stage.looop("claim", "session", "--session", "w2")
        assert said.returncode == 0, said
        stage.wire.tell("holds", [here.boot, here.namespace])
        stage.wire.wait("watched", PATIENCE + 6 * stage.lease)
    finally:
        for process in started:
            command = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]  # What `looop run` runs.
            for number in (signal.SIGSTOP, signal.SIGKILL):  # Nobody lives to see another one's death.
                for pid in (*command, process.pid):
                    os.kill(pid, number)
            process.communicate()
    stage.wire.tell("killed")
    stage.wire.wait("over", 3 * (PATIENCE + 3 * stage.lease))
