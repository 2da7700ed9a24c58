"""Hosts whose clocks are wrong, or are set: no death that is none, no takeover that is late.

Both hosts do the same to each other: each has a holder, a process of its own that is killed in the end, and tries to get
what the other's holds. All times are told by the clock of whoever judges, which nobody sets (`time.monotonic`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from .stage import PATIENCE, Stage
from .wire import until

WRONG = 3600.0
"""Seconds."""
EXACT = 1.0
"""Seconds that the age of a heartbeat may be off."""

HOLDER = """
import sys
from looop_portable import hold

directory, name, lease = sys.argv[1:]
with hold(name, data_dir=directory, lease_seconds=int(lease), on_lost=lambda _: print("lost", flush=True)) as held:
    print(held.session, flush=True)
    sys.stdin.read()
    held.check()
print("left", flush=True)
"""


class Holding:
    """A process that holds `name` until it is told to leave, or is killed."""

    def __init__(self, stage: Stage, name: str) -> None:
        command = [sys.executable, "-c", HOLDER, stage.directory, name, str(stage.lease)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.session = self.process.stdout.readline().strip()
        assert self.session, "it does not hold"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def mutual(stage: Stage) -> None:
    """Skewed clocks, from the start."""
    _both(stage, [])


def step(stage: Stage) -> None:
    """The clock of host 2 is set an hour ahead, and back again, and an hour back."""
    _both(stage, [WRONG, -WRONG, -WRONG] if stage.host == 2 else [0.0, 0.0, 0.0])


def step_server(stage: Stage) -> None:
    """The same with the clock of the file server. Only where `set_clock` of `plan` runs there, which is on SMB."""
    _both(stage, [WRONG, -WRONG, -WRONG] if stage.host == 2 else [0.0, 0.0, 0.0], of_server=True)


def _both(stage: Stage, steps: list[float], *, of_server: bool = False) -> None:
    mine, theirs = f"of-host{stage.host}", f"of-host{3 - stage.host}"
    holding = Holding(stage, mine)
    try:
        stage.wire.tell("holds", holding.session)
        stage.wire.wait("holds", PATIENCE)
        me = stage.worker()
        for number, seconds in enumerate(steps or [0.0]):
            if seconds:
                (_set_server if of_server else _set_own)(stage, seconds)
            stage.wire.tell(f"stepped {number}")
            stage.wire.wait(f"stepped {number}", PATIENCE)
            won = stage.try_until_won(me, 3 * stage.lease, name=theirs)
            stage.expect(won is None, f"won while the holder lives: {won}")
            if won:
                return
        stage.wire.tell("tried")
        stage.wire.wait("tried", PATIENCE + 3 * stage.lease)
        stage.expect(holding.process.poll() is None, "the holder has ended")
    finally:
        holding.kill()
    stage.wire.tell("killed")
    won = stage.try_until_won(me, PATIENCE + 3 * stage.lease, name=theirs)
    if won is None:
        stage.expect(False, "nobody got the claim")
    else:
        late = won.at - stage.wire.when("killed")
        stage.figure(f"host {stage.host} took over {late:.1f} s after the kill")
        stage.expect(
            2 / 3 * stage.lease - 1 < late < 1.5 * stage.lease, "not between the lease and 1.5 leases after the kill"
        )
    stage.wire.tell("done", "; ".join(stage.figures))
    if stage.host == 1:
        stage.figure(stage.wire.wait("done", PATIENCE + 3 * stage.lease))
        stage.wire.tell("over")
    else:
        stage.wire.wait("over", PATIENCE + 3 * stage.lease)


def _set_own(stage: Stage, seconds: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    print(f"this host's clock was set by {seconds:+.0f} s", flush=True)


def _set_server(stage: Stage, seconds: float) -> None:
    """It sets its clock when it is asked for the free space, once for each number that lies there."""
    before = _server_time(stage)
    share = os.environ["SHARED_DIR"]
    with open(f"{share}/set-clock", "w") as file:
        file.write(f"{seconds:.0f}\n")
    ahead = _server_time(stage) - before

    def is_set() -> bool:
        os.statvfs(share)
        return abs(_server_time(stage) - before - seconds) < WRONG / 2

    assert until(is_set, PATIENCE, 1.0), f"the server's clock cannot be set: {ahead}"
    print(f"the server's clock was set by {seconds:+.0f} s", flush=True)


def _server_time(stage: Stage) -> float:
    """By a write in place, as the product has it, but without the product."""
    path = f"{stage.directory}/clock-{stage.host}"
    with open(path, "ab") as file:
        file.write(b".")
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, b".", 0)
    finally:
        os.close(fd)
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)


def ages(stage: Stage) -> None:
    """The age of each other's heartbeats, as the product tells it, beside what has passed since they were told."""
    sessions, signs = stage.claims.sessions, stage.claims.backend.sessions.signs
    mine = sessions.register(lease_seconds=600)
    stage.wire.tell("session", mine.session)
    theirs = stage.registration(stage.wire.wait("session", PATIENCE))
    worst = 0.0
    for number in range(4):
        began = time.monotonic()
        assert sessions.renew(mine.holder)
        stage.wire.tell(f"beat {number}", time.monotonic() - began)
        took = stage.wire.wait(f"beat {number}", PATIENCE)
        heard = stage.wire.when(f"beat {number}")
        for age in (0.0, 2.0, 5.0):
            until(lambda: time.monotonic() >= heard + age, 10)  # noqa: B023 (it is over before they change)
            before = time.monotonic() - heard
            silence = signs.silence(theirs).seconds
            after = time.monotonic() - heard
            off = max(before - silence, silence - after - took, 0)
            print(f"age {silence:.2f} s, {before:.2f} to {after:.2f} s after it was told, {took:.2f} s", flush=True)
            worst = max(worst, off)
        stage.wire.tell(f"read {number}")
        stage.wire.wait(f"read {number}", PATIENCE)
    stage.expect(worst < EXACT, f"the age of a heartbeat is off by {worst:.2f} s")
    stage.figure(f"on host {stage.host} the age of a heartbeat is off by {worst:.2f} s at most")
    stage.wire.tell("done", "; ".join(stage.figures))
    if stage.host == 1:
        stage.figure(stage.wire.wait("done", PATIENCE))
        stage.wire.tell("over")
    else:
        stage.wire.wait("over", PATIENCE)
