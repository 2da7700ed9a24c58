"""Who lets go wakes the next of its own process: without a kernel that tells of anything, and without looking again.

Here no wait ends because time has passed. So whatever is not woken hangs, and is found.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import NATIVE
from support.engines import InProcess
from support.waiters import Line

from looop_portable import Claims, Won, aio, hold, wait_for
from looop_portable.aio import wakeup
from looop_portable.aio.wakeup import LoopWatcher
from looop_portable.backends.memory import MemoryBackend
from looop_portable.backends.on_engine import OnEngine
from looop_portable.holding.blocks import one_claim as holding
from looop_portable.protocol.records import Holder
from looop_portable.system.watch import waking
from looop_portable.system.watch.waking import LocalWatcher

PATIENCE = 60.0
MANY, ROUNDS = 20, 5


class NeverLooksAgain(LocalWatcher):
    """Hears no kernel, and waits until it is woken."""

    def wait(self, seconds: float) -> None:
        assert self._latch._shut.acquire(timeout=PATIENCE), "nobody has woken"
        self.wake()


async def until_it_is_woken(self: LoopWatcher, seconds: float) -> None:
    await asyncio.wait_for(self.woken.wait(), PATIENCE)


@pytest.fixture(autouse=True)
def nothing_else_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (holding, waking):
        monkeypatch.setattr(module, "new_watcher", NeverLooksAgain)
    monkeypatch.setattr(wakeup, "subscriptions", lambda watcher: LocalWatcher())
    monkeypatch.setattr(LoopWatcher, "wait", until_it_is_woken)


@pytest.fixture(params=[NATIVE, "memory"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Inside:
    """At most one at a time; and who came."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.came: list[int] = []

    def enter(self, number: int) -> None:
        assert self._guard.acquire(blocking=False), "two are inside"
        self.came.append(number)

    def leave(self) -> None:
        self._guard.release()


def in_threads(work: Callable[[int], None], many: int = MANY) -> None:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 (told below)
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert not failed, failed[0]


def test_threads_hand_it_over(tmp_path: Path, backend: str) -> None:
    inside = Inside()

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            with hold("n", data_dir=tmp_path, backend=backend, timeout=None):
                inside.enter(number)
                inside.leave()

    in_threads(work)
    assert len(inside.came) == MANY * ROUNDS


def test_threads_hand_it_over_though_their_sessions_differ(tmp_path: Path) -> None:
    """By the length of the lease: what one lets go, the other's membership does not know of."""
    inside = Inside()

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            with hold("n", data_dir=tmp_path, backend=NATIVE, timeout=None, lease_seconds=30 + number % 3):
                inside.enter(number)
                inside.leave()

    in_threads(work, 9)
    assert len(inside.came) == 9 * ROUNDS


def test_tasks_hand_it_over(tmp_path: Path, backend: str) -> None:
    inside = Inside()

    async def work(number: int) -> None:
        for _ in range(ROUNDS):
            async with aio.hold("n", data_dir=tmp_path, backend=backend, timeout=None):
                inside.enter(number)
                inside.leave()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(MANY):
                group.create_task(work(number))

    asyncio.run(main())
    assert len(inside.came) == MANY * ROUNDS


def test_threads_and_tasks_hand_it_over_to_each_other(tmp_path: Path) -> None:
    inside = Inside()

    async def task(number: int) -> None:
        for _ in range(ROUNDS):
            async with aio.hold("n", data_dir=tmp_path, backend=NATIVE, timeout=None):
                inside.enter(number)
                inside.leave()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(task(number))

    def work(number: int) -> None:
        if number < 2:
            asyncio.run(main())
            return
        for _ in range(ROUNDS):
            with hold("n", data_dir=tmp_path, backend=NATIVE, timeout=None):
                inside.enter(number)
                inside.leave()

    in_threads(work, 7)
    assert len(inside.came) == 15 * ROUNDS


def test_slots_are_handed_over(tmp_path: Path) -> None:
    seats, came = threading.Semaphore(3), list[int]()

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            with hold("n", data_dir=tmp_path, backend=NATIVE, timeout=None, slots=3):
                assert seats.acquire(blocking=False), "four are inside"
                came.append(number)
                seats.release()

    in_threads(work, 10)
    assert len(came) == 10 * ROUNDS


def opened(kind: str, directory: Path) -> Claims:
    if kind == "memory":
        return Claims(MemoryBackend())
    if "engine" not in kind:
        return Claims.open(directory, kind)
    engine = InProcess()
    engine.local = kind == "engine"
    return Claims(OnEngine(engine, "mine"))


@pytest.mark.parametrize("way", ["release", "release of a lease", "session"])
@pytest.mark.parametrize("kind", [NATIVE, "memory", "engine", "far engine"])
def test_sessions_of_one_process_hand_it_over(tmp_path: Path, kind: str, way: str) -> None:
    claims = opened(kind, tmp_path)
    inside = Inside()

    def release(me: Holder, won: Won) -> None:
        if way == "release":
            claims.release("n", me)
        elif way == "session":
            claims.retire(me)
        else:
            claims.release_lease(won.lease)

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            me = claims.sessions.register(f"w{number}").holder
            won = wait_for(claims, "n", me)
            assert isinstance(won, Won)
            inside.enter(number)
            inside.leave()
            release(me, won)
            if way != "session":
                claims.sessions.stop(*me)

    in_threads(work, 10)
    assert len(inside.came) == 10 * ROUNDS


@pytest.mark.parametrize("way", ["break", "reap"])
def test_what_an_operator_of_the_same_process_frees_wakes_who_waits(tmp_path: Path, way: str) -> None:
    claims = Claims.open(tmp_path, NATIVE)
    me, other = claims.sessions.register("w1").holder, claims.sessions.register("w2").holder
    held = claims.claim("n", other)
    found: list[object] = []
    waits = threading.Thread(target=lambda: found.append(wait_for(claims, "n", me)))
    waits.start()
    Line(tmp_path, "n").grows([])
    if way == "break":
        assert isinstance(held, Won)
        claims.break_claim("n", held.lease.generation, "in the way")
    else:
        claims.sessions.stop(*other)
        claims.reap()
    waits.join(PATIENCE)
    assert isinstance(found[0], Won)


def waiting_one_after_the_other(directory: Path, served: list[int], many: int) -> Iterator[threading.Thread]:
    def work(number: int) -> None:
        with hold("n", data_dir=directory, backend=NATIVE, timeout=None):
            served.append(number)

    line = Line(directory, "n")
    for number in range(many):
        before = line.tickets()
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        line.grows(before)
        yield thread


def test_the_waiter_that_came_first_is_served_first(tmp_path: Path) -> None:
    served: list[int] = []
    with hold("n", data_dir=tmp_path, backend=NATIVE):
        threads = list(waiting_one_after_the_other(tmp_path, served, 10))
    for thread in threads:
        thread.join(PATIENCE)
    assert served == list(range(10))


def test_a_waiter_that_gives_up_wakes_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stops waiting while it is the first in line: the second is the first then, and has to know."""
    claims = Claims.open(tmp_path, NATIVE)
    other = claims.sessions.register("other").holder
    me, next_one = claims.sessions.register("w1").holder, claims.sessions.register("w2").holder
    claims.claim("n", other)
    line, found = Line(tmp_path, "n"), list[object]()
    waits, gives_up = threading.Event(), threading.Event()

    def until_it_gives_up(self: NeverLooksAgain, seconds: float) -> None:
        waits.set()
        assert gives_up.wait(PATIENCE)
        raise KeyboardInterrupt

    def give_up() -> None:
        with pytest.raises(KeyboardInterrupt):
            wait_for(claims, "n", me)

    with monkeypatch.context() as patched:
        patched.setattr(NeverLooksAgain, "wait", until_it_gives_up)
        first = threading.Thread(target=give_up)
        first.start()
        before = line.grows([])
        assert waits.wait(PATIENCE)
    second = threading.Thread(target=lambda: found.append(wait_for(claims, "n", next_one)))
    second.start()
    line.grows([before])
    gives_up.set()
    first.join(PATIENCE)
    claims.release("n", other)
    second.join(PATIENCE)
    assert isinstance(found[0], Won)
