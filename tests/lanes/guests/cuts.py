"""Host 2 holds and is cut off: it loses power, its worker dies, its link goes, it is frozen. Host 1 wants the claim.

Each scenario is two functions, of what host 1 and what host 2 does. The faults come from outside (see `plan`), at no time
that anybody here relies on: host 1 hears when host 2 falls silent.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time

from looop_portable import ClaimLost, Hold, LooopError, hold

from .stage import NAME, PATIENCE, Stage
from .wire import until

QUIET = 1.0
"""Seconds without a word from a host that is down: it speaks five times a second."""
WATCHED_SERVER = 20.0
"""Seconds: more than an interval, so that some heartbeats meet what a server remembers of the host that is gone."""


def power_cut_1(stage: Stage) -> None:
    """It must win within 1.5 leases after the cut, and not before a lease has passed since the last heartbeat."""
    stage.wire.wait("holds", PATIENCE)
    won = stage.try_until_won(stage.worker(), PATIENCE + 3 * stage.lease)
    if won is None:
        stage.expect(False, "nobody got the claim")
        return
    _judge_takeover(stage, won.at, stage.wire.silent, won.slowest)


def power_cut_command_1(stage: Stage) -> None:
    """The same by `looop claim`, a process each time."""
    stage.wire.wait("holds", PATIENCE)
    stage.expect(stage.looop("session", "start", "w1", "--pid", str(os.getpid())).returncode == 0, "no session")
    end, slowest = time.monotonic() + PATIENCE + 3 * stage.lease, 0.0
    while time.monotonic() < end:
        began = time.monotonic()
        said = stage.looop("claim", NAME, "--session", "w1")
        slowest = max(slowest, time.monotonic() - began)
        if said.returncode == 0:
            _judge_takeover(stage, time.monotonic(), stage.wire.silent, slowest)
            return
        stage.expect(said.returncode == 1, f"looop claim: {said.returncode}: {said.stderr}")
        time.sleep(max(began + 1 - time.monotonic(), 0))
    stage.expect(False, "nobody got the claim")


def _judge_takeover(stage: Stage, at: float, silent: float, slowest: float) -> None:
    stage.expect(silent > QUIET, "won although host 2 is up")
    lasted = time.time() - (time.monotonic() - at) - stage.last_beat(stage.registration(stage.wire.known("session")))
    stage.figure(f"taken over {silent:.1f} s after the cut, {lasted:.1f} s after the last heartbeat")
    stage.figure(f"slowest call {slowest:.1f} s")
    stage.expect(lasted > stage.lease, "before the last heartbeat + lease")
    stage.expect(silent < 1.5 * stage.lease, "later than 1.5 leases after the cut")


def power_cut_2(stage: Stage) -> None:
    with hold(NAME, data_dir=stage.directory, lease_seconds=stage.lease) as lease:
        stage.wire.tell("session", lease.session)
        stage.wire.tell("holds")
        lost = lease.lost.wait(20 * stage.lease)
    raise AssertionError(f"the power was not cut (lost: {lost})")


def waiter_cut_1(stage: Stage) -> None:
    """Host 1 holds, and host 2, which watches it, loses power: that must not keep host 1 from anything."""
    lease = hold(NAME, data_dir=stage.directory, lease_seconds=stage.lease, on_lost=lambda _: _report_lost(stage))
    slowest = 0.0
    with contextlib.suppress(ClaimLost), lease:
        stage.wire.tell("holds", lease.session)
        assert until(lambda: stage.wire.last > 0 and stage.wire.silent > QUIET, PATIENCE), "the power was not cut"
        stage.expect(bool(stage.wire.known("watches")), "host 2 did not watch")
        end = time.monotonic() + WATCHED_SERVER
        while time.monotonic() < end and not lease.lost.is_set():
            began = time.monotonic()
            _raised_by(lease.check)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(1)
        stage.expect(not lease.lost.is_set(), "lost, because a waiter's host lost power")
        if stage.wrong:
            return
        began = time.monotonic()
    left = time.monotonic() - began
    began = time.monotonic()
    _hold_again(stage)
    again = time.monotonic() - began
    stage.figure(f"check took {slowest:.1f} s at most, the release {left:.1f} s, a new hold {again:.1f} s")
    stage.expect(max(slowest, left, again) < stage.lease / 3, "it waited for the host that is gone")


def waiter_cut_2(stage: Stage) -> None:
    session = stage.registration(stage.wire.wait("holds", PATIENCE))
    me, signs = stage.worker(), stage.claims.backend.sessions.signs
    stage.wire.tell("watches")
    while True:  # More eagerly than `claim`, which asks as often as it is tried.
        stage.claims.claim(NAME, me)
        signs.silence(session)


def worker_kill_1(stage: Stage) -> None:
    """It must win within 2 s after the worker was killed: its keeper lets go for it."""
    stage.wire.wait("holds", PATIENCE)
    me = stage.worker()
    stage.expect(stage.try_until_won(me, 2) is None, "won although the worker lives")
    stage.wire.tell("tries")
    won = stage.try_until_won(me, PATIENCE + 3 * stage.lease, 0.1)
    if won is None:
        stage.expect(False, "nobody got the claim")
        return
    now = time.time() - (time.monotonic() - won.at)
    late = now - stage.wire.wait("killed", PATIENCE)
    stage.figure(f"won {late:.1f} s after the kill, in a call of {won.took:.1f} s, the slowest of {won.slowest:.1f} s")
    stage.expect(late < 2, "later than 2 s after the kill")
    stage.wire.tell("won")
    ended = stage.wire.wait("ended", PATIENCE) - stage.wire.known("killed")
    stage.figure(f"its session was seen ended on host 2 after {ended:.1f} s")


def worker_kill_2(stage: Stage) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        said = stage.looop("session", "start", "w2", "--pid", str(worker.pid), "--lease", str(stage.lease))
        assert said.returncode == 0, said
        said = stage.looop("claim", NAME, "--session", "w2")
        assert said.returncode == 0, said
        stage.wire.tell("holds")
        stage.wire.wait("tries", PATIENCE + 3 * stage.lease)
        time.sleep(stage.lease / 2)  # Some heartbeats by its keeper.
        killed = time.time()
    finally:
        worker.kill()
        worker.communicate()
    stage.wire.tell("killed", killed)
    until(lambda: stage.registration("w2").ended, PATIENCE)
    stage.wire.tell("ended", time.time())
    stage.wire.wait("won", PATIENCE + 3 * stage.lease)


class Prober(threading.Thread):
    """Writes a byte into a file of its own on the share, again and again: how long calls take, and how they fail."""

    def __init__(self, directory: str) -> None:
        super().__init__(daemon=True)
        self._path = f"{os.path.dirname(directory)}/probe-{os.uname().nodename}"
        self.slowest = 0.0
        self.errors: dict[str, float] = {}
        with open(self._path, "wb") as file:
            file.write(b".")

    def run(self) -> None:
        while True:
            began = time.monotonic()
            error = ""
            try:
                fd = os.open(self._path, os.O_WRONLY)
                try:
                    os.pwrite(fd, b".", 0)
                finally:
                    os.close(fd)
            except OSError as failure:
                error = type(failure).__name__ + f" {failure.strerror}"
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            if error:
                self.errors[error] = max(took, self.errors.get(error, 0))
            time.sleep(0.5)

    def __str__(self) -> str:
        failed = ", ".join(f"{error} after {took:.1f} s" for error, took in self.errors.items())
        return f"a write on host 2 took {self.slowest:.1f} s at most, and failed with: {failed or 'nothing'}"


def partition_1(stage: Stage) -> None:
    """It must win, and after host 2 knows that it has lost; whoever it took over from must not be able to go on."""
    stage.wire.wait("holds", PATIENCE)
    me = stage.worker()
    won = stage.try_until_won(me, PATIENCE + 3 * stage.lease)
    if won is None:
        stage.expect(False, "nobody got the claim")
        return
    at = time.time() - (time.monotonic() - won.at)
    print(f"won at {at:.2f}", flush=True)
    silent = stage.wire.silent
    stage.expect(silent > QUIET, "won although host 2 is not cut off")
    lost = stage.wire.wait("lost", PATIENCE + 3 * stage.lease)
    cut = at - silent
    stage.figure(f"lost {lost - cut:.1f} s after the cut, taken over {silent:.1f} s after it")
    stage.expect(lost < at, "host 2 was told that it has lost only after another had won")
    stage.expect(silent < 1.5 * stage.lease, "later than 1.5 leases after the cut")
    stage.expect(
        stage.wire.wait("checked", PATIENCE) == "ClaimLost", f"check() of the old holder: {stage.wire.known('checked')}"
    )
    left = stage.wire.wait("left", PATIENCE)
    stage.expect(left == "ClaimLost", f"the old holder's release: {left}")
    current = stage.claims.check(NAME, won.outcome.lease.generation).current
    stage.expect(current, "the old holder's release ended the new one's lease")
    stage.claims.release_lease(won.outcome.lease)
    stage.wire.tell("released")
    again = stage.wire.wait("again", PATIENCE + 3 * stage.lease)
    stage.expect(
        again > won.outcome.lease.generation, f"host 2 got generation {again} after {won.outcome.lease.generation}"
    )
    stage.figure(stage.wire.wait("calls", PATIENCE))
    stage.wire.tell("over")


def partition_2(stage: Stage) -> None:
    prober = Prober(stage.directory)
    prober.start()
    lease = hold(NAME, data_dir=stage.directory, lease_seconds=stage.lease, on_lost=lambda _: _report_lost(stage))
    entered = False
    try:
        with lease:
            entered = True
            stage.wire.tell("holds")
            assert lease.lost.wait(PATIENCE + 3 * stage.lease), "it never knew that it has lost"
            silent = until(lambda: stage.wire.silent < QUIET, PATIENCE + 3 * stage.lease)
            assert silent, "the link was not healed"
            stage.wire.tell("checked", _raised_by(lease.check))
        stage.wire.tell("left", "nothing")
    except ClaimLost as error:
        assert entered
        print(f"left: {error}", flush=True)
        stage.wire.tell("left", "ClaimLost")
    stage.wire.wait("released", PATIENCE)
    stage.wire.tell("again", _hold_again(stage))
    stage.wire.tell("calls", str(prober))
    stage.wire.wait("over", PATIENCE)


def _report_lost(stage: Stage) -> None:
    """On this host's own disk, too: the wire is cut."""
    now = time.time()
    with tempfile.NamedTemporaryFile("w", prefix="lost-", delete=False) as file:
        file.write(f"{now}\n")
    stage.wire.tell("lost", now)


def _raised_by(check: object) -> str:
    assert callable(check)
    try:
        check()
    except LooopError as error:
        print(f"check: {error}", flush=True)
        return type(error).__name__
    return "nothing"


def _hold_again(stage: Stage) -> int:
    """The generation of a new hold."""
    with hold(NAME, data_dir=stage.directory, lease_seconds=stage.lease) as lease:
        lease.check()
        return lease.generation


def short_partition_1(stage: Stage) -> None:
    """Cut off for less than a third of the lease: nothing may be lost, and nobody may win."""
    stage.wire.wait("holds", PATIENCE)
    me = stage.worker()
    won = stage.try_until_won(me, 3 * stage.lease)
    stage.expect(won is None, f"won: {won}")
    began, ended = stage.wire.longest
    stage.figure(f"cut off for {ended - began:.1f} s")
    stage.expect(ended - began > QUIET, "the link was not cut")
    stage.expect(stage.wire.silent < QUIET, "the link is not healed")
    stage.wire.tell("leave")
    stage.expect(stage.wire.wait("left", PATIENCE) == "nothing", f"host 2: {stage.wire.known('left')}")
    stage.expect(stage.wire.known("lost") is None, "host 2 was told that it has lost")
    won = stage.try_until_won(me, PATIENCE)
    stage.expect(won is not None, "nobody got the claim after its release")
    stage.figure(stage.wire.wait("calls", PATIENCE))
    stage.wire.tell("over")


def short_partition_2(stage: Stage) -> None:
    prober = Prober(stage.directory)
    prober.start()
    lease = hold(NAME, data_dir=stage.directory, lease_seconds=stage.lease, on_lost=lambda _: _report_lost(stage))
    _hold_until_told_to_leave(stage, lease, 3 * stage.lease)
    stage.wire.tell("calls", str(prober))
    stage.wire.wait("over", PATIENCE)


def _hold_until_told_to_leave(stage: Stage, lease: Hold, seconds: float) -> None:
    raised = "nothing"
    try:
        with lease:
            stage.wire.tell("holds")
            stage.wire.wait("leave", PATIENCE + seconds)
            lease.check()
    except LooopError as error:
        raised = f"{type(error).__name__}: {error}"
    stage.wire.tell("left", raised)


def freeze_1(stage: Stage) -> None:
    """Host 2 is frozen for longer than the lease. It must know that it has lost soon after it goes on."""
    stage.wire.wait("holds", PATIENCE)
    me = stage.worker()
    won = stage.try_until_won(me, PATIENCE + 3 * stage.lease)
    if won is None:
        stage.expect(False, "nobody got the claim")
        return
    silent = stage.wire.silent
    stage.expect(silent > QUIET, "won although host 2 is not frozen")
    stage.figure(f"taken over {silent:.1f} s after the freeze")
    stage.expect(silent < 1.5 * stage.lease, "later than 1.5 leases after the freeze")
    stage.wire.wait("lost", PATIENCE + 3 * stage.lease)
    began, ended = stage.wire.longest
    late = stage.wire.when("lost") - ended
    stage.figure(f"frozen for {ended - began:.1f} s; it knew {late:.1f} s after it went on")
    stage.expect(late < stage.lease / 3 + 2, "later than an interval after it went on")
    left = stage.wire.wait("left", PATIENCE)
    stage.expect(left == "ClaimLost", f"the old holder's release: {left}")
    stage.expect(stage.claims.check(NAME, won.outcome.lease.generation).current, "the new lease was ended")
    stage.wire.tell("over")


def freeze_2(stage: Stage) -> None:
    lease = hold(NAME, data_dir=stage.directory, lease_seconds=stage.lease, on_lost=lambda _: _report_lost(stage))
    left = "nothing"
    with contextlib.ExitStack() as stack:
        stack.enter_context(lease)
        stage.wire.tell("holds")
        assert lease.lost.wait(2 * PATIENCE + 6 * stage.lease), "it never knew that it has lost"
        left = _raised_by(stack.close)
    stage.wire.tell("left", left)
    stage.wire.wait("over", PATIENCE)


def freeze_alone_1(stage: Stage) -> None:
    """Frozen as long, but nobody wants the claim meanwhile: it carries on."""
    stage.wire.wait("holds", PATIENCE)
    until(lambda: stage.wire.longest[1] - stage.wire.longest[0] > stage.lease, PATIENCE + 4 * stage.lease, 0.2)
    began, ended = stage.wire.longest
    stage.figure(f"frozen for {ended - began:.1f} s")
    stage.expect(ended - began > stage.lease, "host 2 was not frozen")
    until(lambda: bool(stage.wire.known("lost")), stage.lease)
    me = stage.worker()
    won = stage.try_until_won(me, 2 * stage.lease)
    stage.expect(won is None, f"won: {won}")
    stage.wire.tell("leave")
    stage.expect(stage.wire.wait("left", PATIENCE) == "nothing", f"host 2: {stage.wire.known('left')}")
    stage.expect(stage.wire.known("lost") is None, "host 2 was told that it has lost")
    stage.wire.tell("over")


def freeze_alone_2(stage: Stage) -> None:
    lease = hold(NAME, data_dir=stage.directory, lease_seconds=stage.lease, on_lost=lambda _: _report_lost(stage))
    _hold_until_told_to_leave(stage, lease, 8 * stage.lease)
    stage.wire.wait("over", PATIENCE)
