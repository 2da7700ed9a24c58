"""A block that has lost its claim is told, whatever the filesystem does meanwhile; and the process can claim again."""

from __future__ import annotations

import errno
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.capabilities import NATIVE, needs_fork, needs_proc
from support.clocks import Clock

from looop_portable import Claims, Hold, Won, hold
from looop_portable.backends.directory.registry import Registry
from looop_portable.errors import ClaimLost, UsageError
from looop_portable.holding import own_session
from looop_portable.protocol.records import Holder, Registration
from looop_portable.sessions.heartbeats import Pulse
from looop_portable.system.files import OS

LEASE = 3
THIRD = LEASE / 3
STEP = THIRD / 5
"""Seconds of the clock within which each thread looks once."""
SOON = 60.0
"""Seconds that a test waits for what has to happen: never, if all is well."""


class Heartbeats:
    """What becomes of heartbeats: they work, fail, or hang."""

    def __init__(self) -> None:
        self.work: Callable[[], object] = lambda: None

    def fail(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def heartbeats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Heartbeats:
    """Those in the store of the test. Sessions of earlier tests go on in this process, by a clock that is real."""
    found, beat = Heartbeats(), OS.beat
    own = f"{tmp_path.as_posix()}/"

    def give(path: str) -> None:
        if "heartbeat" in path and path.replace(os.sep, "/").startswith(own):
            found.work()
        beat(path)

    monkeypatch.setattr(OS, "beat", give)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """By which the heartbeats of this process go: they are due when the test says so."""
    found = Clock()
    found.rules(monkeypatch, own_session)
    yield found
    found.stop()


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


def block(store: str, on_lost: Callable[[Hold], object] | None = None) -> Hold:
    return hold("n", data_dir=store, backend=NATIVE, lease_seconds=LEASE, on_lost=on_lost)


def test_a_block_that_cannot_give_heartbeats_is_told_and_ends_with_an_error(
    store: str, heartbeats: Heartbeats, clock: Clock
) -> None:
    told: queue.SimpleQueue[Hold] = queue.SimpleQueue()
    entered = block(store, told.put)
    lease = entered.__enter__()
    assert not lease.lost.is_set()
    heartbeats.work = heartbeats.fail
    clock.move(2 * THIRD + STEP)
    assert lease.lost.wait(SOON)
    with pytest.raises(ClaimLost, match="Input/output error"):
        lease.check()
    with pytest.raises(
        ClaimLost, match=r"claim n: generation 1 is lost: no heartbeat could be given for \d s of a lease of 3 s"
    ):
        entered.__exit__(None, None, None)
    assert told.get(timeout=SOON) is entered  # By a thread of its own.
    assert told.empty()


def test_what_fails_for_less_than_two_thirds_of_the_lease_loses_nothing(
    store: str, heartbeats: Heartbeats, clock: Clock
) -> None:
    failed: list[float] = []

    def fails() -> None:
        failed.append(clock())
        raise OSError(errno.ESTALE, "Stale file handle")

    with block(store) as lease:
        heartbeats.work = fails
        clock.move(2 * THIRD - STEP)
        assert len(failed) > 1
        heartbeats.work = lambda: None
        clock.move(2 * LEASE)
        assert not lease.lost.is_set()
        lease.check()


def test_a_filesystem_that_hangs_keeps_nobody_inside(store: str, heartbeats: Heartbeats, clock: Clock) -> None:
    answered = threading.Event()
    entered = block(store)
    lease = entered.__enter__()
    heartbeats.work = partial(clock.hang, answered)
    clock.move(2 * THIRD + STEP)
    assert lease.lost.wait(SOON)
    with pytest.raises(ClaimLost, match="does not answer"):
        entered.__exit__(None, None, None)
    assert not answered.is_set()
    answered.set()


def test_what_was_lost_is_released_as_soon_as_that_is_possible(store: str, heartbeats: Heartbeats, clock: Clock) -> None:
    """To the other processes of this host it would be held as long as this one lives."""
    others = Claims.open(store, NATIVE)
    entered = block(store)
    lease = entered.__enter__()
    session = lease.session
    heartbeats.work = heartbeats.fail
    clock.move(2 * THIRD + STEP)
    assert lease.lost.wait(SOON)
    assert not others.sessions.verdict(*_holder(lease)).dead, "it may still be at work"
    with pytest.raises(ClaimLost):
        entered.__exit__(None, None, None)
    ends = time.monotonic() + SOON
    while not isinstance(others.claim("n", "other"), Won):
        assert time.monotonic() < ends
        threading.Event().wait(0.01)
    heartbeats.work = lambda: None
    others.release("n", "other")
    with block(store) as anew:
        assert anew.session != session
        assert not anew.lost.is_set()
        anew.check()


def _holder(lease: Hold) -> Holder:
    return Holder(lease.session, lease.lease.incarnation)


def test_a_block_that_could_only_be_entered_slowly_is_not_lost_by_that(
    store: str, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """As just after a partition: the first heartbeat is old by the time that its session is registered."""
    slow, publish = [True], Registry.advance

    def takes_long(self: Registry, session: str, expected: int, registration: Registration) -> bool:
        if slow and slow.pop():
            clock.move(LEASE)
        return publish(self, session, expected, registration)

    began: list[float] = []
    start = Pulse.start

    def recorded(self: Pulse) -> None:
        began.append(clock() - self.renewed_at)
        start(self)

    monkeypatch.setattr(Registry, "advance", takes_long)
    monkeypatch.setattr(Pulse, "start", recorded)
    with block(store) as lease:
        assert not slow
        assert began[0] < LEASE / 3
        clock.move(LEASE)
        assert not lease.lost.is_set()
        lease.check()


def test_a_claim_that_was_broken_is_lost_without_a_check_and_the_others_are_not(store: str, clock: Clock) -> None:
    others = Claims.open(store, NATIVE)
    with hold("m", data_dir=store, backend=NATIVE, lease_seconds=LEASE) as kept:
        entered = block(store)
        lease = entered.__enter__()
        others.break_claim("n", lease.generation, "test")
        clock.move(THIRD + STEP)
        assert lease.lost.wait(SOON)
        assert not kept.lost.is_set()
        kept.check()
        with pytest.raises(ClaimLost, match="superseded"):
            entered.__exit__(None, None, None)


def test_a_session_that_was_ended_loses_all_that_it_held(store: str, clock: Clock) -> None:
    others = Claims.open(store, NATIVE)
    first, second = block(store), hold("m", data_dir=store, backend=NATIVE, lease_seconds=LEASE)
    lease = first.__enter__()
    second.__enter__()
    others.sessions.stop(lease.session)
    clock.move(THIRD + STEP)
    assert first.lost.wait(SOON)
    assert second.lost.wait(SOON)
    for entered in (first, second):
        with pytest.raises(ClaimLost, match="its session has ended"):
            entered.__exit__(None, None, None)
    with block(store) as anew:
        anew.check()


def test_a_block_that_is_still_inside_is_told_though_another_noticed_first(store: str, clock: Clock) -> None:
    """A later block finds the session ended, and goes on as another: that takes nothing from those that are inside."""
    others = Claims.open(store, NATIVE)
    entered = block(store)
    lease = entered.__enter__()
    others.sessions.stop(lease.session)
    with hold("m", data_dir=store, backend=NATIVE, lease_seconds=LEASE) as another:
        assert another.session != lease.session
        clock.move(THIRD + STEP)
        assert entered.lost.wait(SOON)
        assert not another.lost.is_set()
    with pytest.raises(ClaimLost, match="its session has ended"):
        entered.__exit__(None, None, None)


@needs_proc
def test_sessions_that_come_and_go_leave_nothing_open(store: str) -> None:
    others = Claims.open(store, NATIVE)
    opened = []
    for _ in range(3):
        with block(store) as lease:
            session = lease.session
        head = others.backend.sessions.read(session)  # As another process ends it, which cannot release our lock.
        assert head.own
        assert others.backend.sessions.advance(session, head.generation, head.own._replace(ended=True))
        opened.append(len(os.listdir("/proc/self/fd")))
    with block(store):
        pass
    ends = time.monotonic() + SOON
    while len(os.listdir("/proc/self/fd")) > opened[0]:
        assert time.monotonic() < ends, "a lock is left for each"
        threading.Event().wait(0.01)


def test_an_error_in_on_lost_is_not_hidden_and_keeps_nobody_else_from_being_told(
    store: str, heartbeats: Heartbeats, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    told = threading.Event()

    def breaks(lost: Hold) -> None:
        raise KeyError(lost.name)

    first = block(store, breaks)
    second = hold("m", data_dir=store, backend=NATIVE, lease_seconds=LEASE, on_lost=lambda _: told.set())
    first.__enter__()
    second.__enter__()
    heartbeats.work = heartbeats.fail
    clock.move(2 * THIRD + STEP)
    assert told.wait(SOON)
    for entered in (first, second):
        with pytest.raises(ClaimLost):
            entered.__exit__(None, None, None)
    while not seen:
        threading.Event().wait(0.01)
    assert seen[0].exc_type is KeyError


@pytest.mark.parametrize("seconds", [2, 0, -1])
def test_a_lease_that_no_slow_filesystem_could_keep_is_refused(store: str, seconds: int) -> None:
    with pytest.raises(UsageError, match="too short"):
        hold("n", data_dir=store, lease_seconds=seconds)


def test_the_memory_backend_needs_no_heartbeats(store: str, clock: Clock) -> None:
    with hold("n", data_dir=store, backend="memory", lease_seconds=LEASE) as lease:
        clock.move(LEASE)
        assert not lease.lost.is_set()
        lease.check()


FORKED = """
import os, sys
from support.clocks import Clock
from looop_portable import ClaimLost, hold
from looop_portable.claims import own
from looop_portable.holding import own_session
clock = Clock()
own.elapsed = own_session.elapsed = clock
own_session.Pulse = clock.pulse
with hold("n", data_dir=sys.argv[1], lease_seconds=3) as lease:
    child = os.fork()
    if child == 0:
        clock.forget()  # Its parent's threads, which it has not, give the heartbeats.
        clock.move(3.5)
        try:
            lease.check()
        except ClaimLost as error:
            assert "the parent's" in str(error)
        else:
            raise AssertionError("nobody holds there")
        assert not lease.lost.is_set()
        with hold("m", data_dir=sys.argv[1], lease_seconds=3) as own:
            assert own.session != lease.session
            clock.move(3.5)
            assert clock() - clock.pulses[0].renewed_at < 1.3, "its own threads give its heartbeats"
            own.check()
        sys.exit()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    clock.move(3.5)
    assert clock() - clock.pulses[0].renewed_at < 1.3
    lease.check()
"""


@needs_fork
def test_a_forked_child_leaves_its_parent_s_heartbeats_alone_and_gives_its_own(store: str) -> None:
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", FORKED, store], env=there, check=True)
    assert os.listdir(Path(store, "sessions")) == [".ledger"], "every session has been left in good order"
