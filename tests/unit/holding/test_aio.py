"""`looop_portable.aio`: blocks and verbs in event loops, cancelled at every step; what they share, and what they leave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import selectors
import subprocess
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support.capabilities import NATIVE, PROC, needs_fork
from support.crew import program_says

from looop_portable import ClaimHeld, ClaimLost, Claims, Held, Released, Renewed, Unavailable, WaitedTooLong, Won, aio
from looop_portable.aio.wakeup import LoopWatcher, whole
from looop_portable.backends.memory import MemoryBackend
from looop_portable.config import resolve
from looop_portable.holding.member import Member, this_process
from looop_portable.holding.own_session import Session

T = TypeVar("T")
PATIENCE = 60  # Seconds, after which something is taken for hanging.


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def others(store: str) -> Claims:
    """As another program sees the store, with the sessions `other` and `third`."""
    claims = Claims.open(store, NATIVE)
    claims.sessions.register("other")
    claims.sessions.register("third")
    return claims


@pytest.fixture
def tasks_are_destroyed() -> str:
    """A test that closes a loop in which tasks wait: asyncio says so."""
    return "Task was destroyed but it is pending!"


@pytest.fixture(autouse=True)
def _nothing_else_is_left_unsaid(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    """What asyncio can only log: tasks that were destroyed, errors that nobody retrieved."""
    expected = request.getfixturevalue("tasks_are_destroyed") if "tasks_are_destroyed" in request.fixturenames else "none"
    yield
    gc.collect()
    records = [record for record in caplog.get_records("call") if record.name != "looop_portable"]
    assert [said for record in records if not (said := record.getMessage()).startswith(expected)] == []


def run(main: Coroutine[Any, Any, T]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(PATIENCE):
            return await main

    return asyncio.run(in_time())


def line(store: str) -> list[Path]:
    """What there is of those who wait, also the tickets that are not complete yet."""
    return [path for path in Path(store, "claims/.queue").glob("*/*") if path.is_file()]


def session_of(store: str) -> Session:
    """This process's own in `store`."""
    (found,) = members(store)
    return found.current


def members(store: str) -> list[Member]:
    directory = resolve(store).data_dir
    return [member for (config, _), member in list(this_process().members.items()) if config.data_dir == directory]


WATCHERS = "anon_inode:inotify", "anon_inode:[eventfd]"
"""What the process's watcher has, which is there for all, and for some seconds more than anybody listens."""


def descriptors(store: str = "") -> dict[str, str]:
    """What is open, as far as there is a /proc to tell; of files those in `store`: others are other tests' heartbeats."""
    found = {}
    for name in os.listdir("/proc/self/fd") if PROC else ():
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return {
        name: what
        for name, what in found.items()
        if what not in WATCHERS and (not what.startswith("/") or (store and what.startswith(store)))
    }


class TestHold:
    def test_a_block_holds_its_claim_and_releases_it(self, store: str, others: Claims) -> None:
        async def main() -> None:
            block = aio.hold("n", data_dir=store, backend=NATIVE)
            async with block as lease:
                assert lease is block
                assert (lease.name, lease.generation, lease.lease.session) == ("n", 1, lease.session)
                assert repr(lease) == "<AsyncHold 'n' generation 1>"
                await lease.check()
                assert isinstance(others.claim("n", "other"), Held)
                assert not lease.lost.is_set()
            assert repr(block) == "<AsyncHold 'n' not held>"
            assert others.show("n").generation == 2
            with pytest.raises(ClaimLost, match="not held"):
                await block.check()

        run(main())

    def test_what_another_holds_is_refused_at_once_or_after_a_while(self, store: str, others: Claims) -> None:
        async def main() -> None:
            others.claim("n", "other")
            with pytest.raises(ClaimHeld, match="held by live session 'other'") as refusal:
                async with aio.hold("n", data_dir=store, backend=NATIVE):
                    pytest.fail("entered")
            assert not isinstance(refusal.value, WaitedTooLong)
            for kind in (WaitedTooLong, TimeoutError):
                with pytest.raises(kind, match=r"'other'.*waited 0.05 s"):
                    async with aio.hold("n", data_dir=store, backend=NATIVE, timeout=0.05):
                        pytest.fail("entered")
            assert line(store) == []

        run(main())

    def test_a_task_waits_while_another_holds(self, store: str) -> None:
        async def main() -> None:
            inside, leave, entered = asyncio.Event(), asyncio.Event(), []

            async def holder() -> None:
                async with aio.hold("n", data_dir=store, backend=NATIVE):
                    inside.set()
                    await leave.wait()
                    entered.append("holder")

            async def waiter() -> None:
                async with aio.hold("n", data_dir=store, backend=NATIVE, timeout=None):
                    entered.append("waiter")

            async with asyncio.TaskGroup() as group:
                group.create_task(holder())
                await inside.wait()
                group.create_task(waiter())
                while not line(store):
                    await asyncio.sleep(0)
                leave.set()
            assert entered == ["holder", "waiter"]

        run(main())

    @pytest.mark.parametrize("timeout", [0, 30, None])
    def test_a_task_that_would_wait_for_itself_is_refused_at_once(self, store: str, timeout: float | None) -> None:
        async def main() -> None:
            async with aio.hold("n", data_dir=store, backend=NATIVE) as lease:
                with pytest.raises(ClaimHeld, match="not reentrant"):
                    await aio.hold("n", data_dir=store, backend=NATIVE, timeout=timeout).__aenter__()
                await lease.check()
                async with aio.hold("m", data_dir=store, backend=NATIVE, timeout=timeout):
                    pass

        run(main())

    def test_one_block_is_entered_by_one_task_at_a_time_and_again_later(self, store: str) -> None:
        async def main() -> None:
            block = aio.hold("n", data_dir=store, backend=NATIVE, timeout=None)

            async def enter() -> None:
                async with block:
                    pytest.fail("entered")

            async with block:
                with pytest.raises(ClaimHeld, match="this very block"):
                    await asyncio.create_task(enter())
                await block.check()
            async with block:
                await block.check()

        run(main())

    def test_slots_are_held_by_several_tasks_at_once(self, store: str) -> None:
        async def main() -> None:
            names, all_are_in = [], asyncio.Barrier(3)

            async def work() -> None:
                async with aio.hold("n", data_dir=store, backend=NATIVE, slots=3) as lease:
                    names.append(lease.lease.name)
                    await all_are_in.wait()

            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(work())
            assert sorted(names) == ["n#1", "n#2", "n#3"]

        run(main())

    def test_an_error_in_the_block_releases_and_one_of_the_store_holds_nothing(
        self, store: str, others: Claims, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def main() -> None:
            with pytest.raises(KeyError):
                async with aio.hold("n", data_dir=store, backend=NATIVE):
                    raise KeyError
            assert others.show("n").lease is None
            block = aio.hold("n", data_dir=store, backend=NATIVE, timeout=None)
            with monkeypatch.context() as patched:
                patched.setattr(Claims, "claim", fails)
                with pytest.raises(Unavailable, match="on purpose"):
                    await block.__aenter__()
            assert others.show("n").lease is None
            async with block:
                pass

        claim = Claims.claim

        def fails(*arguments: Any) -> Won:
            claim(*arguments)
            raise Unavailable("on purpose")

        run(main())


class TestLost:
    def test_a_claim_that_was_broken_is_told_in_the_loop(self, store: str, others: Claims) -> None:
        async def main() -> None:
            loop, told = asyncio.get_running_loop(), []

            def on_lost(block: aio.AsyncHold) -> None:
                told.append((block, asyncio.get_running_loop() is loop, block.lost.is_set()))

            block = aio.hold("n", data_dir=store, backend=NATIVE, on_lost=on_lost)
            await is_broken(block, others)
            assert told == [(block, True, True)]

        run(main())

    def test_when_the_pulse_is_over_all_blocks_are_told(self, store: str) -> None:
        async def main() -> None:
            tasks = [asyncio.create_task(hold_until_lost(name)) for name in "ab"]
            while len(session_blocks(store)) < 2:
                await asyncio.sleep(0)
            session_of(store).pulse._lose("a test says so")
            errors = await asyncio.gather(*tasks, return_exceptions=True)
            assert [str(error) for error in errors] == [
                f"claim {name}: generation 1 is lost: a test says so" for name in "ab"
            ]

        async def hold_until_lost(name: str) -> None:
            async with aio.hold(name, data_dir=store, backend=NATIVE) as lease:
                await lease.lost.wait()

        run(main())

    def test_a_block_that_is_entered_again_does_not_hear_that_it_was_lost_before(self, store: str, others: Claims) -> None:
        async def main() -> None:
            block = aio.hold("n", data_dir=store, backend=NATIVE)
            await is_broken(block, others)
            async with block:
                block._lose()  # As one that the loop comes to only now.
                assert not block.lost.is_set()

        run(main())


async def is_broken(block: aio.AsyncHold, others: Claims) -> None:
    """It is entered, broken, found to be so, and left."""

    async def enter() -> None:
        async with block as lease:
            waiting = asyncio.create_task(lease.lost.wait())
            others.break_claim(lease.name, lease.generation, "test")
            with pytest.raises(ClaimLost, match="superseded"):
                await lease.check()
            await waiting

    with pytest.raises(ClaimLost, match="was superseded"):
        await enter()


def session_blocks(store: str) -> dict[str, object]:
    return {name: block for member in members(store) for name, block in list(member.current.blocks.items())}


HOLDER = """
import os, sys
from looop_portable import hold
hold("n", data_dir=sys.argv[1]).__enter__()
print("inside", flush=True)
sys.stdin.read()
os._exit(9)
"""


class TestAnotherProcess:
    def test_its_end_wakes_who_waits(self, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        wait = LoopWatcher.wait

        async def without_end(watcher: LoopWatcher, seconds: float) -> None:
            """No time ends the wait, where the kernel tells of a process's end."""
            tells = getattr(watcher._subscriptions, "_process", None) is not None
            await wait(watcher, 10 * PATIENCE if tells else seconds)

        async def main(holder: subprocess.Popen[str]) -> None:
            waiting = asyncio.create_task(aio.hold("n", data_dir=store, backend=NATIVE, timeout=None).__aenter__())
            while not line(store):
                await asyncio.sleep(0)
            assert holder.stdin
            holder.stdin.close()
            lease = await waiting
            assert lease.generation == 2
            assert not selected()
            await lease.__aexit__(None, None, None)

        monkeypatch.setattr(LoopWatcher, "wait", without_end)
        command = [sys.executable, "-c", HOLDER, store]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == "inside\n"
            run(main(holder))


class TestVerbs:
    def test_claim_and_release(self, store: str, others: Claims) -> None:
        async def main() -> None:
            mine = Claims.open(store, NATIVE)
            won = await aio.claim(mine, "n", "other")
            assert isinstance(won, Won)
            assert isinstance(await aio.claim(mine, "n", "other"), Renewed)
            assert isinstance(await aio.claim(mine, "n", "other", timeout=None), Renewed)
            for timeout in (0, 0.02):
                held = await aio.claim(mine, "n", "third", timeout=timeout)
                assert isinstance(held, Held)
                assert held.lease == won.lease
            assert isinstance(await aio.release(mine, "n", "other"), Released)
            slot = await aio.claim(mine, "n", "third", slots=2)
            assert isinstance(slot, Won)
            assert slot.lease.name == "n#1"
            assert line(store) == []

        run(main())

    def test_a_wait_ends_when_another_process_releases(self, store: str, others: Claims) -> None:
        async def main() -> None:
            others.claim("n", "other")
            waiting = asyncio.create_task(aio.claim(Claims.open(store, NATIVE), "n", "third", timeout=None))
            while not line(store):
                await asyncio.sleep(0)
            others.release("n", "other")
            assert isinstance(await waiting, Won)

        run(main())


class TestMany:
    def test_many_tasks_are_served_in_the_order_in_which_they_came(self, store: str, others: Claims) -> None:
        many, served, most = 200 if PROC else 20, list[int](), [0]  # Elsewhere nothing is told, and all look again.

        def in_line() -> list[str]:
            assert others.backend.tickets
            return others.backend.tickets.line("n")

        async def work(number: int) -> None:
            async with aio.hold("n", data_dir=store, backend=NATIVE, timeout=None):
                served.append(number)
                most[0] = max(most[0], sum(thread.name.startswith("looop aio") for thread in threading.enumerate()))

        async def main() -> dict[str, str]:
            others.claim("n", "other")
            async with asyncio.TaskGroup() as group:
                for number in range(many):
                    group.create_task(work(number))
                    while len(in_line()) <= number:  # Who comes at the same time as another has no order.
                        await asyncio.sleep(0)
                opened = descriptors()
                others.release("n", "other")
            return opened

        before = list(descriptors().values())
        opened = list(run(main()).values())
        assert served == list(range(many))
        assert most[0] <= 4
        if before:
            assert len(opened) - len(before) < 20

    def test_however_many_calls_there_are_at_once_they_share_four_threads(self) -> None:
        begun, may_go = list[int](), threading.Event()

        def call() -> None:
            begun.append(threading.get_ident())
            assert may_go.wait(PATIENCE)

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(whole(call))
                while len(begun) < 4:
                    await asyncio.sleep(0)
                for _ in range(100):
                    await asyncio.sleep(0)
                assert len(begun) == 4
                may_go.set()

        run(main())
        assert (len(begun), len(set(begun))) == (20, 4)

    def test_loops_in_several_threads_exclude_each_other(self, store: str) -> None:
        inside, entered = threading.Lock(), list[int]()

        async def work() -> None:
            async with aio.hold("n", data_dir=store, backend=NATIVE, timeout=None) as lease:
                assert inside.acquire(blocking=False), "two are in the block"
                await asyncio.sleep(0)
                entered.append(lease.generation)
                inside.release()

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(work())

        threads = [threading.Thread(target=lambda: run(main())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(entered) == 40
        assert entered == sorted(entered)


@types.coroutine
def stepping(
    work: Coroutine[Any, Any, T], on_step: Callable[[int, asyncio.Future[Any] | None], object]
) -> Generator[Any, Any, T]:
    """Run `work`, and call `on_step` with the number of each of its awaits, and what it waits for, before it does."""
    number, error = 0, None
    while True:
        try:
            awaited = work.send(None) if error is None else work.throw(error)
        except StopIteration as end:
            value: T = end.value
            return value
        number, error = number + 1, None
        on_step(number, awaited)
        try:
            yield awaited
        except BaseException as thrown:  # noqa: BLE001 (whatever it is, it is passed on)
            error = thrown


Scene = Callable[[], Coroutine[Any, Any, object]]


class Cancelled:
    """How a task is cancelled at its await number `step`. Each returns whether there was one, and the task's end."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.reached = False

    def is_now(self, number: int) -> bool:
        self.reached |= number == self.step
        return number == self.step

    async def early(self, work: Coroutine[Any, Any, object]) -> None:
        """While it waits."""
        await self._cancelled(stepping(work, lambda number, _: self.is_now(number) and current().cancel()))

    async def late(self, work: Coroutine[Any, Any, object]) -> None:
        """When what it waits for has come, but the task has not."""
        task = current()

        def on_step(number: int, awaited: asyncio.Future[Any] | None) -> None:
            if self.is_now(number):
                if awaited is None:
                    task.cancel()
                else:
                    awaited.add_done_callback(lambda _: task.cancel())

        await self._cancelled(stepping(work, on_step))

    async def twice(self, work: Coroutine[Any, Any, object]) -> None:
        await self._again_and_again(work, 2)

    async def three_times(self, work: Coroutine[Any, Any, object]) -> None:
        await self._again_and_again(work, 3)

    async def by_timeout(self, work: Coroutine[Any, Any, object]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                now = asyncio.get_running_loop().time()
                await stepping(work, lambda number, _: limit.reschedule(now) if self.is_now(number) else None)

    async def by_group(self, work: Coroutine[Any, Any, object]) -> None:
        failing = asyncio.Event()

        async def sibling() -> None:
            await failing.wait()
            raise KeyError("the sibling's")

        async def cancelled() -> None:
            await stepping(work, lambda number, _: failing.set() if self.is_now(number) else None)

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                other = group.create_task(sibling())
                await group.create_task(cancelled())
                other.cancel()

    async def _again_and_again(self, work: Coroutine[Any, Any, object], times: int) -> None:
        steps = range(self.step, self.step + times)
        await self._cancelled(stepping(work, lambda n, _: (self.is_now(n) or n in steps) and current().cancel()))

    async def _cancelled(self, work: Awaitable[object]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            while current().uncancel():
                """All have been seen."""
        else:
            assert not self.reached, "it was cancelled, and did not say so"


def current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task
    return task


WAYS = [Cancelled.early, Cancelled.late, Cancelled.twice, Cancelled.three_times, Cancelled.by_timeout, Cancelled.by_group]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
class TestCancellation:
    """At each await in turn, until there are no more: the claim is free afterwards, and nothing is left."""

    @pytest.fixture(autouse=True)
    def _holder_releases_while_it_is_waited_for(self, others: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
        wait = LoopWatcher.wait

        async def release_and_wait(watcher: LoopWatcher, seconds: float) -> None:
            others.release("n", "other")
            await wait(watcher, seconds)

        monkeypatch.setattr(LoopWatcher, "wait", release_and_wait)

    def every_step(
        self, way: Callable[..., Awaitable[None]], work: Scene, store: str, others: Claims, *, held: bool, steps: int
    ) -> None:
        async def main(step: int) -> bool:
            if held:
                assert isinstance(others.claim("n", "other"), Won)
            cancelled = Cancelled(step)
            await way(cancelled, work())
            assert len(asyncio.all_tasks()) <= 2
            assert not selected()
            return cancelled.reached

        run(main(99))  # So that what is made once is there.
        others.release("n", "other")
        before = descriptors(store)
        step = 0
        while run(main(step := step + 1)):
            others.release("n", "other")  # If it was cancelled before it was waited for.
            assert others.show("n").lease is None
            assert line(store) == []
            assert isinstance(others.claim("n", "third"), Won)
            others.release("n", "third")
            gc.collect()
            assert session_blocks(store) == {}
            assert descriptors(store) == before
            assert not [member.holding for member in members(store) if member.holding]
        assert step > steps

    def test_of_a_block(self, way: Callable[..., Awaitable[None]], store: str, others: Claims) -> None:
        block = aio.hold("n", data_dir=store, backend=NATIVE)  # That can be entered again, after all.

        async def work() -> None:
            async with block:
                await asyncio.sleep(0)

        self.every_step(way, work, store, others, held=False, steps=3)

    def test_of_a_block_that_waits(self, way: Callable[..., Awaitable[None]], store: str, others: Claims) -> None:
        block = aio.hold("n", data_dir=store, backend=NATIVE, timeout=None)  # That can be entered again, after all.

        async def work() -> None:
            async with block:
                await asyncio.sleep(0)

        self.every_step(way, work, store, others, held=True, steps=4)

    def test_of_a_wait(self, way: Callable[..., Awaitable[None]], store: str, others: Claims) -> None:
        mine = Claims.open(store, NATIVE)

        async def work() -> None:
            assert isinstance(await aio.claim(mine, "n", "third", timeout=None), Won)
            await aio.release(mine, "n", "third")

        self.every_step(way, work, store, others, held=True, steps=6)

    def test_of_a_claim(self, way: Callable[..., Awaitable[None]], store: str, others: Claims) -> None:
        mine = Claims.open(store, NATIVE)

        async def work() -> None:
            assert isinstance(await aio.claim(mine, "n", "third"), Won)
            await aio.release(mine, "n", "third")

        self.every_step(way, work, store, others, held=False, steps=3)


def selected() -> list[int]:
    """The descriptors that the loop waits for, but for its own."""
    loop = asyncio.get_running_loop()
    selector, own = getattr(loop, "_selector", None), getattr(loop, "_ssock", None)
    if not isinstance(selector, selectors.BaseSelector) or own is None:
        return []  # A loop that cannot wait for any.
    return [key.fd for key in selector.get_map().values() if key.fileobj != own.fileno()]


class Hanging:
    """A call of a backend in memory that does not return until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.hangs, self.may_go = threading.Event(), threading.Event()
        call = getattr(MemoryBackend, method)

        def hang(*arguments: object) -> object:
            self.hangs.set()
            assert self.may_go.wait(PATIENCE)
            return call(*arguments)

        monkeypatch.setattr(MemoryBackend, method, hang)


class TestHangingFilesystem:
    @pytest.mark.parametrize("method", ["look", "advance"])
    @pytest.mark.parametrize("timeout", [0, None])
    def test_the_loop_goes_on_and_a_cancelled_task_ends_with_the_call(
        self, store: str, monkeypatch: pytest.MonkeyPatch, method: str, timeout: float | None
    ) -> None:
        async def main() -> None:
            async with aio.hold("m", data_dir=store, backend="memory"):
                """Its session is registered."""
            with monkeypatch.context() as patched:
                call = Hanging(patched, method)
                task = asyncio.create_task(aio.hold("n", data_dir=store, backend="memory", timeout=timeout).__aenter__())
                assert await asyncio.to_thread(call.hangs.wait, PATIENCE)
                for _ in range(100):
                    await asyncio.sleep(0)
                task.cancel()
                for _ in range(100):
                    await asyncio.sleep(0)
                    task.cancel()
                assert not task.done()
                call.may_go.set()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async with aio.hold("n", data_dir=store, backend="memory"):
                pass

        run(main())

    def test_the_loop_goes_on_while_a_block_is_left(self, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async def main() -> None:
            block = aio.hold("n", data_dir=store, backend="memory")
            await block.__aenter__()
            call = Hanging(monkeypatch, "advance")
            task = asyncio.create_task(block.__aexit__(None, None, None))
            assert await asyncio.to_thread(call.hangs.wait, PATIENCE)
            for _ in range(100):
                await asyncio.sleep(0)
            assert not task.done()
            call.may_go.set()
            await task

        run(main())

    def test_what_fails_after_it_was_cancelled_is_cancelled(self) -> None:
        async def main() -> None:
            begun, may_go = threading.Event(), threading.Event()

            def call() -> None:
                begun.set()
                may_go.wait(PATIENCE)
                raise Unavailable("on purpose")

            task = asyncio.create_task(whole(call))
            assert await asyncio.to_thread(begun.wait, PATIENCE)
            task.cancel()
            may_go.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main())


class TestLoopsThatEnd:
    def test_a_block_can_be_entered_in_one_loop_after_another(self, store: str, others: Claims) -> None:
        block = aio.hold("n", data_dir=store, backend=NATIVE, timeout=None)

        async def main() -> None:
            await is_broken(block, others)

        run(main())
        run(main())
        assert others.show("n").lease is None

    def test_a_claim_whose_loop_is_closed_is_released(self, store: str, others: Claims, tasks_are_destroyed: str) -> None:
        async def main() -> None:
            async with aio.hold("n", data_dir=store, backend=NATIVE):
                inside.set()
                await asyncio.Event().wait()

        loop, inside = asyncio.new_event_loop(), asyncio.Event()
        task = loop.create_task(main())
        loop.run_until_complete(inside.wait())
        loop.close()
        assert isinstance(others.claim("n", "other"), Held)
        del task
        gc.collect()
        assert isinstance(others.claim("n", "other"), Won)

    def test_nothing_is_left_of_one_that_waits_in_a_loop_that_is_closed(
        self, store: str, others: Claims, monkeypatch: pytest.MonkeyPatch, tasks_are_destroyed: str
    ) -> None:
        async def main() -> None:
            async with aio.hold("n", data_dir=store, backend=NATIVE, timeout=None):
                pytest.fail("entered")

        async def until_it_waits() -> None:
            await waits.wait()

        async def call_and_wait(watcher: LoopWatcher, seconds: float) -> None:
            waits.set()
            await wait(watcher, seconds)

        wait, waits = LoopWatcher.wait, asyncio.Event()
        monkeypatch.setattr(LoopWatcher, "wait", call_and_wait)

        async def warm() -> None:
            async with aio.hold("m", data_dir=store, backend=NATIVE):
                """Its session is registered."""

        run(warm())
        others.claim("n", "other")
        before = descriptors(store)
        loop = asyncio.new_event_loop()
        task = loop.create_task(main())
        loop.run_until_complete(until_it_waits())
        loop.close()
        del task, loop
        gc.collect()
        while line(store):  # A look may not have ended yet.
            gc.collect()
        assert descriptors(store) == before

    @pytest.mark.parametrize("timeout", [0, None])
    def test_what_is_won_for_a_loop_that_is_closed_meanwhile_is_released(
        self, store: str, monkeypatch: pytest.MonkeyPatch, tasks_are_destroyed: str, timeout: float | None
    ) -> None:
        async def main() -> None:
            async with aio.hold("n", data_dir=store, backend="memory", timeout=timeout):
                pytest.fail("entered")

        async def warm() -> None:
            async with aio.hold("m", data_dir=store, backend="memory"):
                """Its session is registered."""

        run(warm())
        with monkeypatch.context() as patched:
            call = Hanging(patched, "advance")
            loop = asyncio.new_event_loop()
            task: asyncio.Task[None] | None = loop.create_task(main())
            loop.run_until_complete(asyncio.to_thread(call.hangs.wait, PATIENCE))
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            del task, loop
            gc.collect()
            (member,) = members(store)
            assert member.holding == ["n"]
            call.may_go.set()
            while member.holding:
                gc.collect()
        assert member.claims.show("n").lease is None

    def test_nobody_is_told_in_a_loop_that_is_closed(self, store: str, others: Claims) -> None:
        async def main() -> None:
            await block.__aenter__()

        told: list[object] = []
        block = aio.hold("n", data_dir=store, backend=NATIVE, on_lost=told.append)
        run(main())
        others.break_claim("n", block.generation, "test")
        with pytest.raises(ClaimLost):
            block._block.check()
        block._schedule_lost()
        assert told == []
        block._block.leave(KeyError())

    @needs_fork
    def test_a_forked_child_is_another_process_and_leaves_its_parent_s_block_alone(self, store: str) -> None:
        program = """
        import asyncio, os, sys, warnings
        from looop_portable import aio, ClaimHeld
        warnings.simplefilter("ignore", DeprecationWarning)  # To fork with threads is what is tested.
        where = {"data_dir": sys.argv[1], "backend": "auto"}

        async def in_child(parents):
            async with aio.hold("m", timeout=None, **where) as lease:
                assert lease.session != parents.session
            try:
                await aio.hold("n", timeout=0.05, **where).__aenter__()
            except ClaimHeld as refusal:
                assert refusal.holder == parents.session

        async def main():
            block = aio.hold("n", **where)
            async with block as lease:
                child = os.fork()
                if child == 0:
                    try:
                        asyncio.run(in_child(lease))
                        leaving = block.__aexit__(None, None, None)
                        try:
                            leaving.send(None)
                        except StopIteration:
                            os._exit(7)
                    finally:
                        os._exit(1)
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                await lease.check()

        asyncio.run(main())
        """
        assert program_says(program, store) == "7\n"
        assert Claims.open(store, NATIVE).show("n").generation == 2
