"""`hold` without a block: `acquire` and `release`, and as a decorator; for threads and for tasks, one claim and several."""

from __future__ import annotations

import asyncio
import inspect
import pydoc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE
from support.crew import program_says

from looop_portable import ClaimHeld, ClaimLost, Claims, Hold, UsageError, WaitedTooLong, aio, hold, hold_all
from looop_portable.aio import AsyncHold

PATIENCE = 60  # Seconds, after which something is taken for hanging.


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def others(store: str) -> Claims:
    claims = Claims.open(store, NATIVE)
    claims.sessions.register("other")
    return claims


def elsewhere(call: Callable[[], Any]) -> Any:
    """What it gives in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(PATIENCE)


def held(claims: Claims) -> list[str]:
    return sorted(status.name for status in claims.list())


class TestOne:
    def test_it_is_held_from_one_to_the_other_and_again(self, store: str, others: Claims) -> None:
        block = hold("n", data_dir=store, backend=NATIVE)
        generations = []
        for _ in range(2):
            assert block.acquire() is block
            generations.append(block.generation)
            block.check()
            assert held(others) == ["n"]
            block.release()
            assert held(others) == []
        assert generations == [1, 3]

    def test_what_was_not_acquired_cannot_be_released(self, store: str) -> None:
        block = hold("n", data_dir=store, backend=NATIVE)
        with pytest.raises(ClaimLost, match="not held"):
            block.release()
        block.acquire()
        block.release()
        with pytest.raises(ClaimLost, match="not held"):
            block.release()

    @pytest.mark.parametrize("timeout", [0, 5, None])
    def test_to_acquire_twice_is_refused_at_once_as_entering_is(self, store: str, timeout: float | None) -> None:
        block = hold("n", data_dir=store, backend=NATIVE, timeout=timeout).acquire()
        with pytest.raises(ClaimHeld, match="not reentrant"):
            block.acquire()
        with pytest.raises(ClaimHeld, match="not reentrant"), block:
            pass
        with pytest.raises(ClaimHeld, match="not reentrant"):
            hold("n", data_dir=store, backend=NATIVE, timeout=timeout).acquire()
        with pytest.raises(ClaimHeld, match="this very block"):
            elsewhere(block.acquire)
        block.check()
        block.release()

    def test_another_thread_is_refused_and_has_it_afterwards(self, store: str) -> None:
        block = hold("n", data_dir=store, backend=NATIVE).acquire()
        another = hold("n", data_dir=store, backend=NATIVE)
        with pytest.raises(ClaimHeld):
            elsewhere(another.acquire)
        with pytest.raises(WaitedTooLong):
            elsewhere(hold("n", data_dir=store, backend=NATIVE, timeout=0.05).acquire)
        elsewhere(block.release)
        elsewhere(another.acquire)
        another.release()

    def test_one_that_waits_is_woken_by_the_release(self, store: str) -> None:
        block = hold("n", data_dir=store, backend=NATIVE).acquire()
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(hold("n", data_dir=store, backend=NATIVE, timeout=None).acquire)
            block.release()
            waits.result(PATIENCE).release()

    def test_a_loss_is_said_when_it_is_released_and_before(self, store: str, others: Claims) -> None:
        told: list[Hold] = []
        called = threading.Event()

        def on_lost(lease: Hold) -> None:
            told.append(lease)
            called.set()

        block = hold("n", data_dir=store, backend=NATIVE, on_lost=on_lost).acquire()
        others.break_claim("n", block.generation, "test")
        with pytest.raises(ClaimLost, match="superseded"):
            block.check()
        assert block.lost.is_set()
        assert called.wait(PATIENCE)
        assert told == [block]
        with pytest.raises(ClaimLost, match="superseded"):
            block.release()

    def test_the_block_may_be_left_by_either(self, store: str, others: Claims) -> None:
        block = hold("n", data_dir=store, backend=NATIVE).acquire()
        block.__exit__(None, None, None)
        assert held(others) == []

    @pytest.mark.parametrize("where", ["main", "thread that has ended"])
    def test_the_end_of_the_program_releases_it(self, store: str, others: Claims, where: str) -> None:
        program = """
        import sys, threading
        from looop_portable import hold, hold_all
        where = {"data_dir": sys.argv[1], "backend": sys.argv[2]}

        def acquire():
            hold("n", **where).acquire()
            hold_all("a", "b", **where).acquire()

        if sys.argv[3] == "main":
            acquire()
        else:
            thread = threading.Thread(target=acquire)
            thread.start()
            thread.join()
        """
        program_says(program, store, NATIVE, where)
        assert [status.lease for status in map(others.show, ("n", "a", "b"))] == [None] * 3
        assert [each for each in others.sessions.ids() if each != "other"] == []

    def test_the_end_of_the_program_takes_nothing_from_a_thread_that_still_runs(self, store: str, others: Claims) -> None:
        program = """
        import sys, threading
        from looop_portable import hold

        def acquire():
            hold("n", data_dir=sys.argv[1], backend=sys.argv[2]).acquire()
            acquired.set()
            threading.Event().wait()

        acquired = threading.Event()
        threading.Thread(target=acquire, daemon=True).start()
        acquired.wait()
        """
        program_says(program, store, NATIVE)
        lease = others.show("n").lease
        assert lease is not None
        assert others.claim("n", "other").generation == lease.generation + 1  # type: ignore[union-attr]


class TestSeveral:
    def test_all_or_none(self, store: str, others: Claims) -> None:
        block = hold_all("b", "a", data_dir=store, backend=NATIVE)
        leases = block.acquire()
        assert [each.name for each in leases] == ["b", "a"]
        assert held(others) == ["a", "b"]
        with pytest.raises(ClaimHeld):
            block.acquire()
        for each in leases:
            each.check()
        block.release()
        assert held(others) == []
        with pytest.raises(ClaimLost, match="not held"):
            block.release()
        others.claim("b", "other")
        with pytest.raises(ClaimHeld, match="claim b"):
            block.acquire()
        assert held(others) == ["b"]

    def test_one_that_is_lost_is_said_and_the_others_are_released(self, store: str, others: Claims) -> None:
        block = hold_all("a", "b", data_dir=store, backend=NATIVE)
        first, _ = block.acquire()
        others.break_claim("a", first.generation, "test")
        others.claim("a", "other")
        with pytest.raises(ClaimLost, match="claim a"):
            block.release()
        assert held(others) == ["a"]


class TestDecorator:
    def test_each_call_has_a_block_of_its_own(self, store: str, others: Claims) -> None:
        @hold("n", data_dir=store, backend=NATIVE)
        def work(what: int, *, more: int = 0) -> int:
            """It works."""
            assert held(others) == ["n"]
            return what + more

        assert [work(1), work(2, more=3)] == [1, 5]
        assert others.show("n").generation == 4
        assert (work.__name__, work.__doc__) == ("work", "It works.")

    def test_two_threads_exclude_each_other_in_it(self, store: str) -> None:
        inside = threading.Lock()

        @hold("n", data_dir=store, backend=NATIVE, timeout=None)
        def work() -> None:
            assert inside.acquire(blocking=False), "two are in the block"
            inside.release()

        with ThreadPoolExecutor(4) as pool:
            for each in [pool.submit(work) for _ in range(20)]:
                each.result(PATIENCE)

    def test_an_error_leaves_it_and_one_that_calls_itself_is_refused(self, store: str, others: Claims) -> None:
        @hold("n", data_dir=store, backend=NATIVE, timeout=None)
        def work(again: bool) -> None:
            if again:
                work(again=False)
            raise KeyError

        with pytest.raises(KeyError):
            work(again=False)
        with pytest.raises(ClaimHeld, match="not reentrant"):
            work(again=True)
        assert held(others) == []

    def test_methods_and_several_claims(self, store: str, others: Claims) -> None:
        class Worker:
            @hold_all("a", "b", data_dir=store, backend=NATIVE)
            def work(self) -> list[str]:
                return held(others)

        assert Worker().work() == ["a", "b"]
        assert held(others) == []

    def test_what_would_not_be_held_while_it_runs_is_refused(self, store: str) -> None:
        async def later() -> None:
            """Awaited."""

        def some() -> Iterator[int]:
            yield 1

        async def some_later() -> AsyncIterator[int]:
            yield 1

        def now() -> None:
            """Called."""

        for decorator in (hold("n", data_dir=store), hold_all("n", data_dir=store)):
            for function in (later, some, some_later):
                with pytest.raises(UsageError, match="would not be held while it runs"):
                    decorator(function)
        for decorate in (aio.hold("n", data_dir=store), aio.hold_all("n", data_dir=store)):
            for wrong in (now, some, some_later):
                with pytest.raises(UsageError, match=r"not async|generator"):
                    decorate(wrong)  # type: ignore[arg-type]


class TestTasks:
    def test_by_hand_in_another_task(self, store: str, others: Claims) -> None:
        async def main() -> None:
            block = aio.hold("n", data_dir=store, backend=NATIVE)
            with pytest.raises(ClaimLost):
                await block.release()
            assert await asyncio.create_task(block.acquire()) is block
            assert held(others) == ["n"]
            with pytest.raises(ClaimHeld):
                await aio.hold("n", data_dir=store, backend=NATIVE).acquire()
            await block.check()
            await asyncio.create_task(block.release())
            assert held(others) == []

        asyncio.run(main())

    def test_several(self, store: str, others: Claims) -> None:
        async def main() -> None:
            async with aio.hold_all("b", "a", data_dir=store, backend=NATIVE) as (b, a):
                assert (b.name, a.name, held(others)) == ("b", "a", ["a", "b"])
                await a.check()
            assert held(others) == []
            block = aio.hold_all("b", "a", data_dir=store, backend=NATIVE, timeout=0.05)
            others.claim("b", "other")
            with pytest.raises(WaitedTooLong, match="claim b"):
                await block.acquire()
            assert held(others) == ["b"]
            others.release("b", "other")
            await block.acquire()
            await block.release()
            with pytest.raises(ClaimLost, match="not held"):
                await block.release()
            with pytest.raises(KeyError):
                async with block:
                    raise KeyError
            assert held(others) == []

        asyncio.run(main())

    def test_one_that_is_cancelled_while_it_waits_for_the_second_holds_nothing(self, store: str, others: Claims) -> None:
        async def enter() -> None:
            async with aio.hold_all("a", "b", data_dir=store, backend=NATIVE, timeout=None):
                raise AssertionError

        async def main() -> None:
            others.claim("b", "other")
            task = asyncio.create_task(enter())
            while held(others) != ["a", "b"]:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert held(others) == ["b"]

        asyncio.run(main())

    def test_in_opposite_orders_they_do_not_wait_for_each_other(self, store: str) -> None:
        inside: list[str] = []

        @aio.hold_all("x", data_dir=store, backend=NATIVE, timeout=None)
        async def alone() -> None:
            inside.append("one")
            await asyncio.sleep(0)
            assert inside == ["one"], "two are in the block"
            inside.clear()

        async def enter(*names: str) -> None:
            async with aio.hold_all(*names, data_dir=store, backend=NATIVE, timeout=None):
                await alone()

        async def main() -> None:
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
                for order in [("a", "b"), ("b", "a")] * 5:
                    tasks.create_task(enter(*order))

        asyncio.run(main())

    def test_as_a_decorator(self, store: str, others: Claims) -> None:
        lost: list[AsyncHold] = []

        @aio.hold("n", data_dir=store, backend=NATIVE, timeout=None, on_lost=lost.append)
        async def work(what: int) -> tuple[int, list[str]]:
            await asyncio.sleep(0)
            return what, held(others)

        async def main() -> None:
            assert tuple(await asyncio.gather(work(1), work(2))) == ((1, ["n"]), (2, ["n"]))
            assert held(others) == []

        asyncio.run(main())
        assert inspect.iscoroutinefunction(work)


@pytest.mark.parametrize("each", [Hold, AsyncHold])
def test_help_begins_with_what_a_user_of_a_block_needs(each: type) -> None:
    text = pydoc.plain(pydoc.render_doc(each))
    first = [text.index(word) for word in ("`lost`", "check()`", "`generation`", "acquire()`", "Methods defined here")]
    assert first == sorted(first)
    public = set(dir(each("n", hold("n")._options, None) if each is AsyncHold else hold("n")))
    assert {name for name in public if not name.startswith("_")} == {
        *("acquire", "check", "generation", "joined", "lease", "lost", "name", "release", "session")
    }
