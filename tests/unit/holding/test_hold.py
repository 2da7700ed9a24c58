"""`hold` and `hold_all` that wait, in threads: who wakes whom, who would wait for itself, and what an error leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE, needs_fork
from support.crew import program_says
from support.steps import Steps
from support.watching import Watched

from looop_portable import ClaimHeld, ClaimLost, Claims, Hold, Unavailable, WaitedTooLong, hold, hold_all
from looop_portable.backends.memory import MemoryBackend
from looop_portable.config import resolve
from looop_portable.holding.blocks.one_claim import OneClaim
from looop_portable.holding.member import Member, this_process
from looop_portable.holding.visits import Visit
from looop_portable.protocol.records import Head, Lease
from looop_portable.system.watch.waking import LocalWatcher, ThreadWatcher, new_watcher

PATIENCE = 60  # Seconds, after which something is taken for hanging.


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def member(store: str, lease_seconds: int = 30) -> Member:
    directory = resolve(store).data_dir
    (found,) = [
        member
        for (config, lease), member in list(this_process().members.items())
        if (config.data_dir, lease) == (directory, lease_seconds)
    ]
    return found


class Endless(Watched):
    """`waits` is set when somebody does."""

    def __init__(self, watcher: ThreadWatcher) -> None:
        self.waits = threading.Event()
        super().__init__(watcher, lambda _: self.waits.set())


@pytest.fixture
def watchers(monkeypatch: pytest.MonkeyPatch) -> list[Endless]:
    made: list[Endless] = []

    def make() -> Endless:
        made.append(Endless(new_watcher()))
        return made[-1]

    monkeypatch.setattr("looop_portable.holding.blocks.one_claim.new_watcher", make)
    return made


def waits(watchers: list[Endless], number: int) -> bool:
    """Once the watcher of that number is waited for."""
    while len(watchers) < number:
        """Its thread has not come so far yet."""
    return watchers[number - 1].waits.wait(PATIENCE)


def entered(store: str, **options: Any) -> str:
    with hold("n", data_dir=store, **options) as lease:
        lease.check()
        return lease.lease.name


class TestWaking:
    def test_a_block_that_is_left_wakes_who_has_missed_it_where_no_kernel_tells(
        self, store: str, threads: ThreadPoolExecutor, watchers: list[Endless], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("looop_portable.system.watch.waking.sys.platform", "none that tells")
        monkeypatch.delattr("select.kqueue", raising=False)
        with hold("n", data_dir=store, backend="memory"):
            waiting = threads.submit(entered, store, backend="memory", timeout=None)
            assert waits(watchers, 1)
            assert type(watchers[0]._watcher) is LocalWatcher
        assert waiting.result(PATIENCE) == "n"

    def test_one_that_comes_and_is_refused_wakes_who_has_missed_the_claim_for_it(
        self, store: str, threads: ThreadPoolExecutor, watchers: list[Endless], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It had the name for a moment, in which the claim was released."""
        monkeypatch.setattr("looop_portable.system.watch.waking.sys.platform", "none that tells")
        monkeypatch.delattr("select.kqueue", raising=False)
        with hold("m", data_dir=store, backend="memory"):
            """Its session is registered."""
        here = member(store)
        taker = hold("n", data_dir=store, backend="memory")._block.entrance
        assert here.take("n", taker)
        waiting = threads.submit(entered, store, backend="memory", timeout=None)
        assert waits(watchers, 1)
        here.free("n")
        assert waiting.result(PATIENCE) == "n"

    def test_all_that_wait_are_woken_by_those_before_them(
        self, store: str, threads: ThreadPoolExecutor, watchers: list[Endless]
    ) -> None:
        if isinstance(watcher := new_watcher(), LocalWatcher):
            pytest.skip("no kernel tells of anything here")
        watcher.close()
        with hold("n", data_dir=store, backend=NATIVE):
            waiting = []
            for number in range(1, 7):
                waiting.append(threads.submit(entered, store, backend=NATIVE, timeout=None))
                assert waits(watchers, number)
        assert [each.result(PATIENCE) for each in waiting] == ["n"] * 6

    def test_only_those_who_have_missed_it_are_woken(self, store: str) -> None:
        here, blocks = member_of_two(store)
        first, second, third = blocks
        assert here.take("n", first)
        assert not here.take("n", second)
        here.free("n")
        assert [wakes(block) for block in blocks] == [0, 1, 0]
        assert here.take("n", third)
        here.free("n")
        assert [wakes(block) for block in blocks] == [0, 1, 0]

    def test_one_that_waits_no_more_is_not_woken(self, store: str) -> None:
        here, (first, second, _) = member_of_two(store)
        assert here.take("n", first)
        assert second.watcher
        with here.waking(second.watcher):
            assert not here.take("n", second)
        here.free("n")
        assert wakes(second) == 0

    def test_a_watcher_is_not_closed_while_it_is_woken(self, store: str) -> None:
        """Without that, a number would be written to whatever file has its descriptor next."""
        here, (first, second, _) = member_of_two(store)
        has_left = threading.Event()

        def leave() -> None:
            with here.waking(watcher):
                leaving.set()
            has_left.set()

        class Slow(Watcher):
            def wake(self) -> None:
                super().wake()
                thread.start()
                assert leaving.wait(PATIENCE)
                assert not has_left.wait(0.05)

        watcher, leaving, thread = Slow(), threading.Event(), threading.Thread(target=leave)
        second.watcher = watcher
        assert here.take("n", first)
        assert not here.take("n", second)
        here.free("n")
        assert has_left.wait(PATIENCE)
        thread.join()


class Watcher(LocalWatcher):
    def __init__(self) -> None:
        super().__init__()
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


class Block:
    def __init__(self) -> None:
        self.owner: object = None
        self.watcher: Any = Watcher()

    def settle_if_over(self) -> None:
        """It never is."""


def wakes(block: Block) -> int:
    assert isinstance(block.watcher, Watcher)
    return block.watcher.woken


def member_of_two(store: str) -> tuple[Member, list[Block]]:
    with hold("m", data_dir=store, backend="memory"):
        """Its session is registered."""
    return member(store), [Block(), Block(), Block()]


@pytest.mark.parametrize("timeout", [0, 30, None])
class TestItself:
    """Who would wait for itself is refused at once, whatever time there is."""

    @pytest.mark.parametrize("name", ["\u00e9", "e\u0301"])
    def test_by_the_name_in_any_form(self, store: str, timeout: float | None, name: str) -> None:
        with hold("\u00e9", data_dir=store, backend=NATIVE) as lease:
            with pytest.raises(ClaimHeld, match="not reentrant"):
                hold(name, data_dir=store, backend=NATIVE, timeout=timeout).__enter__()
            lease.check()

    def test_by_the_same_block(self, store: str, threads: ThreadPoolExecutor, timeout: float | None) -> None:
        block = hold("n", data_dir=store, backend=NATIVE, timeout=timeout)
        with block:
            with pytest.raises(ClaimHeld, match="not reentrant"):
                block.__enter__()
            with pytest.raises(ClaimHeld, match="this very block"):
                threads.submit(block.__enter__).result(PATIENCE)
            block.check()
        with block:
            pass

    def test_as_another_session_of_this_process(self, store: str, timeout: float | None) -> None:
        with hold("n", data_dir=store, backend=NATIVE) as lease:
            with pytest.raises(ClaimHeld, match="not reentrant"):
                hold("n", data_dir=store, backend=NATIVE, lease_seconds=60, timeout=timeout).__enter__()
            lease.check()

    def test_when_it_has_all_the_slots(self, store: str, timeout: float | None) -> None:
        where: dict[str, Any] = {"data_dir": store, "backend": NATIVE, "slots": 2, "timeout": timeout}
        with hold("n", **where) as one, hold("n", **where) as other:
            assert [one.lease.name, other.lease.name] == ["n#1", "n#2"]
            with pytest.raises(ClaimHeld, match="not reentrant"):
                hold("n", **where).__enter__()

    def test_in_another_spelling_where_case_makes_no_difference(
        self, store: str, one_case: None, timeout: float | None
    ) -> None:
        with hold("Repo", data_dir=store, backend="memory") as lease:
            with pytest.raises(ClaimHeld, match=r"in another spelling; hold\(\) is not reentrant"):
                hold("repo", data_dir=store, backend="memory", timeout=timeout).__enter__()
            lease.check()


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not tell case apart."""
    read, advance = MemoryBackend.read, MemoryBackend.advance

    def read_folded(self: MemoryBackend, claim: str) -> Head:
        found = read(self, claim.casefold())
        return found._replace(lease=found.lease._replace(name=claim) if found.lease else None)

    def advance_folded(self: MemoryBackend, claim: str, expected: int, lease: Lease | None) -> bool:
        return advance(self, claim.casefold(), expected, lease)

    monkeypatch.setattr(MemoryBackend, "read", read_folded)
    monkeypatch.setattr(MemoryBackend, "advance", advance_folded)


@pytest.mark.usefixtures("one_case")
class TestOneCase:
    def test_another_thread_waits_for_it_in_another_spelling(self, store: str, threads: ThreadPoolExecutor) -> None:
        def enter() -> int:
            with hold("repo", data_dir=store, backend="memory", timeout=None) as lease:
                lease.check()
                return lease.generation

        with hold("Repo", data_dir=store, backend="memory") as lease:
            with pytest.raises(ClaimHeld, match="another spelling"):
                threads.submit(
                    lambda: hold("repo", data_dir=store, backend="memory").__enter__(),
                ).result(PATIENCE)
            waiting = threads.submit(enter)
            while not member(store).claims.backend.tickets.line("repo"):  # type: ignore[union-attr]
                assert not waiting.done()
            lease.check()
        assert waiting.result(PATIENCE) == 3

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Unavailable("on purpose")], ids=["interrupted", "unavailable"])
    def test_an_error_of_one_does_not_let_go_of_what_another_holds(
        self, store: str, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        claim = Claims.claim

        def fails(self: Claims, *arguments: Any) -> Any:
            claim(self, *arguments)
            raise error

        def enter() -> str:
            try:
                hold("repo", data_dir=store, backend="memory").__enter__()
            except (KeyboardInterrupt, Unavailable) as found:
                return type(found).__name__
            return "entered"

        with hold("Repo", data_dir=store, backend="memory") as lease:
            monkeypatch.setattr(Claims, "claim", fails)
            assert threads.submit(enter).result(PATIENCE) == type(error).__name__
            lease.check()
            assert member(store).holding == ["Repo"]

    def test_what_has_been_released_since_it_was_read_is_not_taken_for_a_claim(
        self, store: str, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = Claims.claim
        block = hold("Repo", data_dir=store, backend="memory")
        block.__enter__()

        def late(self: Claims, *arguments: Any) -> Any:
            outcome = claim(self, *arguments)
            block.__exit__(None, None, None)
            return outcome

        with monkeypatch.context() as patched:
            patched.setattr(Claims, "claim", late)
            with pytest.raises(ClaimHeld):
                threads.submit(lambda: hold("repo", data_dir=store, backend="memory").__enter__()).result(PATIENCE)
        with hold("repo", data_dir=store, backend="memory") as lease:
            lease.check()


class TestSlots:
    def test_each_thread_has_one_of_its_own_and_the_next_waits(self, store: str, threads: ThreadPoolExecutor) -> None:
        where: dict[str, Any] = {"backend": NATIVE, "slots": 3}
        all_are_in, leave = threading.Barrier(4), threading.Event()

        def enter() -> str:
            with hold("n", data_dir=store, **where) as lease:
                all_are_in.wait(PATIENCE)
                assert leave.wait(PATIENCE)
                return lease.lease.name

        inside = [threads.submit(enter) for _ in range(3)]
        all_are_in.wait(PATIENCE)
        with pytest.raises(ClaimHeld, match="claim n: held"):
            entered(store, **where)
        with pytest.raises(WaitedTooLong, match=r"waited 0\.05 s"):
            entered(store, **where, timeout=0.05)
        waiting = threads.submit(entered, store, **where, timeout=None)
        leave.set()
        assert sorted(each.result(PATIENCE) for each in inside) == ["n#1", "n#2", "n#3"]
        assert waiting.result(PATIENCE) in ("n#1", "n#2", "n#3")
        assert Claims.open(store, NATIVE).list() == []


class TestAll:
    def test_they_are_given_in_their_order_and_taken_in_everybody_s(self, store: str) -> None:
        with hold_all("b", "a", "b", data_dir=store, backend=NATIVE) as (b, a, again):
            assert (b.name, a.name, again) == ("b", "a", b)
            assert [status.name for status in Claims.open(store, NATIVE).list()] == ["a", "b"]
        events = [line for line in Path(store, "events.jsonl").read_text().splitlines() if '"claim": "' in line]
        assert [event.split('"claim": "')[1][0] for event in events] == ["a", "b", "b", "a"]
        with hold_all(data_dir=store, backend=NATIVE) as none:
            assert none == ()

    def test_when_one_is_refused_none_is_held(self, store: str) -> None:
        others = Claims.open(store, NATIVE)
        others.sessions.register("other")
        others.claim("b", "other")
        for timeout, kind in ((0, ClaimHeld), (0.05, WaitedTooLong)):
            with pytest.raises(kind, match="claim b: held by live session 'other'"):
                hold_all("c", "b", "a", data_dir=store, backend=NATIVE, timeout=timeout).__enter__()
            assert [status.name for status in others.list()] == ["b"]
            assert member(store).holding == []

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Unavailable("on purpose")], ids=["interrupted", "unavailable"])
    def test_an_error_in_the_middle_leaves_none_held(
        self, store: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        claim = Claims.claim

        def fails(self: Claims, name: str, *arguments: Any) -> Any:
            outcome = claim(self, name, *arguments)
            if name == "b":
                raise error
            return outcome

        monkeypatch.setattr(Claims, "claim", fails)
        with pytest.raises(type(error)):
            hold_all("a", "b", "c", data_dir=store, backend=NATIVE).__enter__()
        assert Claims.open(store, NATIVE).list() == []
        assert member(store).holding == []

    def test_the_time_is_for_all_of_them_and_the_refusal_says_so(self, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        now, waited = [100.0], list[float | None]()
        enter = OneClaim.enter_within

        def slow(self: OneClaim, timeout: float | None, visit: Visit, *, by_hand: bool) -> None:
            waited.append(timeout)
            now[0] += 4
            enter(self, timeout if self.name != "c" else 0, visit, by_hand=by_hand)

        others = Claims.open(store, NATIVE)
        others.sessions.register("other")
        others.claim("c", "other")
        monkeypatch.setattr("looop_portable.holding.hold_all.elapsed", lambda: now[0])
        monkeypatch.setattr(OneClaim, "enter_within", slow)
        with pytest.raises(WaitedTooLong, match=r"claim c:.*waited 6 s"):
            hold_all("a", "b", "c", data_dir=store, backend=NATIVE, timeout=6).__enter__()
        assert waited == [6, 2, 0]

    def test_in_opposite_orders_they_do_not_wait_for_each_other(self, store: str, threads: ThreadPoolExecutor) -> None:
        inside = threading.Lock()

        def enter(*names: str) -> int:
            for _ in range(15):
                with hold_all(*names, data_dir=store, backend=NATIVE, timeout=None):
                    assert inside.acquire(blocking=False), "two are in the block"
                    inside.release()
            return 15

        orders = [("a", "b"), ("b", "a"), ("b", "c", "a"), ("a", "c", "b")]
        assert sum(each.result(PATIENCE) for each in [threads.submit(enter, *order) for order in orders]) == 60

    def test_an_error_in_the_block_releases_all(self, store: str) -> None:
        with pytest.raises(KeyError), hold_all("a", "b", data_dir=store, backend=NATIVE):
            raise KeyError
        assert Claims.open(store, NATIVE).list() == []


class TestTrouble:
    def test_a_session_that_is_lost_while_one_waits_is_followed_by_another(
        self, store: str, threads: ThreadPoolExecutor, watchers: list[Endless]
    ) -> None:
        def enter() -> str:
            with hold("n", data_dir=store, backend=NATIVE, timeout=None) as lease:
                lease.check()
                return lease.session

        others = Claims.open(store, NATIVE)
        others.sessions.register("other")
        others.claim("n", "other")
        waiting = threads.submit(enter)
        assert waits(watchers, 1)
        before = member(store).current
        before.pulse._lose("a test says so")
        watchers[0].wake()
        others.release("n", "other")
        watchers[0].wake()  # Where no kernel tells.
        assert waiting.result(PATIENCE) != before.holder.session

    def test_a_loss_is_reported_once_if_two_find_it_out_at_once(self, store: str) -> None:
        told, at_once = list[Hold](), threading.Barrier(2)
        has_called = threading.Event()

        def on_lost(block: Hold) -> None:
            told.append(block)
            has_called.set()

        class Lost(threading.Event):
            def is_set(self) -> bool:
                found = super().is_set()
                if not found:
                    try:
                        at_once.wait(0.2)
                    except threading.BrokenBarrierError:
                        return found  # The other waits for the guard.
                return found

        block = hold("n", data_dir=store, backend="memory", on_lost=on_lost)
        block.__enter__()
        block._block.lost = Lost()
        finders = [threading.Thread(target=block._block.lose, args=("a test says so",)) for _ in range(2)]
        for finder in finders:
            finder.start()
        for finder in finders:
            finder.join()
        assert has_called.wait(PATIENCE)
        with pytest.raises(ClaimLost):
            block.__exit__(None, None, None)
        assert told == [block]

    def test_a_loss_is_reported_also_if_the_block_is_left_at_once(self, store: str) -> None:
        told, has_left = list[Hold](), threading.Event()

        class Lost(threading.Event):
            def set(self) -> None:
                super().set()
                has_left.wait(0.2)  # Whoever tells is slow.

        has_called = threading.Event()

        def on_lost(block: Hold) -> None:
            told.append(block)
            has_called.set()

        block = hold("n", data_dir=store, backend="memory", on_lost=on_lost)
        block.__enter__()
        block._block.lost = Lost()
        teller = threading.Thread(target=block._block.lose, args=("a test says so",))
        teller.start()
        assert block.lost.wait(PATIENCE)
        with pytest.raises(ClaimLost):
            block.__exit__(None, None, None)
        has_left.set()
        teller.join()
        assert has_called.wait(5)
        assert told == [block]

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("timeout", [0, None])
    @pytest.mark.parametrize("backend", [NATIVE, "memory"])
    def test_interrupted_at_any_call_of_the_backend_nothing_is_held(
        self, store: str, timeout: float | None, after: bool, backend: str
    ) -> None:
        with hold("m", data_dir=store, backend=backend):
            """Its session is registered."""
        here, step, at = member(store), 0, "none yet"
        plain = here.claims.backend
        while at:
            step += 1
            here.claims.backend = steps = Steps(plain, KeyboardInterrupt(), step, after=after)  # type: ignore[assignment]
            try:
                with hold("n", data_dir=store, backend=backend, timeout=timeout):
                    """Entered."""
            except KeyboardInterrupt:
                assert steps.at
            finally:
                here.claims.backend = plain
            at = steps.at
            assert here.holding == []
            assert here.current.blocks == {}
            assert here.claims.show("n").lease is None
        assert step >= 4

    @pytest.mark.parametrize("timeout", [0, None])
    def test_interrupted_just_before_it_is_entered_nothing_is_held(
        self, store: str, monkeypatch: pytest.MonkeyPatch, timeout: float | None
    ) -> None:
        block = hold("n", data_dir=store, backend="memory", timeout=timeout)
        with monkeypatch.context() as patched:
            patched.setattr(OneClaim, "enter", interrupted)
            with pytest.raises(KeyboardInterrupt):
                block.__enter__()
        assert member(store).holding == []
        assert member(store).claims.show("n").lease is None
        with block:
            block.check()

    @needs_fork
    def test_a_child_that_is_forked_while_another_thread_waits_goes_its_own_way(self, store: str) -> None:
        program = """
        import os, sys, threading, warnings
        from looop_portable import Claims, ClaimHeld, hold
        warnings.simplefilter("ignore", DeprecationWarning)  # To fork with threads is what is tested.
        where = {"data_dir": sys.argv[1], "backend": "auto"}
        claims = Claims.open(*where.values())
        claims.sessions.register("other")
        claims.claim("n", "other")
        entered = []

        def wait():
            with hold("n", timeout=None, **where) as lease:
                entered.append(lease.session)

        thread = threading.Thread(target=wait)
        thread.start()
        while not claims.backend.tickets.line("n"):
            pass
        child = os.fork()
        if child == 0:
            with hold("m", timeout=None, **where):
                pass
            try:
                hold("n", timeout=0.05, **where).__enter__()
            except ClaimHeld as refusal:
                assert refusal.holder == "other"
                assert len(claims.backend.tickets.line("n")) == 1
                sys.exit(7)  # In good order: with all that is done at exit.
            sys.exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        claims.release("n", "other")
        thread.join(60)
        print(len(entered), claims.backend.tickets.line("n"))
        """
        assert program_says(program, store) == "7\n1 []\n"


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
