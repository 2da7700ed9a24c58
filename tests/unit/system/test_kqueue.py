"""What macOS and the BSDs tell of changes and of ends: kqueue(2), or on Linux one of the tests' own, over real ones.

What all kernels tell alike is in `test_bells`.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import kqueues
from support.capabilities import needs_fork
from support.crew import until

if not kqueues.is_possible():
    pytest.skip("select.kqueue is missing, and what tells of the same", allow_module_level=True)

from looop_portable.aio import wakeup
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import ProcessState
from looop_portable.protocol.records import Registration
from looop_portable.system.processes import SYSTEM, handle
from looop_portable.system.processes.handle import Watch
from looop_portable.system.watch import kqueue, shared, vnodes, waking
from looop_portable.system.watch.subscriptions import PerProcess, SubscribedWatcher

LONG = 60.0


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module that has kqueue and kevent, which `handle` takes it from, too."""
    kqueues.hand_over()
    found = select if hasattr(select, "kqueue") else kqueues
    monkeypatch.setattr(handle, "_kernel", lambda: found)
    monkeypatch.setattr(shared, "IDLE", 0.01)
    yield found
    kqueues.wait_until_closed()


class Woken:
    """A watcher that counts."""

    def __init__(self) -> None:
        self.woken = threading.Semaphore(0)

    def wake(self) -> None:
        self.woken.release()

    def wakes(self) -> bool:
        return self.woken.acquire(timeout=LONG / 2)

    def was_woken(self) -> bool:
        return self.woken.acquire(blocking=False)


@pytest.fixture
def one() -> Iterator[Any]:
    """A watcher without a thread: what is told is woken by `_step`."""
    found = shared.SharedWatcher(kqueue.KqueueKernel())
    yield found
    found.close()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    found = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield found
    found.kill()
    found.communicate()


def meant(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    return process.pid, SYSTEM.start_of(process.pid)


def opened(one: Any) -> int:
    return len(one._kernel._vnodes._opened)


# Which watcher there is.


def test_where_there_is_a_kqueue_it_wakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in kqueues.NAMES:
        if not hasattr(select, name):
            monkeypatch.setattr(select, name, getattr(kqueues, name), raising=False)
    watcher = waking.new_watcher()
    assert watcher.watch([str(tmp_path)])
    assert kqueue.WATCHERS.opened
    (tmp_path / "new").touch()
    began = time.monotonic()
    watcher.wait(LONG)
    assert time.monotonic() - began < LONG / 2
    watcher.close()

    async def in_a_loop() -> bool:
        task = wakeup.LoopWatcher(asyncio.get_running_loop())
        notified = task.watch([str(tmp_path)])
        (tmp_path / "newer").touch()
        await asyncio.wait_for(task.wait(LONG), LONG / 2)
        task.close()
        return notified

    assert asyncio.run(in_a_loop())


def test_without_a_kqueue_or_a_thread_nothing_is_watched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: Any
) -> None:
    def none(*_: object) -> None:
        raise OSError(24, "Too many open files")

    def no_thread(*_: object) -> None:
        raise Unavailable("no thread")

    for where, what, how in ((kernel, "kqueue", none), (shared, "started", no_thread)):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, how)
            watcher = SubscribedWatcher(PerProcess(kqueue.KqueueKernel))
            assert not watcher.watch([str(tmp_path)])
            assert not watcher.follow(Registration("", "", os.getppid(), SYSTEM.start_of(os.getppid())))
            watcher.wake()
            watcher.wait(LONG)
            watcher.close()


# Paths.


def test_however_many_watch_a_path_there_is_one_descriptor(one: Any, tmp_path: Path) -> None:
    watchers = [Woken() for _ in range(300)]
    numbers = {one.watch(watcher, str(tmp_path)) for watcher in watchers}
    assert (len(numbers), opened(one)) == (1, 1)
    (tmp_path / "new").touch()
    assert one._step(LONG)
    assert all(watcher.was_woken() for watcher in watchers)
    for watcher in watchers:
        one.unwatch(watcher, *numbers)
    assert opened(one) == 0


def test_more_paths_than_there_is_room_for_are_not_watched_and_then_again(one: Any, tmp_path: Path) -> None:
    watcher, numbers = Woken(), []
    for number in range(vnodes.MOST + 1):
        (tmp_path / f"{number}").touch()
        numbers.append(one.watch(watcher, str(tmp_path / f"{number}")))
    assert numbers[-1] is None
    assert None not in numbers[:-1]
    one.unwatch(watcher, numbers[0])
    assert one.watch(watcher, str(tmp_path / f"{vnodes.MOST}")) is not None


def test_without_descriptors_a_path_is_not_watched_and_nothing_is_left(
    one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: Any
) -> None:
    def refused(*_: object) -> None:
        raise OSError(24, "Too many open files")

    for where, what in ((os, "open"), (one._kernel._queue, "control"), (kernel, "kevent")):
        with monkeypatch.context() as patch:
            try:
                patch.setattr(where, what, refused)
            except AttributeError:  # A real kqueue's cannot be replaced.
                continue
            assert one.watch(Woken(), str(tmp_path)) is None
        assert opened(one) == 0


def test_what_is_put_in_a_files_place_before_its_end_was_watched_is_watched_and_nobody_waits_for_the_old_one(
    one: Any, tmp_path: Path
) -> None:
    first, second, path = Woken(), Woken(), tmp_path / "one"
    path.touch()
    old = one.watch(first, str(path))
    (tmp_path / "two").touch()
    (tmp_path / "two").replace(path)
    new = one.watch(second, str(path))
    assert old != new
    assert first.was_woken()
    one.unwatch(first, old)
    path.unlink()
    assert one._step(LONG)
    assert second.was_woken()
    assert opened(one) == 0


def test_what_goes_between_its_opening_and_what_is_asked_for_is_not_watched(
    one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "one", os.fstat
    path.touch()

    def goes(fd: int) -> os.stat_result:
        path.unlink(missing_ok=True)
        return real(fd)

    monkeypatch.setattr(os, "fstat", goes)
    assert one.watch(Woken(), str(path)) is None
    assert opened(one) == 0


def test_a_waiter_that_is_no_more_keeps_nothing_open(one: Any, tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    watcher = Woken()
    assert one.watch(watcher, str(tmp_path)) is not None
    assert one.follow(watcher, meant(process))
    del watcher
    one._tidy()
    assert opened(one) == 0
    assert not one._ends


def test_descriptors_that_somebody_has_closed_and_opened_anew_are_left_alone(one: Any, tmp_path: Path) -> None:
    watcher = Woken()
    number = one.watch(watcher, str(tmp_path))
    (fd,) = one._kernel._vnodes._opened
    os.close(fd)
    other = os.open(os.devnull, os.O_RDONLY)
    assert other == fd or os.dup2(other, fd) == fd
    one.unwatch(watcher, number)
    os.fstat(fd)  # It is open.
    os.close(fd)


# Processes.


def test_a_process_is_woken_for_when_it_is_seen_to_have_ended_and_not_before(
    one: Any, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """XNU tells of an exit while the process still shows as running: who is woken then looks, and sleeps again."""
    watcher, told = Woken(), meant(process)
    assert one.follow(watcher, told)
    seen = [False, False, True]
    process.kill()
    process.wait()
    monkeypatch.setattr(kqueue, "has_ended", lambda pid, start: seen.pop(0))
    woken = []
    while seen:
        one._step(LONG)
        woken.append(watcher.was_woken())
    assert woken == [False, False, True]
    assert not one._kernel._ending


def test_one_that_never_shows_as_ended_wakes_all_the_same(
    one: Any, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kqueue, "_LOOKS", 3)
    monkeypatch.setattr(kqueue, "_SOON", 0.001)
    monkeypatch.setattr(kqueue, "has_ended", lambda pid, start: False)
    watcher = Woken()
    assert one.follow(watcher, meant(process))
    process.kill()
    process.wait()
    for _ in range(4):
        one._step(LONG)
    assert watcher.was_woken()


def test_a_process_that_is_about_to_be_gone_is_not_followed(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(one._kernel, "_ask", gone)
    monkeypatch.setattr(kqueue, "has_ended", lambda pid, start: False)
    assert not one.follow(Woken(), (1, "1"))
    watcher = Woken()
    monkeypatch.setattr(kqueue, "has_ended", lambda pid, start: True)
    assert one.follow(watcher, (1, "1"))
    assert watcher.was_woken()


def test_two_processes_of_one_id_are_told_apart(one: Any, process: subprocess.Popen[bytes]) -> None:
    earlier, later = Woken(), Woken()
    assert one.follow(later, meant(process))
    assert one.follow(earlier, (process.pid, "another"))
    assert earlier.was_woken()
    process.kill()
    process.wait()
    while not later.was_woken():
        assert one._step(LONG)
    assert not earlier.was_woken()


def test_two_follow_one_and_one_of_them_no_more(one: Any, process: subprocess.Popen[bytes]) -> None:
    stays, goes, told = Woken(), Woken(), meant(process)
    assert one.follow(stays, told)
    assert one.follow(goes, told)
    one.unfollow(goes, told)
    process.kill()
    process.wait()
    while not stays.was_woken():
        assert one._step(LONG)
    assert not goes.was_woken()


# A process that is watched by itself, as a keeper does.


def never(_: float) -> None:
    raise AssertionError("it looks again and again")


class Seen:
    """Processes that run, whatever becomes of them; what is asked is counted."""

    def __init__(self) -> None:
        self.asked = 0

    def state(self, pid: int, start: str) -> ProcessState:
        self.asked += 1
        return ProcessState.RUNNING

    here = SYSTEM.here
    start_of = SYSTEM.start_of


@pytest.fixture
def no_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "_pidfd", lambda pid: None)


@pytest.mark.usefixtures("no_pidfd")
def test_a_keeper_is_told_of_the_end_and_looks_once(process: subprocess.Popen[bytes]) -> None:
    seen = Seen()
    watch = Watch(*meant(process), seen, never)
    assert not watch.ended(0.01)
    process.kill()
    assert watch.ended(LONG)
    assert watch.ended(0)
    assert seen.asked == 1
    watch.close()
    process.wait()


@pytest.mark.usefixtures("no_pidfd")
def test_a_later_process_of_its_id_is_not_the_one_that_is_watched(process: subprocess.Popen[bytes]) -> None:
    watch = Watch(process.pid, f"{SYSTEM.start_of(process.pid)}1", sleep=never)
    assert watch.ended(0)
    watch.close()


@pytest.mark.usefixtures("no_pidfd")
def test_without_a_descriptor_a_process_is_looked_at(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, kernel: Any
) -> None:
    def none() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(kernel, "kqueue", none)
    waited: list[float] = []
    watch = Watch(*meant(process), sleep=waited.append)
    assert not watch.ended(0.5)
    assert waited == [0.25, 0.25]
    watch.close()


# The watcher, which is the process's.


def test_when_nobody_watches_it_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert until(lambda: not kqueue.WATCHERS.opened, LONG)
    monkeypatch.setattr(shared, "IDLE", 0.01)
    watcher = SubscribedWatcher(kqueue.WATCHERS)
    assert watcher.watch([str(tmp_path)])
    watcher.close()
    assert until(lambda: not kqueue.WATCHERS.opened, LONG)


PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[2])
from support import kqueues
kqueues.put_in_place()
from looop_portable.system.watch import kqueue
from looop_portable.system.watch.waking import new_watcher
watcher = new_watcher()
assert watcher.watch([sys.argv[1]])
"""
CLOSES = """
os.closerange(3, 100)
kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
for number in range(1000):
    watcher.wait(0.05)
    watcher.forget()
    if watcher.watch([sys.argv[1]]):
        break
open(sys.argv[1] + "/new", "w").close()
watcher.wait(60)
assert watcher._latch._shut.acquire(timeout=0), "it has not woken"
[os.fstat(fd) for fd in kept]
"""
FORKS = """
child = os.fork()
if not child:
    assert not kqueue.WATCHERS.opened
    own = new_watcher()
    heard = own.watch([sys.argv[1]])
    open(sys.argv[1] + "/new", "w").close()
    own.wait(60)
    os._exit(0 if heard and own._latch._shut.acquire(timeout=0) else 2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
watcher.wait(60)
assert watcher._latch._shut.acquire(timeout=0), "the child has taken what was told to its parent"
"""


def run(program: str, directory: Path) -> None:
    command = [sys.executable, "-c", PROGRAM + program, str(directory), str(Path(__file__).parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_whose_descriptors_somebody_closes_opens_others_and_closes_none_of_theirs(tmp_path: Path) -> None:
    """As a program does that becomes a daemon, and then opens its own."""
    run(CLOSES, tmp_path)


@needs_fork
def test_a_child_has_a_watcher_of_its_own(tmp_path: Path) -> None:
    run(FORKS, tmp_path)
