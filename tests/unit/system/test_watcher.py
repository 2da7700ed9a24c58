"""Watchers on real files and processes: what wakes, also when it happens before anybody waits for it, and what does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import kqueues
from support.capabilities import needs_fork, needs_proc, needs_symlinks, needs_zombies
from support.crew import until

from looop_portable.aio.wakeup import LoopWatcher
from looop_portable.errors import Unavailable
from looop_portable.protocol.records import Registration
from looop_portable.system.processes import SYSTEM
from looop_portable.system.watch import shared
from looop_portable.system.watch.subscriptions import PerProcess, SubscribedWatcher
from looop_portable.system.watch.waking import LocalWatcher, ThreadWatcher, new_watcher

LONG = 60.0
"""Seconds for which one waits that has to wake: never, if all is well."""

SHORT = 0.05


def wakes(watcher: ThreadWatcher) -> bool:
    began = time.monotonic()
    watcher.wait(LONG)
    return time.monotonic() - began < LONG / 2


def is_silent(watcher: ThreadWatcher) -> bool:
    began = time.monotonic()
    watcher.wait(SHORT)
    return time.monotonic() - began > SHORT * 0.9


@pytest.fixture(params=["this kernel's", "kqueue's"])
def subscription(request: pytest.FixtureRequest) -> Iterator[ThreadWatcher]:
    """One that a kernel wakes, this or that."""
    if request.param == "kqueue's":
        if not kqueues.is_possible():
            pytest.skip("select.kqueue is missing, and what tells of the same")
        from looop_portable.system.watch import kqueue

        kqueues.hand_over()
        request.getfixturevalue("monkeypatch").setattr(shared, "IDLE", 0.01)
        found: ThreadWatcher = SubscribedWatcher(kqueue.WATCHERS)
    else:
        found = new_watcher()
    if isinstance(found, LocalWatcher):
        pytest.skip("inotify, pidfd or eventfd are missing, or what is alike on Windows: no kernel wakes")
    yield found
    found.close()
    if request.param == "kqueue's":
        kqueues.wait_until_closed()


@pytest.fixture
def watcher(subscription: ThreadWatcher) -> ThreadWatcher:
    """One that tells what it was asked for, and of a directory nothing but the names that come and go."""
    if kernel_of(subscription) == "WindowsKernel":
        pytest.skip("inotify and kqueue are missing: what else happens in a directory wakes too")
    return subscription


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that waits for nothing."""
    found = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield found
    found.kill()
    found.communicate()


def kernel_of(watcher: Any) -> str:
    return str(watcher._subscriptions._watchers._new_kernel.__name__)


def is_inotify(watcher: ThreadWatcher) -> bool:
    return kernel_of(watcher) == "LinuxKernel"


def registration(pid: int, start: str = "") -> Registration:
    here = SYSTEM.here()
    return Registration("", "", pid, start or SYSTEM.start_of(pid), here.boot, here.namespace, "host")


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def remove(there: Path) -> None:
    (there / "one").unlink()
    there.rmdir()


def wake_twice(watcher: ThreadWatcher) -> None:
    watcher.wake()
    watcher.wake()


# Whichever kernel wakes.


def test_a_name_that_appears_in_a_directory_wakes_also_before_anybody_waits(
    subscription: ThreadWatcher, there: Path
) -> None:
    assert subscription.watch([str(there)])
    assert is_silent(subscription)
    (there / "new").touch()
    assert wakes(subscription)
    subscription.forget()
    assert is_silent(subscription)
    (there / "newer").touch()
    assert wakes(subscription)


def test_a_file_that_is_removed_wakes_and_one_that_is_gone_cannot_be_watched(
    subscription: ThreadWatcher, there: Path
) -> None:
    assert subscription.watch([str(there / "one")])
    assert is_silent(subscription)
    (there / "one").unlink()
    assert wakes(subscription)
    subscription.forget()
    assert not subscription.watch([str(there / "one")])
    assert not subscription.watch([])


def test_the_end_of_a_process_wakes_and_then_no_more(subscription: ThreadWatcher, process: subprocess.Popen[bytes]) -> None:
    subscription.forget()
    assert subscription.follow(registration(process.pid))
    assert is_silent(subscription)
    end(process)
    assert wakes(subscription)
    subscription.forget()
    assert is_silent(subscription)
    assert not subscription.follow(None)


# A directory.


APPEARS: dict[str, Callable[[Path, Path], object]] = {
    "created": lambda there, other: (there / "new").touch(),
    "linked": lambda there, other: os.link(other / "old", there / "new"),
    "renamed into it": lambda there, other: (other / "old").rename(there / "new"),
    "renamed in it": lambda there, other: (there / "one").rename(there / "new"),
    "the directory is removed": lambda there, other: remove(there),
    "the directory is renamed": lambda there, other: there.rename(other / "there"),
}
SILENT: dict[str, Callable[[Path, Path], object]] = {
    "removed": lambda there, other: (there / "one").unlink(),
    "written": lambda there, other: (there / "one").write_text("two"),
    "renamed out of it": lambda there, other: (there / "one").rename(other / "one"),
    "created elsewhere": lambda there, other: (other / "new").touch(),
    "read": lambda there, other: (there / "one").read_text(),
}


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory with a file `one`; beside it is `other`, with a file `old`."""
    for name, file in (("there", "one"), ("other", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    return tmp_path / "there"


@pytest.mark.parametrize("happens", APPEARS)
def test_what_appears_in_a_directory_wakes_also_before_anybody_waits(
    watcher: ThreadWatcher, there: Path, happens: str
) -> None:
    watcher.forget()
    assert watcher.watch([str(there)])
    assert is_silent(watcher)
    APPEARS[happens](there, there.parent / "other")
    assert wakes(watcher)
    assert wakes(watcher)  # Until whoever looks has said so.
    watcher.forget()
    assert is_silent(watcher) or not is_inotify(watcher)  # To a kqueue it may be more than one change.


@pytest.mark.parametrize("happens", SILENT)
def test_what_else_happens_in_a_directory_does_not_wake(watcher: ThreadWatcher, there: Path, happens: str) -> None:
    if happens in ("removed", "renamed out of it") and not is_inotify(watcher):
        pytest.skip("inotify is missing: names that go ring too")
    assert watcher.watch([str(there)])
    SILENT[happens](there, there.parent / "other")
    assert is_silent(watcher)


def test_what_happens_while_somebody_waits_wakes(watcher: ThreadWatcher, there: Path) -> None:
    assert watcher.watch([str(there)])
    waits = threading.Thread(target=watcher.wait, args=(LONG,))
    waits.start()
    (there / "new").touch()
    waits.join(LONG / 2)
    assert not waits.is_alive()


def test_what_happened_before_does_not_wake_and_what_happens_after_it_was_forgotten_does(
    watcher: ThreadWatcher, there: Path
) -> None:
    (there / "before").touch()
    assert watcher.watch([str(there)])
    assert is_silent(watcher)
    for name in ("first", "second"):
        (there / name).touch()
        assert wakes(watcher)
        watcher.forget()
        assert watcher.watch([str(there)])
        assert is_silent(watcher)


def test_a_directory_that_is_gone_cannot_be_watched_until_it_is_there_again(watcher: ThreadWatcher, there: Path) -> None:
    assert watcher.watch([str(there)])
    remove(there)
    watcher.forget()
    assert not watcher.watch([str(there)])
    there.mkdir()
    watcher.forget()
    assert watcher.watch([str(there)])
    (there / "new").touch()
    assert wakes(watcher)


def test_only_what_was_asked_for_last_wakes(watcher: ThreadWatcher, there: Path) -> None:
    other = there.parent / "other"
    assert watcher.watch([str(there), str(other)])
    assert watcher.watch([str(other)])
    (there / "new").touch()
    assert is_silent(watcher)
    (other / "new").touch()
    assert wakes(watcher)


def test_what_has_woken_wakes_though_others_are_asked_for(watcher: ThreadWatcher, there: Path) -> None:
    other = there.parent / "other"
    assert watcher.watch([str(there), str(other)])
    (other / "new").touch()
    assert watcher.watch([str(other)])
    assert wakes(watcher)


def test_what_is_not_there_cannot_be_watched(watcher: ThreadWatcher, there: Path) -> None:
    assert not watcher.watch([str(there / "missing")])
    assert not watcher.watch([str(there), str(there / "missing")])
    assert not watcher.watch([])


@needs_symlinks
def test_another_name_of_a_directory_is_that_directory(watcher: ThreadWatcher, there: Path) -> None:
    (there.parent / "link").symlink_to(there)
    assert watcher.watch([str(there.parent / "link")])
    (there / "new").touch()
    assert wakes(watcher)


# A file.


def test_a_file_that_is_removed_wakes_and_cannot_be_watched_any_more(watcher: ThreadWatcher, there: Path) -> None:
    assert watcher.watch([str(there / "one")])
    assert is_silent(watcher)
    (there / "one").unlink()
    assert wakes(watcher)
    watcher.forget()
    assert is_silent(watcher)
    assert not watcher.watch([str(there / "one")])


def test_one_of_two_names_that_is_removed_wakes_and_cannot_be_watched_any_more(watcher: ThreadWatcher, there: Path) -> None:
    os.link(there / "one", there / "two")
    assert watcher.watch([str(there / "one")])
    (there / "one").unlink()
    assert wakes(watcher)
    watcher.forget()
    assert not watcher.watch([str(there / "one")])


def test_what_is_put_in_a_files_place_wakes_and_is_watched_from_then_on(watcher: ThreadWatcher, there: Path) -> None:
    """Also where the old one has another name, and so is still there."""
    os.link(there / "one", there / "two")
    for number in range(3):
        watcher.forget()
        assert watcher.watch([str(there / "one")])
        assert is_silent(watcher)
        (there / f"new-{number}").touch()
        (there / f"new-{number}").replace(there / "one")
        assert wakes(watcher)


def test_a_file_that_is_written_wakes_each_time(watcher: ThreadWatcher, there: Path) -> None:
    for _ in range(3):
        watcher.forget()
        assert watcher.watch([str(there / "one")])
        assert is_silent(watcher)
        with open(there / "one", "ab", buffering=0) as file:  # One change: a second may wake late.
            file.write(b"x")
        assert wakes(watcher)


# A process.


def test_a_process_that_ends_wakes_once(watcher: ThreadWatcher, process: subprocess.Popen[bytes]) -> None:
    assert watcher.follow(registration(process.pid))
    assert is_silent(watcher)
    end(process)
    assert wakes(watcher)
    watcher.forget()
    assert is_silent(watcher)


def test_a_process_that_ends_while_somebody_waits_wakes(watcher: ThreadWatcher, process: subprocess.Popen[bytes]) -> None:
    assert watcher.follow(registration(process.pid))
    waits = threading.Thread(target=watcher.wait, args=(LONG,))
    waits.start()
    process.kill()
    waits.join(LONG / 2)
    assert not waits.is_alive()


@needs_zombies
def test_a_process_that_had_ended_before_wakes_at_once(watcher: ThreadWatcher, process: subprocess.Popen[bytes]) -> None:
    """Nobody has waited for it, so its id is still its own."""
    told = registration(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert watcher.follow(told)
    assert wakes(watcher)


def test_a_process_that_is_gone_cannot_be_watched_or_wakes_at_once(
    watcher: ThreadWatcher, process: subprocess.Popen[bytes]
) -> None:
    told = registration(process.pid)
    end(process)
    assert not watcher.follow(told) or wakes(watcher)


def test_another_process_with_its_id_wakes_at_once(watcher: ThreadWatcher, process: subprocess.Popen[bytes]) -> None:
    assert watcher.follow(registration(process.pid, start="another"))
    assert wakes(watcher)


def test_only_the_process_that_was_asked_for_last_wakes(watcher: ThreadWatcher, process: subprocess.Popen[bytes]) -> None:
    assert watcher.follow(registration(process.pid))
    assert watcher.follow(registration(os.getpid()))
    end(process)
    assert is_silent(watcher)
    assert not watcher.follow(None)
    assert is_silent(watcher)


# Another thread, and what is left when there is nothing else.


@pytest.fixture(params=[new_watcher, LocalWatcher], ids=["the best there is", "deaf"])
def any_watcher(request: pytest.FixtureRequest) -> Iterator[ThreadWatcher]:
    found: ThreadWatcher = request.param()
    yield found
    found.close()


def test_what_another_thread_wakes_wakes_before_anybody_waits_and_while_he_does(any_watcher: ThreadWatcher) -> None:
    assert is_silent(any_watcher)
    waker = threading.Thread(target=wake_twice, args=(any_watcher,))
    waker.start()
    waker.join()
    assert wakes(any_watcher)
    any_watcher.forget()
    assert is_silent(any_watcher)
    waits = threading.Thread(target=any_watcher.wait, args=(LONG,))
    waits.start()
    any_watcher.wake()
    waits.join(LONG / 2)
    assert not waits.is_alive()


def test_a_deaf_watcher_says_that_it_hears_nothing(there: Path) -> None:
    blind = LocalWatcher()
    assert not blind.watch([str(there)])
    assert not blind.follow(registration(os.getpid()))


# The watcher, which is the process's.


@pytest.fixture
def without_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadWatcher]:
    """Its watcher has none that could stand between the kernel and it."""
    found: Any = new_watcher()
    if isinstance(found, LocalWatcher) or kernel_of(found) == "KqueueKernel":
        pytest.skip("inotify and the events of Windows are missing: a waiter does not ask the kernel itself")
    monkeypatch.setattr(shared, "started", lambda work, name: None)
    watchers = PerProcess(found._subscriptions._watchers._new_kernel)
    yield SubscribedWatcher(watchers)
    for each in watchers.opened:
        each.close()


def test_a_waiter_that_is_alone_asks_the_kernel_itself(
    without_thread: ThreadWatcher, there: Path, process: subprocess.Popen[bytes]
) -> None:
    watcher = without_thread
    assert watcher.watch([str(there)])
    assert watcher.follow(registration(process.pid))
    watcher.forget()
    assert is_silent(watcher)
    for happens in ((there / "new").touch, partial(end, process), watcher.wake):
        happens()
        assert wakes(watcher)
        watcher.forget()
        assert is_silent(watcher)
    waits = threading.Thread(target=watcher.wait, args=(LONG,))
    waits.start()
    watcher.wake()  # As another thread does that gives up its place.
    waits.join(LONG / 2)
    assert not waits.is_alive()
    watcher.close()


def test_a_waiter_that_is_not_alone_any_more_is_woken_as_before(there: Path) -> None:
    first, second, third = (new_watcher() for _ in range(3))
    if isinstance(first, LocalWatcher):
        pytest.skip("no kernel wakes")
    assert first.watch([str(there)])
    waits = threading.Thread(target=first.wait, args=(LONG,))
    waits.start()
    assert second.watch([str(there.parent / "other")])
    assert third.watch([str(there.parent / "other")])
    assert is_silent(second)
    (there / "new").touch()
    waits.join(LONG / 2)
    assert not waits.is_alive()
    assert is_silent(third)
    (there.parent / "other" / "new").touch()
    assert wakes(second)
    assert wakes(third)
    for watcher in (first, second, third):
        watcher.close()


def test_a_task_of_an_event_loop_is_woken_by_the_kernel(there: Path, process: subprocess.Popen[bytes]) -> None:
    if isinstance(new_watcher(), LocalWatcher):
        pytest.skip("no kernel wakes")

    async def wakes(watcher: LoopWatcher, happens: Callable[[], object]) -> None:
        happens()
        await asyncio.wait_for(watcher.wait(LONG), LONG / 2)
        watcher.forget()

    async def task() -> None:
        watcher = LoopWatcher(asyncio.get_running_loop())
        assert watcher.watch([str(there)])
        assert watcher.follow(registration(process.pid))
        await wakes(watcher, (there / "new").touch)
        assert watcher.watch([str(there)])
        await wakes(watcher, partial(end, process))
        watcher.close()

    asyncio.run(task())


RAISES = """
import signal, sys, threading
from looop_portable.system.watch.waking import new_watcher

class Interrupt(Exception):
    pass

def raises(*_):
    raise Interrupt

signal.signal(signal.SIGALRM, raises)
watcher = new_watcher()
assert watcher.watch([sys.argv[1]])
for number in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + number * 0.00001)
        while True:
            watcher.wait(60)
            watcher.forget()
    except Interrupt:
        pass
    watcher.forget()
    open(f"{sys.argv[1]}/{number}", "w").close()
    watcher.wait(60)
    assert watcher._latch.is_open, number
    watcher.forget()
other = new_watcher()
assert other.watch([sys.argv[1]])
waits = [threading.Thread(target=each.wait, args=(60,)) for each in (watcher, other)]
for each in waits:
    each.start()
open(f"{sys.argv[1]}/last", "w").close()
for each in waits:
    each.join(30)
    assert not each.is_alive()
"""


def test_a_signal_whose_handler_raises_leaves_a_waiter_that_is_woken(there: Path) -> None:
    if not hasattr(signal, "setitimer") or isinstance(new_watcher(), LocalWatcher):
        pytest.skip("signal.setitimer is missing, or no kernel wakes")
    command = [sys.executable, "-c", RAISES, str(there)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def watchers() -> Any:
    if sys.platform != "linux":
        pytest.skip("inotify is missing")
    from looop_portable.system.watch import linux

    return linux.WATCHERS


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


def instances() -> int:
    """How many instances of inotify this process has."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify"
    return found


@needs_proc
def test_however_many_watch_there_is_one_instance(watchers: Any, there: Path) -> None:
    watchers = [new_watcher() for _ in range(300)]
    assert all(watcher.watch([str(there)]) for watcher in watchers)
    assert until(lambda: instances() == 1, LONG)  # Those of other tests are closed when they have been idle.
    (there / "new").touch()
    assert all(map(wakes, watchers))
    for watcher in watchers:
        watcher.close()


def test_two_that_watch_one_file_are_both_woken_and_one_that_stops_keeps_nothing_from_the_other(
    watchers: Any, there: Path
) -> None:
    first, second = new_watcher(), new_watcher()
    for path in (there, there / "one"):
        for watcher in (first, second):
            watcher.forget()
            assert watcher.watch([str(path)])
        first.watch([])
        assert first.watch([str(path)])
        second.watch([])
        (there / "one").write_text("new")
        (there / "new").touch()
        assert wakes(first)
        assert is_silent(second)
        (there / "new").unlink()
    first.close()
    second.close()


def test_two_that_follow_one_process_are_both_woken(watchers: Any, process: subprocess.Popen[bytes]) -> None:
    watchers = [new_watcher() for _ in range(3)]
    assert all(watcher.follow(registration(process.pid)) for watcher in watchers)
    watchers[2].follow(None)
    end(process)
    assert wakes(watchers[0])
    assert wakes(watchers[1])
    assert is_silent(watchers[2])
    for watcher in watchers:
        watcher.close()


def test_when_nobody_watches_it_is_closed_and_opened_anew(
    watchers: Any, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its own: in this process sessions of other tests listen, for two leases yet."""
    own = PerProcess(watchers._new_kernel)
    monkeypatch.setattr(shared, "IDLE", 0.01)
    for number in range(3):
        watcher = SubscribedWatcher(own)
        assert watcher.watch([str(there)])
        (there / f"{number}").touch()
        assert wakes(watcher)
        watcher.close()
        assert until(lambda: not own.opened, LONG)


def test_only_the_waiters_that_watch_what_has_changed_are_woken(watchers: Any, there: Path) -> None:
    watcher = shared.SharedWatcher(watchers._new_kernel())
    waiters: list[list[Woken]] = []
    for number in range(10):
        (there / f"{number}").mkdir()
        waiters.append([Woken() for _ in range(100)])
        for each in waiters[-1]:
            assert watcher.watch(each, str(there / f"{number}")) is not None
    (there / "7" / "new").touch()
    assert watcher._step(LONG)
    woken = [sum(each.was_woken() for each in group) for group in waiters]
    assert woken == [100 * (number == 7) for number in range(10)]
    watcher.close()


def test_when_more_has_changed_than_can_be_told_all_are_woken(
    watchers: Any, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, first, second = watchers._new_kernel(), Woken(), Woken()
    watcher = shared.SharedWatcher(kernel)
    assert watcher.watch(first, str(there)) is not None
    assert watcher.watch(second, str(there / "one")) is not None
    monkeypatch.setattr(kernel._changes, "events", lambda: [(kernel._changes.OVERFLOW, False)])
    (there / "new").touch()
    assert watcher._step(LONG)
    assert first.wakes()
    assert second.wakes()
    watcher.close()


def test_a_child_closes_nothing_of_a_watcher_that_its_parent_had_given_up(watchers: Any) -> None:
    """Its numbers are another's by then: a pipe's of the very child, say."""
    watcher = shared.SharedWatcher(watchers._new_kernel())
    kernel: Any = watcher._kernel
    numbers, ends = (kernel._changes.fd, kernel._called), os.pipe()
    watcher._give_up()
    for end, number in zip(ends, numbers, strict=True):
        os.dup2(end, number)
    watcher.close_inherited(just_begun=True)
    os.write(numbers[1], b"mine")
    assert os.read(numbers[0], 9) == b"mine"
    for number in (*numbers, *ends):
        os.close(number)


def test_what_has_gone_is_not_kept_in_mind(watchers: Any, there: Path) -> None:
    watcher, waiter = shared.SharedWatcher(watchers._new_kernel()), Woken()
    for number in range(20):
        (there / f"{number}").touch()
        assert watcher.watch(waiter, str(there / f"{number}"))
        (there / f"{number}").unlink()
        assert watcher._step(LONG)
    assert not watcher._paths
    watcher.close()


def test_whose_descriptors_somebody_closes_opens_others(watchers: Any, there: Path) -> None:
    """As a program does that becomes a daemon. In a process of its own: who closes all closes pytest's, too."""
    script = """
import os, sys, threading
from looop_portable.system.watch.waking import new_watcher
watcher = new_watcher()
assert watcher.watch([sys.argv[1]])
os.closerange(3, 100)
open(sys.argv[1] + "/wakes", "w").close()
for number in range(1000):
    watcher.wait(0.05)
    watcher.forget()
    if watcher.watch([sys.argv[1]]):
        break
open(sys.argv[1] + "/new", "w").close()
watcher.wait(60)
watcher._latch._shut.acquire(timeout=0) or sys.exit("it has not woken")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(there)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


STRANGERS = """
import os, sys, threading
from looop_portable.system.watch.waking import new_watcher
watchers = [new_watcher() for _ in range(int(sys.argv[2]))]
for watcher in watchers:
    assert watcher.watch([sys.argv[1]])
waits = [threading.Thread(target=watcher.wait, args=(60,)) for watcher in watchers]
for each in waits if sys.argv[3] == "meanwhile" else ():
    each.start()
    while not watchers[0]._subscriptions.watcher._driving.locked():
        pass
os.closerange(3, 100)
kept = []
for number in range(20):
    with open(f"{sys.argv[1]}/../other/{number}", "w") as file:
        file.write("precious" * 10)
    kept.append(os.open(f"{sys.argv[1]}/../other/{number}", os.O_RDWR))
for each in waits if sys.argv[3] == "later" else ():
    each.start()
for watcher in watchers:
    watcher.wake()
open(sys.argv[1] + "/new", "w").close()
for each in waits:
    each.join(60)
for fd in kept:
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0, "it was read from, or written to"
    assert os.pread(fd, 100, 0) == b"precious" * 10, "it was written to"
"""


@pytest.mark.parametrize("when", ["meanwhile", "later"])
@pytest.mark.parametrize("many", [1, 2])
def test_what_others_open_in_the_place_of_its_descriptors_is_left_alone(
    watchers: Any, there: Path, many: int, when: str
) -> None:
    command = [sys.executable, "-c", STRANGERS, str(there), str(many), when]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@needs_fork
def test_a_waiter_that_a_child_inherits_has_a_watcher_of_the_child_s_own(watchers: Any, there: Path) -> None:
    script = """
import os, sys
from looop_portable.system.watch.waking import new_watcher
watcher, goes = new_watcher(), new_watcher()
assert watcher.watch([sys.argv[1]])
assert goes.watch([sys.argv[1]])
child = os.fork()
if not child:
    goes.close()
    watcher.forget()
    notified = watcher.watch([sys.argv[1]])
    open(sys.argv[1] + "/new", "w").close()
    watcher.wait(60)
    os._exit(0 if notified and watcher._latch._shut.acquire(timeout=0) else 2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child does not hear"
watcher.wait(60)
assert watcher._latch._shut.acquire(timeout=0), "the child has taken what was told to its parent"
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(there)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_fork
def test_a_child_has_a_watcher_of_its_own(watchers: Any, there: Path) -> None:
    script = """
import os, sys
from looop_portable.system.watch.linux import WATCHERS
from looop_portable.system.watch.waking import new_watcher
watcher = new_watcher()
assert watcher.watch([sys.argv[1]])
child = os.fork()
if not child:
    if WATCHERS.opened:
        os._exit(1)
    own = new_watcher()
    notified = own.watch([sys.argv[1]])
    open(sys.argv[1] + "/new", "w").close()
    own.wait(60)
    os._exit(0 if notified and own._latch._shut.acquire(timeout=0) else 2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
watcher.wait(60)
assert watcher._latch._shut.acquire(timeout=0), "the child has taken what was told to its parent"
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(there)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


DESCRIPTORS = """
import os, resource, sys
from looop_portable.system.watch.waking import new_watcher
from looop_portable.errors import Unavailable
from looop_portable.protocol.records import Registration
from looop_portable.system.processes import SYSTEM

from looop_portable.system.watch.linux import WATCHERS

def opened():
    return len(os.listdir("/proc/self/fd"))

before, hard = opened(), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
lowest = os.open(os.devnull, os.O_RDONLY)
os.close(lowest)
parent = Registration("", "", os.getppid(), SYSTEM.start_of(os.getppid()))  # Itself needs no descriptor.
found = []
for more in range(4):
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
    watcher = new_watcher()
    found.append((watcher.watch([sys.argv[1]]), watcher.follow(parent)))
    watcher.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    WATCHERS.begin_in_child()  # What is kept for the next watcher does not count.
    assert opened() == before, (more, before, opened())
print(found)
os._exit(0)
"""


def test_without_descriptors_nothing_is_watched_and_none_is_left_open(watcher: ThreadWatcher, there: Path) -> None:
    """With none, one, two and three that are left: inotify's, that which has the watcher return, and a process's."""
    pytest.importorskip("resource")
    if not is_inotify(watcher):
        pytest.skip("inotify is missing: another number of descriptors is needed")
    command = [sys.executable, "-u", "-c", DESCRIPTORS, str(there)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{[(False, False), (False, False), (True, False), (True, True)]}\n"


@pytest.mark.parametrize("error", [OSError(24, "the user's instances are used up"), Unavailable("no thread")])
def test_without_instances_or_threads_nothing_is_watched_but_other_threads(
    watchers: Any, there: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def no_more(*_: object) -> Any:
        raise error

    monkeypatch.setattr(shared, "started", no_more)
    watcher = SubscribedWatcher(PerProcess(no_more if isinstance(error, OSError) else watchers._new_kernel))
    assert not watcher.watch([str(there)])
    assert not watcher.follow(registration(os.getppid()))
    wake_twice(watcher)
    assert wakes(watcher)
    watcher.close()
