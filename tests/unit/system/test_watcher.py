"""Bells on real files and processes: what rings, also when it happens before anybody waits for it, and what does not."""

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

from looop_portable.aio.wakeup import LoopBell
from looop_portable.errors import Unavailable
from looop_portable.protocol.records import Registration
from looop_portable.system.processes import SYSTEM
from looop_portable.system.watch import shared
from looop_portable.system.watch.subscriptions import PerProcess, SubscribedBell
from looop_portable.system.watch.watcher import DeafBell, ThreadBell, new_bell

LONG = 60.0
"""Seconds for which one waits that has to ring: never, if all is well."""

SHORT = 0.05


def rings(bell: ThreadBell) -> bool:
    began = time.monotonic()
    bell.wait(LONG)
    return time.monotonic() - began < LONG / 2


def is_silent(bell: ThreadBell) -> bool:
    began = time.monotonic()
    bell.wait(SHORT)
    return time.monotonic() - began > SHORT * 0.9


@pytest.fixture(params=["this kernel's", "kqueue's"])
def hearing(request: pytest.FixtureRequest) -> Iterator[ThreadBell]:
    """One that a kernel rings, this or that."""
    if request.param == "kqueue's":
        if not kqueues.is_possible():
            pytest.skip("select.kqueue is missing, and what tells of the same")
        from looop_portable.system.watch import kqueue

        kqueues.hand_over()
        request.getfixturevalue("monkeypatch").setattr(shared, "IDLE", 0.01)
        found: ThreadBell = SubscribedBell(kqueue.WATCHERS)
    else:
        found = new_bell()
    if isinstance(found, DeafBell):
        pytest.skip("inotify, pidfd or eventfd are missing, or what is alike on Windows: no kernel rings")
    yield found
    found.close()
    if request.param == "kqueue's":
        kqueues.wait_until_closed()


@pytest.fixture
def bell(hearing: ThreadBell) -> ThreadBell:
    """One that tells what it was asked for, and of a directory nothing but the names that come and go."""
    if kernel_of(hearing) == "WindowsKernel":
        pytest.skip("inotify and kqueue are missing: what else happens in a directory rings too")
    return hearing


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that waits for nothing."""
    found = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield found
    found.kill()
    found.communicate()


def kernel_of(bell: Any) -> str:
    return str(bell._subscriptions._watchers._new_kernel.__name__)


def is_inotify(bell: ThreadBell) -> bool:
    return kernel_of(bell) == "LinuxKernel"


def registration(pid: int, start: str = "") -> Registration:
    here = SYSTEM.here()
    return Registration("", "", pid, start or SYSTEM.start_of(pid), here.boot, here.namespace, "host")


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def remove(there: Path) -> None:
    (there / "one").unlink()
    there.rmdir()


def ring_twice(bell: ThreadBell) -> None:
    bell.ring()
    bell.ring()


# Whichever kernel rings.


def test_a_name_that_appears_in_a_directory_rings_also_before_anybody_waits(hearing: ThreadBell, there: Path) -> None:
    assert hearing.listen([str(there)])
    assert is_silent(hearing)
    (there / "new").touch()
    assert rings(hearing)
    hearing.forget()
    assert is_silent(hearing)
    (there / "newer").touch()
    assert rings(hearing)


def test_a_file_that_is_removed_rings_and_one_that_is_gone_cannot_be_heard(hearing: ThreadBell, there: Path) -> None:
    assert hearing.listen([str(there / "one")])
    assert is_silent(hearing)
    (there / "one").unlink()
    assert rings(hearing)
    hearing.forget()
    assert not hearing.listen([str(there / "one")])
    assert not hearing.listen([])


def test_the_end_of_a_process_rings_and_then_no_more(hearing: ThreadBell, process: subprocess.Popen[bytes]) -> None:
    hearing.forget()
    assert hearing.follow(registration(process.pid))
    assert is_silent(hearing)
    end(process)
    assert rings(hearing)
    hearing.forget()
    assert is_silent(hearing)
    assert not hearing.follow(None)


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
def test_what_appears_in_a_directory_rings_also_before_anybody_waits(bell: ThreadBell, there: Path, happens: str) -> None:
    bell.forget()
    assert bell.listen([str(there)])
    assert is_silent(bell)
    APPEARS[happens](there, there.parent / "other")
    assert rings(bell)
    assert rings(bell)  # Until whoever looks has said so.
    bell.forget()
    assert is_silent(bell) or not is_inotify(bell)  # To a kqueue it may be more than one change.


@pytest.mark.parametrize("happens", SILENT)
def test_what_else_happens_in_a_directory_does_not_ring(bell: ThreadBell, there: Path, happens: str) -> None:
    if happens in ("removed", "renamed out of it") and not is_inotify(bell):
        pytest.skip("inotify is missing: names that go ring too")
    assert bell.listen([str(there)])
    SILENT[happens](there, there.parent / "other")
    assert is_silent(bell)


def test_what_happens_while_somebody_waits_rings(bell: ThreadBell, there: Path) -> None:
    assert bell.listen([str(there)])
    waits = threading.Thread(target=bell.wait, args=(LONG,))
    waits.start()
    (there / "new").touch()
    waits.join(LONG / 2)
    assert not waits.is_alive()


def test_what_happened_before_does_not_ring_and_what_happens_after_it_was_forgotten_does(
    bell: ThreadBell, there: Path
) -> None:
    (there / "before").touch()
    assert bell.listen([str(there)])
    assert is_silent(bell)
    for name in ("first", "second"):
        (there / name).touch()
        assert rings(bell)
        bell.forget()
        assert bell.listen([str(there)])
        assert is_silent(bell)


def test_a_directory_that_is_gone_cannot_be_heard_until_it_is_there_again(bell: ThreadBell, there: Path) -> None:
    assert bell.listen([str(there)])
    remove(there)
    bell.forget()
    assert not bell.listen([str(there)])
    there.mkdir()
    bell.forget()
    assert bell.listen([str(there)])
    (there / "new").touch()
    assert rings(bell)


def test_only_what_was_asked_for_last_rings(bell: ThreadBell, there: Path) -> None:
    other = there.parent / "other"
    assert bell.listen([str(there), str(other)])
    assert bell.listen([str(other)])
    (there / "new").touch()
    assert is_silent(bell)
    (other / "new").touch()
    assert rings(bell)


def test_what_has_rung_rings_though_others_are_asked_for(bell: ThreadBell, there: Path) -> None:
    other = there.parent / "other"
    assert bell.listen([str(there), str(other)])
    (other / "new").touch()
    assert bell.listen([str(other)])
    assert rings(bell)


def test_what_is_not_there_cannot_be_heard(bell: ThreadBell, there: Path) -> None:
    assert not bell.listen([str(there / "missing")])
    assert not bell.listen([str(there), str(there / "missing")])
    assert not bell.listen([])


@needs_symlinks
def test_another_name_of_a_directory_is_that_directory(bell: ThreadBell, there: Path) -> None:
    (there.parent / "link").symlink_to(there)
    assert bell.listen([str(there.parent / "link")])
    (there / "new").touch()
    assert rings(bell)


# A file.


def test_a_file_that_is_removed_rings_and_cannot_be_heard_any_more(bell: ThreadBell, there: Path) -> None:
    assert bell.listen([str(there / "one")])
    assert is_silent(bell)
    (there / "one").unlink()
    assert rings(bell)
    bell.forget()
    assert is_silent(bell)
    assert not bell.listen([str(there / "one")])


def test_one_of_two_names_that_is_removed_rings_and_cannot_be_heard_any_more(bell: ThreadBell, there: Path) -> None:
    os.link(there / "one", there / "two")
    assert bell.listen([str(there / "one")])
    (there / "one").unlink()
    assert rings(bell)
    bell.forget()
    assert not bell.listen([str(there / "one")])


def test_what_is_put_in_a_files_place_rings_and_is_heard_from_then_on(bell: ThreadBell, there: Path) -> None:
    """Also where the old one has another name, and so is still there."""
    os.link(there / "one", there / "two")
    for number in range(3):
        bell.forget()
        assert bell.listen([str(there / "one")])
        assert is_silent(bell)
        (there / f"new-{number}").touch()
        (there / f"new-{number}").replace(there / "one")
        assert rings(bell)


def test_a_file_that_is_written_rings_each_time(bell: ThreadBell, there: Path) -> None:
    for _ in range(3):
        bell.forget()
        assert bell.listen([str(there / "one")])
        assert is_silent(bell)
        with open(there / "one", "ab", buffering=0) as file:  # One change: a second may ring late.
            file.write(b"x")
        assert rings(bell)


# A process.


def test_a_process_that_ends_rings_once(bell: ThreadBell, process: subprocess.Popen[bytes]) -> None:
    assert bell.follow(registration(process.pid))
    assert is_silent(bell)
    end(process)
    assert rings(bell)
    bell.forget()
    assert is_silent(bell)


def test_a_process_that_ends_while_somebody_waits_rings(bell: ThreadBell, process: subprocess.Popen[bytes]) -> None:
    assert bell.follow(registration(process.pid))
    waits = threading.Thread(target=bell.wait, args=(LONG,))
    waits.start()
    process.kill()
    waits.join(LONG / 2)
    assert not waits.is_alive()


@needs_zombies
def test_a_process_that_had_ended_before_rings_at_once(bell: ThreadBell, process: subprocess.Popen[bytes]) -> None:
    """Nobody has waited for it, so its id is still its own."""
    told = registration(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert bell.follow(told)
    assert rings(bell)


def test_a_process_that_is_gone_cannot_be_heard_or_rings_at_once(
    bell: ThreadBell, process: subprocess.Popen[bytes]
) -> None:
    told = registration(process.pid)
    end(process)
    assert not bell.follow(told) or rings(bell)


def test_another_process_with_its_id_rings_at_once(bell: ThreadBell, process: subprocess.Popen[bytes]) -> None:
    assert bell.follow(registration(process.pid, start="another"))
    assert rings(bell)


def test_only_the_process_that_was_asked_for_last_rings(bell: ThreadBell, process: subprocess.Popen[bytes]) -> None:
    assert bell.follow(registration(process.pid))
    assert bell.follow(registration(os.getpid()))
    end(process)
    assert is_silent(bell)
    assert not bell.follow(None)
    assert is_silent(bell)


# Another thread, and what is left when there is nothing else.


@pytest.fixture(params=[new_bell, DeafBell], ids=["the best there is", "deaf"])
def any_bell(request: pytest.FixtureRequest) -> Iterator[ThreadBell]:
    found: ThreadBell = request.param()
    yield found
    found.close()


def test_what_another_thread_rings_rings_before_anybody_waits_and_while_he_does(any_bell: ThreadBell) -> None:
    assert is_silent(any_bell)
    ringer = threading.Thread(target=ring_twice, args=(any_bell,))
    ringer.start()
    ringer.join()
    assert rings(any_bell)
    any_bell.forget()
    assert is_silent(any_bell)
    waits = threading.Thread(target=any_bell.wait, args=(LONG,))
    waits.start()
    any_bell.ring()
    waits.join(LONG / 2)
    assert not waits.is_alive()


def test_a_deaf_bell_says_that_it_hears_nothing(there: Path) -> None:
    deaf = DeafBell()
    assert not deaf.listen([str(there)])
    assert not deaf.follow(registration(os.getpid()))


# The watcher, which is the process's.


@pytest.fixture
def without_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadBell]:
    """Its watcher has none that could stand between the kernel and it."""
    found: Any = new_bell()
    if isinstance(found, DeafBell) or kernel_of(found) == "KqueueKernel":
        pytest.skip("inotify and the events of Windows are missing: a waiter does not ask the kernel itself")
    monkeypatch.setattr(shared, "started", lambda work, name: None)
    watchers = PerProcess(found._subscriptions._watchers._new_kernel)
    yield SubscribedBell(watchers)
    for each in watchers.opened:
        each.close()


def test_a_waiter_that_is_alone_asks_the_kernel_itself(
    without_thread: ThreadBell, there: Path, process: subprocess.Popen[bytes]
) -> None:
    bell = without_thread
    assert bell.listen([str(there)])
    assert bell.follow(registration(process.pid))
    bell.forget()
    assert is_silent(bell)
    for happens in ((there / "new").touch, partial(end, process), bell.ring):
        happens()
        assert rings(bell)
        bell.forget()
        assert is_silent(bell)
    waits = threading.Thread(target=bell.wait, args=(LONG,))
    waits.start()
    bell.ring()  # As another thread does that gives up its place.
    waits.join(LONG / 2)
    assert not waits.is_alive()
    bell.close()


def test_a_waiter_that_is_not_alone_any_more_is_woken_as_before(there: Path) -> None:
    first, second, third = (new_bell() for _ in range(3))
    if isinstance(first, DeafBell):
        pytest.skip("no kernel rings")
    assert first.listen([str(there)])
    waits = threading.Thread(target=first.wait, args=(LONG,))
    waits.start()
    assert second.listen([str(there.parent / "other")])
    assert third.listen([str(there.parent / "other")])
    assert is_silent(second)
    (there / "new").touch()
    waits.join(LONG / 2)
    assert not waits.is_alive()
    assert is_silent(third)
    (there.parent / "other" / "new").touch()
    assert rings(second)
    assert rings(third)
    for bell in (first, second, third):
        bell.close()


def test_a_task_of_an_event_loop_is_woken_by_the_kernel(there: Path, process: subprocess.Popen[bytes]) -> None:
    if isinstance(new_bell(), DeafBell):
        pytest.skip("no kernel rings")

    async def wakes(bell: LoopBell, happens: Callable[[], object]) -> None:
        happens()
        await asyncio.wait_for(bell.wait(LONG), LONG / 2)
        bell.forget()

    async def task() -> None:
        bell = LoopBell(asyncio.get_running_loop())
        assert bell.listen([str(there)])
        assert bell.follow(registration(process.pid))
        await wakes(bell, (there / "new").touch)
        assert bell.listen([str(there)])
        await wakes(bell, partial(end, process))
        bell.close()

    asyncio.run(task())


RAISES = """
import signal, sys, threading
from looop_portable.system.watch.watcher import new_bell

class Interrupt(Exception):
    pass

def raises(*_):
    raise Interrupt

signal.signal(signal.SIGALRM, raises)
bell = new_bell()
assert bell.listen([sys.argv[1]])
for number in range(200):
    signal.setitimer(signal.ITIMER_REAL, 0.0005 + number * 0.00001)
    try:
        while True:
            bell.wait(60)
            bell.forget()
    except Interrupt:
        pass
    bell.forget()
    open(f"{sys.argv[1]}/{number}", "w").close()
    bell.wait(60)
    assert bell._latch.is_open, number
    bell.forget()
other = new_bell()
assert other.listen([sys.argv[1]])
waits = [threading.Thread(target=each.wait, args=(60,)) for each in (bell, other)]
for each in waits:
    each.start()
open(f"{sys.argv[1]}/last", "w").close()
for each in waits:
    each.join(30)
    assert not each.is_alive()
"""


def test_a_signal_whose_handler_raises_leaves_a_waiter_that_is_woken(there: Path) -> None:
    if not hasattr(signal, "setitimer") or isinstance(new_bell(), DeafBell):
        pytest.skip("signal.setitimer is missing, or no kernel rings")
    command = [sys.executable, "-c", RAISES, str(there)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def watchers() -> Any:
    if sys.platform != "linux":
        pytest.skip("inotify is missing")
    from looop_portable.system.watch import linux

    return linux.WATCHERS


class Rung:
    """A bell that counts."""

    def __init__(self) -> None:
        self.rung = threading.Semaphore(0)

    def ring(self) -> None:
        self.rung.release()

    def rings(self) -> bool:
        return self.rung.acquire(timeout=LONG / 2)

    def has_rung(self) -> bool:
        return self.rung.acquire(blocking=False)


def instances() -> int:
    """How many instances of inotify this process has."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify"
    return found


@needs_proc
def test_however_many_listen_there_is_one_instance(watchers: Any, there: Path) -> None:
    bells = [new_bell() for _ in range(300)]
    assert all(bell.listen([str(there)]) for bell in bells)
    assert instances() == 1
    (there / "new").touch()
    assert all(map(rings, bells))
    for bell in bells:
        bell.close()


def test_two_that_listen_to_one_file_are_both_rung_and_one_that_stops_keeps_nothing_from_the_other(
    watchers: Any, there: Path
) -> None:
    first, second = new_bell(), new_bell()
    for path in (there, there / "one"):
        for bell in (first, second):
            bell.forget()
            assert bell.listen([str(path)])
        first.listen([])
        assert first.listen([str(path)])
        second.listen([])
        (there / "one").write_text("new")
        (there / "new").touch()
        assert rings(first)
        assert is_silent(second)
        (there / "new").unlink()
    first.close()
    second.close()


def test_two_that_follow_one_process_are_both_rung(watchers: Any, process: subprocess.Popen[bytes]) -> None:
    bells = [new_bell() for _ in range(3)]
    assert all(bell.follow(registration(process.pid)) for bell in bells)
    bells[2].follow(None)
    end(process)
    assert rings(bells[0])
    assert rings(bells[1])
    assert is_silent(bells[2])
    for bell in bells:
        bell.close()


def test_when_nobody_listens_it_is_closed_and_opened_anew(
    watchers: Any, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its own: in this process sessions of other tests listen, for two leases yet."""
    own = PerProcess(watchers._new_kernel)
    monkeypatch.setattr(shared, "IDLE", 0.01)
    for number in range(3):
        bell = SubscribedBell(own)
        assert bell.listen([str(there)])
        (there / f"{number}").touch()
        assert rings(bell)
        bell.close()
        assert until(lambda: not own.opened, LONG)


def test_of_many_those_are_woken_that_watch_what_has_changed(watchers: Any, there: Path) -> None:
    watcher = shared.SharedWatcher(watchers._new_kernel())
    waiters: list[list[Rung]] = []
    for number in range(10):
        (there / f"{number}").mkdir()
        waiters.append([Rung() for _ in range(100)])
        for each in waiters[-1]:
            assert watcher.watch(each, str(there / f"{number}")) is not None
    (there / "7" / "new").touch()
    assert watcher._step(LONG)
    rung = [sum(each.has_rung() for each in group) for group in waiters]
    assert rung == [100 * (number == 7) for number in range(10)]
    watcher.close()


def test_when_more_has_changed_than_can_be_told_all_are_rung(
    watchers: Any, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, first, second = watchers._new_kernel(), Rung(), Rung()
    watcher = shared.SharedWatcher(kernel)
    assert watcher.watch(first, str(there)) is not None
    assert watcher.watch(second, str(there / "one")) is not None
    monkeypatch.setattr(kernel._changes, "events", lambda: [(kernel._changes.OVERFLOW, False)])
    (there / "new").touch()
    assert watcher._step(LONG)
    assert first.rings()
    assert second.rings()
    watcher.close()


def test_what_has_gone_is_not_kept_in_mind(watchers: Any, there: Path) -> None:
    watcher, bell = shared.SharedWatcher(watchers._new_kernel()), Rung()
    for number in range(20):
        (there / f"{number}").touch()
        assert watcher.watch(bell, str(there / f"{number}"))
        (there / f"{number}").unlink()
        assert watcher._step(LONG)
    assert not watcher._paths
    watcher.close()


def test_whose_descriptors_somebody_closes_opens_others(watchers: Any, there: Path) -> None:
    """As a program does that becomes a daemon. In a process of its own: who closes all closes pytest's, too."""
    script = """
import os, sys, threading
from looop_portable.system.watch.watcher import new_bell
bell = new_bell()
assert bell.listen([sys.argv[1]])
os.closerange(3, 100)
open(sys.argv[1] + "/wakes", "w").close()
for number in range(1000):
    bell.wait(0.05)
    bell.forget()
    if bell.listen([sys.argv[1]]):
        break
open(sys.argv[1] + "/new", "w").close()
bell.wait(60)
bell._latch._shut.acquire(timeout=0) or sys.exit("it has not rung")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(there)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


STRANGERS = """
import os, sys, threading
from looop_portable.system.watch.watcher import new_bell
bells = [new_bell() for _ in range(int(sys.argv[2]))]
for bell in bells:
    assert bell.listen([sys.argv[1]])
waits = [threading.Thread(target=bell.wait, args=(60,)) for bell in bells]
for each in waits if sys.argv[3] == "meanwhile" else ():
    each.start()
    while not bells[0]._subscriptions.watcher._driving.locked():
        pass
os.closerange(3, 100)
kept = []
for number in range(20):
    with open(f"{sys.argv[1]}/../other/{number}", "w") as file:
        file.write("precious" * 10)
    kept.append(os.open(f"{sys.argv[1]}/../other/{number}", os.O_RDWR))
for each in waits if sys.argv[3] == "later" else ():
    each.start()
for bell in bells:
    bell.ring()
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
from looop_portable.system.watch.watcher import new_bell
bell, goes = new_bell(), new_bell()
assert bell.listen([sys.argv[1]])
assert goes.listen([sys.argv[1]])
child = os.fork()
if not child:
    goes.close()
    bell.forget()
    heard = bell.listen([sys.argv[1]])
    open(sys.argv[1] + "/new", "w").close()
    bell.wait(60)
    os._exit(0 if heard and bell._latch._shut.acquire(timeout=0) else 2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child does not hear"
bell.wait(60)
assert bell._latch._shut.acquire(timeout=0), "the child has taken what was told to its parent"
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
from looop_portable.system.watch.watcher import new_bell
bell = new_bell()
assert bell.listen([sys.argv[1]])
child = os.fork()
if not child:
    if WATCHERS.opened:
        os._exit(1)
    own = new_bell()
    heard = own.listen([sys.argv[1]])
    open(sys.argv[1] + "/new", "w").close()
    own.wait(60)
    os._exit(0 if heard and own._latch._shut.acquire(timeout=0) else 2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
bell.wait(60)
assert bell._latch._shut.acquire(timeout=0), "the child has taken what was told to its parent"
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(there)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


DESCRIPTORS = """
import os, resource, sys
from looop_portable.system.watch.watcher import new_bell
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
    bell = new_bell()
    found.append((bell.listen([sys.argv[1]]), bell.follow(parent)))
    bell.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    WATCHERS.begin_in_child()  # What is kept for the next bell does not count.
    assert opened() == before, (more, before, opened())
print(found)
os._exit(0)
"""


def test_without_descriptors_nothing_is_heard_and_none_is_left_open(bell: ThreadBell, there: Path) -> None:
    """With none, one, two and three that are left: inotify's, that which has the watcher return, and a process's."""
    pytest.importorskip("resource")
    if not is_inotify(bell):
        pytest.skip("inotify is missing: another number of descriptors is needed")
    command = [sys.executable, "-u", "-c", DESCRIPTORS, str(there)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{[(False, False), (False, False), (True, False), (True, True)]}\n"


@pytest.mark.parametrize("error", [OSError(24, "the user's instances are used up"), Unavailable("no thread")])
def test_without_instances_or_threads_nothing_is_heard_but_other_threads(
    watchers: Any, there: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def no_more(*_: object) -> Any:
        raise error

    monkeypatch.setattr(shared, "started", no_more)
    bell = SubscribedBell(PerProcess(no_more if isinstance(error, OSError) else watchers._new_kernel))
    assert not bell.listen([str(there)])
    assert not bell.follow(registration(os.getppid()))
    ring_twice(bell)
    assert rings(bell)
    bell.close()
