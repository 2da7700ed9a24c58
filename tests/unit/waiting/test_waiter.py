"""One look after the other of those who wait, with the test's clock and watchers: who gets it, and when looks again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from looop_portable import Claims, Held, Renewed, Settling, Won, hold
from looop_portable.backends.directory.tickets import TicketFiles
from looop_portable.backends.engine import CLAIM, Step
from looop_portable.backends.memory import MemoryBackend, MemoryEngine
from looop_portable.backends.on_engine import OnEngine
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.waiting.attempts import claim_any
from looop_portable.waiting.claiming import waiter
from looop_portable.waiting.waiter import Waiting, run
from looop_portable.waiting.waits import Pending


class Watcher:
    """Hears all, if it is told to."""

    def __init__(self, watches: bool = True) -> None:
        self.watches = watches
        self.paths: list[str] = []
        self.process: Registration | None = None
        self.waited: list[float] = []
        self.on_wait: Callable[[], object] = lambda: None

    def watch(self, paths: Iterable[str]) -> bool:
        self.paths = list(paths)
        return self.watches

    def follow(self, process: Registration | None) -> bool:
        self.process = process
        return self.watches and process is not None

    def forget(self) -> None:
        """Nothing wakes here."""

    def wake(self) -> None:
        """Nobody sleeps here."""

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.on_wait()

    def close(self) -> None:
        """Nothing is open."""


class Scene:
    """A claim in memory, and those who wait for it, each a session of its own."""

    def __init__(self) -> None:
        self.claims = Claims(MemoryBackend())
        self.tickets = self.claims.backend.tickets
        self.now = 100.0
        self.watchers: list[Watcher] = []

    def session(self, name: str) -> Holder:
        return self.claims.sessions.register(name).holder

    def waiter(self, name: str, wanted: tuple[str, ...] = ("repo-x",), watches: bool = True) -> Waiting:
        me, watcher = self.session(name), Watcher(watches)
        self.watchers.append(watcher)

        def is_mine(lease: Lease) -> bool:
            return lease.session == name

        return Waiting(
            self.claims,
            "repo-x",
            wanted,
            lambda: claim_any(self.claims, wanted, me),
            watcher,
            is_mine,
            lambda: self.now,
            lambda: 0.5,
        )

    def line(self) -> list[str]:
        assert self.tickets
        return self.tickets.line("repo-x")

    def stranger(self, alive: bool = True) -> str:
        """The ticket of a process that never looks; one that runs, or has ended."""
        assert self.tickets
        process = self.claims.sessions.evidence.this_process()
        return self.tickets.take("repo-x", process if alive else process._replace(start="another"))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def pending(found: object) -> Pending:
    assert isinstance(found, Pending), found
    return found


def holder_of(found: object) -> str:
    held = pending(found).held
    assert held
    return held.lease.session


def test_what_is_free_is_won_at_the_first_look_and_nobody_lines_up(scene: Scene) -> None:
    assert isinstance(scene.waiter("w1").look(), Won)
    assert scene.line() == []


def test_what_another_holds_is_pending_and_won_once_it_is_released(scene: Scene) -> None:
    holder = scene.session("holder")
    scene.claims.claim("repo-x", holder)
    waiting = scene.waiter("w1")
    assert holder_of(waiting.look()) == "holder"
    assert len(scene.line()) == 1
    assert waiting.waits
    scene.claims.release("repo-x", holder)
    assert isinstance(waiting.look(), Won)
    assert scene.line() == []
    assert not waiting.waits


def test_they_are_served_in_the_order_in_which_they_came(scene: Scene) -> None:
    holder = scene.session("holder")
    scene.claims.claim("repo-x", holder)
    waiters = {name: scene.waiter(name) for name in ("w1", "w2", "w3")}
    for waiting in waiters.values():
        pending(waiting.look())
    scene.claims.release("repo-x", holder)
    served = []
    while waiters:
        for name, waiting in reversed(list(waiters.items())):  # The last one looks first, and must not have it.
            if not isinstance(waiting.look(), Pending):
                served.append(name)
                del waiters[name]
                scene.claims.release("repo-x", name)
                break
    assert served == ["w1", "w2", "w3"]


def test_a_newcomer_does_not_go_before_those_who_wait_for_what_is_free(scene: Scene) -> None:
    first = scene.stranger()
    waiting = scene.waiter("w1")
    found = pending(waiting.look())
    assert found.held is None
    assert scene.claims.show("repo-x").lease is None
    assert scene.line()[0] == first


def test_one_that_has_ended_is_passed_over_at_once(scene: Scene) -> None:
    scene.stranger(alive=False)
    scene.stranger(alive=False)
    assert isinstance(scene.waiter("w1").look(), Won)
    assert scene.line() == []


def test_one_that_has_ended_between_two_that_wait_is_passed_over(scene: Scene) -> None:
    scene.claims.claim("repo-x", scene.session("holder"))
    first = scene.waiter("w1")
    pending(first.look())
    scene.stranger(alive=False)
    second = scene.waiter("w2")
    pending(second.look())
    assert len(scene.line()) == 2


def test_one_that_does_not_take_its_turn_loses_it_after_a_while(scene: Scene) -> None:
    first = scene.stranger()
    waiting = scene.waiter("w1")
    assert pending(waiting.look()).pause <= 2.0
    scene.now += 1.9
    found = pending(waiting.look())
    assert 0 < found.pause <= 0.1 + 1e-6
    scene.now += 0.2
    assert isinstance(waiting.look(), Won)
    assert first not in scene.line()


def test_time_for_which_it_was_held_is_no_turn_that_was_missed(scene: Scene) -> None:
    holder = scene.session("holder")
    scene.claims.claim("repo-x", holder)
    first = scene.stranger()
    waiting = scene.waiter("w1")
    pending(waiting.look())
    scene.now += 100
    pending(waiting.look())
    scene.claims.release("repo-x", holder)
    pending(waiting.look())
    scene.now += 1.9
    scene.claims.claim("repo-x", holder)
    scene.claims.release("repo-x", holder)  # Somebody has had it meanwhile: the turn begins anew.
    pending(waiting.look())
    scene.now += 1.9
    pending(waiting.look())
    assert first in scene.line()


def test_a_waiter_further_behind_lets_the_second_go_first(scene: Scene) -> None:
    scene.stranger()
    second, third = scene.waiter("w2"), scene.waiter("w3")
    pending(second.look())
    pending(third.look())
    scene.now += 2.1
    pending(third.look())
    assert isinstance(second.look(), Won)


def test_when_all_before_it_are_stopped_it_passes_them_one_by_one(scene: Scene) -> None:
    scene.stranger()
    scene.stranger()
    waiting = scene.waiter("w3")
    pending(waiting.look())
    scene.now += 4.1
    assert isinstance(waiting.look(), Won)
    assert scene.line() == []


def test_one_that_has_lost_its_place_lines_up_anew(scene: Scene) -> None:
    assert scene.tickets
    holder = scene.session("holder")
    scene.claims.claim("repo-x", holder)
    first, second = scene.waiter("w1"), scene.waiter("w2")
    pending(first.look())
    pending(second.look())
    scene.tickets.give_back("repo-x", scene.line()[0])
    pending(first.look())
    assert len(scene.line()) == 2
    scene.claims.release("repo-x", holder)
    pending(first.look())
    assert isinstance(second.look(), Won)


def test_what_is_ours_already_is_ours_whoever_waits(scene: Scene) -> None:
    waiting = scene.waiter("w1")
    scene.claims.claim("repo-x", "w1")
    scene.stranger()
    assert isinstance(waiting.look(), Renewed)
    assert len(scene.line()) == 1


def test_what_becomes_ours_while_we_wait_is_ours(scene: Scene) -> None:
    holder = scene.session("holder")
    scene.claims.claim("repo-x", holder)
    scene.stranger()
    waiting = scene.waiter("w1")
    pending(waiting.look())
    scene.claims.release("repo-x", holder)
    scene.claims.claim("repo-x", "w1")
    assert isinstance(waiting.look(), Renewed)
    assert len(scene.line()) == 1


def test_a_waiter_that_stops_leaves_the_line(scene: Scene) -> None:
    scene.claims.claim("repo-x", scene.session("holder"))
    waiting = scene.waiter("w1")
    pending(waiting.look())
    waiting.stop()
    assert scene.line() == []


def test_the_free_one_of_several_that_will_do_is_won(scene: Scene) -> None:
    scene.claims.claim("repo-x#1", scene.session("a"))
    second = scene.session("b")
    scene.claims.claim("repo-x#2", second)
    waiting = scene.waiter("w1", ("repo-x#1", "repo-x#2"))
    pending(waiting.look())
    scene.claims.release("repo-x#2", second)
    found = waiting.look()
    assert isinstance(found, Won)
    assert found.lease.name == "repo-x#2"


def test_a_holder_of_one_of_several_has_it_though_another_is_free_and_somebody_is_first(scene: Scene) -> None:
    waiting = scene.waiter("w1", ("repo-x#1", "repo-x#2"))
    scene.claims.claim("repo-x#2", "w1")
    scene.stranger()
    assert isinstance(waiting.look(), Renewed)
    assert len(scene.line()) == 1


def test_a_ticket_that_is_not_listed_yet_is_given_back_before_another_is_taken(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that, the first would be of a process that lives and of nobody who waits."""
    assert scene.tickets
    scene.claims.claim("repo-x", scene.session("holder"))
    waiting = scene.waiter("w1")
    line, listed = scene.tickets.line, [0]

    def late(claim: str) -> list[str]:
        """The listing after the first ticket has been taken is an old one."""
        listed[0] += 1
        return [] if listed[0] == 3 else line(claim)

    with monkeypatch.context() as patched:
        patched.setattr(scene.tickets, "line", late)
        pending(waiting.look())
    assert len(scene.line()) == 1
    waiting.stop()
    assert scene.line() == []


@pytest.mark.parametrize("late", [False, True], ids=["at its turn", "when time is over"])
def test_interrupted_while_it_leaves_the_line_it_has_won_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    def interrupt(claim: str, ticket: str) -> None:
        raise KeyboardInterrupt

    assert scene.tickets
    holder, me, watcher = scene.session("holder"), scene.session("w1"), Watcher()
    scene.claims.claim("repo-x", holder)
    waiting = waiter(scene.claims, "repo-x", me, 0, watcher)
    pending(waiting.look())
    scene.claims.release("repo-x", holder)
    monkeypatch.setattr(scene.tickets, "give_back", interrupt)
    with pytest.raises(KeyboardInterrupt):
        (waiting.last_look if late else waiting.look)()
    assert scene.claims.show("repo-x").lease is None


def test_a_block_that_is_interrupted_while_it_leaves_the_line_has_won_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = Claims.open(str(tmp_path))
    gone = claims.sessions.evidence.this_process()._replace(start="another")
    tickets = claims.backend.tickets
    assert isinstance(tickets, TicketFiles)
    first, give_back = tickets.take("repo-x", gone), TicketFiles.give_back

    def interrupt(self: TicketFiles, claim: str, ticket: str) -> None:
        give_back(self, claim, ticket)
        if ticket != first:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TicketFiles, "give_back", interrupt)
        with pytest.raises(KeyboardInterrupt), hold("repo-x", data_dir=str(tmp_path), timeout=60):
            pytest.fail("it has been entered")
    assert claims.show("repo-x").lease is None
    with hold("repo-x", data_dir=str(tmp_path)) as block:
        assert block.generation == 3


@pytest.fixture
def others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every waiter is of another process."""
    monkeypatch.setattr(Waiting, "_is_this_process", lambda self, waiter: False)


@pytest.mark.usefixtures("others_wait")
def test_pauses_are_long_where_news_is_heard_and_grow_to_a_limit_where_none_is(scene: Scene) -> None:
    scene.claims.claim("repo-x", scene.session("holder"))
    notified, blind, behind = scene.waiter("w1"), scene.waiter("w2", watches=False), scene.waiter("w3", watches=False)
    assert pending(notified.look()).pause == 2.0
    second = [pending(blind.look()).pause for _ in range(40)]
    assert second[0] == 0.001
    assert second == sorted(second)
    assert second[-1] == 0.02
    third = [pending(behind.look()).pause for _ in range(40)]
    assert third[-1] == 0.5


@pytest.mark.usefixtures("others_wait")
def test_the_first_in_line_follows_the_holder_and_the_others_those_before_them(scene: Scene) -> None:
    scene.claims.claim("repo-x", scene.session("holder"))
    first, second = scene.waiter("w1"), scene.waiter("w2")
    pending(first.look())
    pending(second.look())
    by_holder, by_waiter = (watcher.process for watcher in scene.watchers)
    assert by_holder
    assert by_holder.session == "holder"
    assert by_waiter
    assert by_waiter.session == ""


class Settles(MemoryEngine):
    """It was restarted, and may have lost something."""

    left = 7.5

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        if kind == CLAIM and self.left:
            raise Settling("it was restarted", self.left)
        return super().advance(kind, key, after, data, not_after=not_after)


def test_who_waits_waits_on_while_the_store_settles_and_who_does_not_is_told(scene: Scene) -> None:
    engine = Settles()
    scene.claims = Claims(OnEngine(engine, "far"))
    me, waiting = scene.session("me"), scene.waiter("w1")
    assert waiting.look() == Pending(None, 7.5)
    with pytest.raises(Settling, match="claim repo-x: it was restarted"):
        scene.claims.claim("repo-x", me)
    with pytest.raises(Settling):
        waiting.last_look()
    engine.left = 0.0
    assert isinstance(waiting.look(), Won)


class Unordered(MemoryBackend):
    def __init__(self) -> None:
        super().__init__()
        self.tickets = None


class Priced(MemoryEngine):
    """Far away, and without lines, as a bucket is."""

    local = has_lines = False


@pytest.mark.usefixtures("others_wait")
def test_without_lines_who_waits_far_away_looks_every_two_seconds_in_the_end(scene: Scene) -> None:
    scene.claims = Claims(OnEngine(Priced(), "far"))
    scene.claims.claim("repo-x", scene.session("holder"))
    waiting = scene.waiter("w1")
    pauses = [pending(waiting.look()).pause for _ in range(40)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.05, 2.0)


def test_without_tickets_it_asks_again_and_again(scene: Scene) -> None:
    scene.claims = Claims(Unordered())
    holder = scene.session("holder")
    scene.claims.claim("repo-x", holder)
    waiting = scene.waiter("w1")
    pauses = [pending(waiting.look()).pause for _ in range(3)]
    assert pauses == sorted(pauses)
    scene.claims.release("repo-x", holder)
    assert isinstance(waiting.look(), Won)


class TestRun:
    """A wait from its beginning to its end."""

    def test_it_ends_when_it_is_won(self, scene: Scene) -> None:
        holder = scene.session("holder")
        scene.claims.claim("repo-x", holder)
        waiting = scene.waiter("w1")
        (watcher,) = scene.watchers
        watcher.on_wait = lambda: scene.claims.release("repo-x", holder)
        assert isinstance(run(waiting, watcher, None), Won)
        assert len(watcher.waited) == 1

    def test_when_time_is_over_it_says_who_holds_it_and_leaves_the_line(self, scene: Scene) -> None:
        scene.claims.claim("repo-x", scene.session("holder"))
        waiting = scene.waiter("w1")
        found = run(waiting, scene.watchers[0], 0.01)
        assert isinstance(found, Held)
        assert found.lease.session == "holder"
        assert scene.line() == []

    def test_when_time_is_over_what_is_free_is_taken_whoever_is_first(self, scene: Scene) -> None:
        scene.stranger()
        assert isinstance(run(scene.waiter("w1"), scene.watchers[0], 0.01), Won)

    def test_interrupted_it_leaves_the_line(self, scene: Scene) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        scene.claims.claim("repo-x", scene.session("holder"))
        waiting = scene.waiter("w1")
        (watcher,) = scene.watchers
        watcher.on_wait = interrupt
        with pytest.raises(KeyboardInterrupt):
            run(waiting, watcher, None)
        assert scene.line() == []

    def test_interrupted_while_it_leaves_the_line_it_leaves_it_all_the_same(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        holder = scene.session("holder")
        scene.claims.claim("repo-x", holder)
        waiting = scene.waiter("w1")
        (watcher,) = scene.watchers
        watcher.on_wait = lambda: scene.claims.release("repo-x", holder)
        assert scene.tickets
        give_back, interrupted = scene.tickets.give_back, list[str]()

        def interrupt(claim: str, ticket: str) -> None:
            if not interrupted:
                interrupted.append(ticket)
                raise KeyboardInterrupt
            give_back(claim, ticket)

        monkeypatch.setattr(scene.tickets, "give_back", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(waiting, watcher, None)
        assert len(interrupted) == 1
        assert scene.line() == []
