"""How often `looop watch` looks, by a scripted clock, and what it makes of a store that does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from looop_portable.cli.verbs.show import watching
from looop_portable.cli.verbs.show.watching import looking
from looop_portable.cli.verbs.show.watching.looking import Looker, Seen
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Lease
from looop_portable.protocol.standings import Standing

ALIVE, DEAD = Verdict(Liveness.ALIVE, "it runs"), Verdict(Liveness.DEAD, "it is gone")


class Over(BaseException):
    """So much time has been looked at."""


class World:
    """A clock, a store in which a look takes `costs` seconds, and a watcher that is woken at `news`."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, costs: float, news: Iterable[float] = (), until: float = 200.0
    ) -> None:
        self.now, self.spent, self.costs, self.until = 100.0, 0.0, costs, 100.0 + until
        self.news = [100.0 + each for each in news]
        self.looks: list[float] = []
        self.verdict = ALIVE
        self.error: Exception | None = None
        self.at_each_wait: Callable[[], object] = bool
        self.told: list[Seen | None] = []
        monkeypatch.setattr(looking, "elapsed", lambda: self.now)
        monkeypatch.setattr(looking, "time", SimpleNamespace(thread_time=lambda: self.spent, sleep=self.sleep))
        monkeypatch.setattr(looking, "new_watcher", lambda: self)
        backend = SimpleNamespace(directory=None, tickets=None)
        sessions = SimpleNamespace(verdict=self.judge)
        claims: Any = SimpleNamespace(backend=backend, sessions=sessions, list=self.list)
        self.looker = Looker(claims, 2.0, lambda: self.told.append(self.looker.seen))

    def list(self) -> list[Status]:
        self.looks.append(self.now - 100)
        self._work(self.costs)
        if self.error:
            raise self.error
        return [Status("a", 1, Lease("a", "s", "i", 1), self.verdict, Standing.HELD)]

    def judge(self, *_: str) -> Verdict:
        self._work(0.001)
        return self.verdict

    def forget(self) -> None:
        self.news = [each for each in self.news if each > self.now]

    def wait(self, seconds: float) -> None:
        self.at_each_wait()
        self.sleep(max(0.0, min([seconds, *(each - self.now for each in self.news)])))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.until:
            raise Over

    def run(self) -> None:
        self.looker._run()
        assert isinstance(self.looker.failed, Over)

    def _work(self, seconds: float) -> None:
        self.spent += seconds
        self.now += seconds


def test_while_nothing_changes_many_claims_take_a_hundredth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, costs=0.4)
    world.run()
    assert world.spent / 200 < 0.015
    assert len(world.looks) >= 4


def test_few_claims_are_looked_at_in_each_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, costs=0.002)
    world.run()
    assert 95 <= len(world.looks) <= 101


def test_news_is_looked_at_at_once_and_no_more_than_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, costs=0.002, news=[1.0], until=2.5)
    world.run()
    assert 1.0 <= world.looks[1] <= 1.1
    world = World(monkeypatch, costs=0.4, news=[number / 10 for number in range(2000)])
    world.run()
    assert 0.05 < world.spent / 200 < 0.12


def test_a_death_is_looked_at_though_nothing_tells_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, costs=0.4, until=30)

    def die() -> None:
        if world.now > 110:
            world.verdict = DEAD

    world.at_each_wait = die
    world.run()
    assert len(world.looks) == 2
    assert 10 < world.looks[1] < 15
    assert world.looker.seen
    assert world.looker.seen.found[0].verdict == DEAD


def test_a_store_that_does_not_answer_is_looked_at_again_and_what_was_known_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, costs=0.002, until=60)

    def change() -> None:
        world.error = Unavailable("the disk is gone") if 110 < world.now < 140 else None

    world.at_each_wait = change
    world.run()
    troubles = [(seen.trouble, len(seen.found)) for seen in world.told if seen]
    assert ("the disk is gone", 1) in troubles
    assert troubles[-1] == ("", 1)
    assert len(world.looks) > 25


def test_a_store_that_does_not_answer_at_first_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, costs=0.002)
    world.error = Unavailable("the disk is gone")
    world.looker._run()
    assert world.looker.failed is world.error


def test_a_look_that_takes_long_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "elapsed", lambda: 107.0)
    for since, told in ((None, ""), (106.0, ""), (100.0, "the store has not answered for 7 s")):
        looker: Any = SimpleNamespace(seen=None, looks_since=since)
        assert watching._trouble(looker) == told
    looker = SimpleNamespace(seen=Seen([], {}, "it is gone", 102.0), looks_since=None)
    assert watching._trouble(looker) == "cannot be read, for 5 s: it is gone"
