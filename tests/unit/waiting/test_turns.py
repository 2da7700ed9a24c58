"""Those who wait where others cannot see them: on other hosts, in other containers. With a clock of the test's."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.capabilities import NativeBackend

from looop_portable import Claims, Won
from looop_portable.backends.directory.tickets import TicketFiles
from looop_portable.protocol.records import Registration
from looop_portable.waiting.attempts import claim_any
from looop_portable.waiting.waiter import Waiting
from looop_portable.waiting.waits import Pending

ELSEWHERE = Registration("", "", 7, "start", "boot of another", "pid:[1]", "another host")


class Watcher:
    """Hears nothing."""

    def watch(self, paths: object) -> bool:
        return False

    def follow(self, process: object) -> bool:
        return False

    def forget(self) -> None:
        """Nothing wakes here."""

    def wake(self) -> None:
        """Nobody sleeps here."""


class Scene:
    """A claim that is free, and a line of processes that cannot see each other."""

    def __init__(self, directory: Path) -> None:
        self.claims = Claims(NativeBackend(str(directory)))
        assert self.claims.backend.tickets
        self.tickets = self.claims.backend.tickets
        self.now = 100.0

    def strangers(self, many: int) -> list[str]:
        """Tickets of waiters of whom nothing is known, and who do nothing."""
        return [self.tickets.take("n", ELSEWHERE) for _ in range(many)]

    def waiter(self, name: str) -> Waiting:
        me = self.claims.sessions.register(name).holder
        attempt = lambda: claim_any(self.claims, ["n"], me)  # noqa: E731
        return Waiting(self.claims, "n", ["n"], attempt, Watcher(), clock=lambda: self.now, chance=lambda: 0.5)

    def at(self, seconds: float) -> None:
        self.now = 100.0 + seconds


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """All who wait take each other for processes of other hosts."""
    made = Scene(tmp_path)
    monkeypatch.setattr(Waiting, "_is_this_process", lambda self, waiter: False)
    monkeypatch.setattr(made.claims.sessions.evidence, "is_seen", lambda waiter: False)
    monkeypatch.setattr(made.claims.sessions.evidence, "has_left", lambda waiter: False)
    return made


@pytest.mark.parametrize(("far", "turn"), [(False, 2.0), (True, 6.0)])
def test_all_that_show_no_life_miss_their_turn_together(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, far: bool, turn: float
) -> None:
    monkeypatch.setattr(TicketFiles, "far", lambda self: far)
    scene.strangers(15)
    waiting = scene.waiter("w1")
    assert isinstance(waiting.look(), Pending)
    scene.at(turn - 0.1)
    found = waiting.look()
    assert isinstance(found, Pending)
    assert 0 < found.pause <= 0.1 + 1e-6
    scene.at(turn + 0.1)
    assert isinstance(waiting.look(), Won)
    assert scene.tickets.line("n") == []


def test_one_that_shows_that_it_lives_is_not_passed(scene: Scene) -> None:
    scene.strangers(3)
    first, second = scene.waiter("w1"), scene.waiter("w2")
    assert isinstance(second_to_none := first.look(), Pending)
    assert second_to_none.pause < 1  # It looks twice in a turn, at least.
    assert isinstance(second.look(), Pending)
    scene.at(0.9)
    assert isinstance(first.look(), Pending)
    scene.at(2.1)
    assert isinstance(second.look(), Pending)
    assert len(scene.tickets.line("n")) == 5
    assert isinstance(first.look(), Won)


def test_one_that_noticed_later_is_not_passed_if_it_shows_that_it_lives(scene: Scene) -> None:
    held = scene.claims.sessions.register("holder").holder
    scene.claims.claim("n", held)
    scene.strangers(3)
    first, second = scene.waiter("w1"), scene.waiter("w2")
    assert isinstance(first.look(), Pending)
    scene.claims.release("n", held)
    assert isinstance(second.look(), Pending)
    scene.at(0.6)
    assert isinstance(first.look(), Pending)
    scene.at(1.2)
    assert isinstance(first.look(), Pending)
    scene.at(2.1)
    assert isinstance(second.look(), Pending)
    scene.at(2.7)
    assert isinstance(first.look(), Won)


def test_one_that_is_stopped_is_passed_with_the_others_and_lines_up_anew(scene: Scene) -> None:
    scene.strangers(3)
    first, second = scene.waiter("w1"), scene.waiter("w2")
    assert isinstance(first.look(), Pending)
    assert isinstance(second.look(), Pending)
    scene.at(2.1)
    found = second.look()
    assert isinstance(found, Won)
    assert isinstance(first.look(), Pending)
    assert len(scene.tickets.line("n")) == 1
    scene.claims.release_lease(found.lease)
    assert isinstance(first.look(), Won)


def test_one_that_is_seen_and_noticed_later_goes_past_a_stopped_one_before_who_is_behind_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is further behind may look just after the release, and the one ahead of it only two seconds later."""
    monkeypatch.setattr(scene.claims.sessions.evidence, "is_seen", lambda waiter: True)
    held = scene.claims.sessions.register("holder").holder
    scene.claims.claim("n", held)
    scene.strangers(1)
    second, third = scene.waiter("w2"), scene.waiter("w3")
    assert isinstance(second.look(), Pending)
    scene.claims.release("n", held)
    assert isinstance(third.look(), Pending)
    scene.at(2.4)
    assert isinstance(second.look(), Pending)
    scene.at(4.1)
    assert isinstance(third.look(), Pending)
    scene.at(4.5)
    assert isinstance(second.look(), Won)


def test_when_a_stopped_one_is_passed_who_is_behind_leaves_the_next_its_turn(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one less before it, it had waited for long enough at once, and took the claim in between."""
    monkeypatch.setattr(scene.claims.sessions.evidence, "is_seen", lambda waiter: True)
    (stopped,) = scene.strangers(1)
    second, third = scene.waiter("w2"), scene.waiter("w3")
    assert isinstance(second.look(), Pending)
    assert isinstance(third.look(), Pending)
    scene.at(2.1)
    scene.tickets.give_back("n", stopped)  # As `second` does, before it claims.
    assert isinstance(third.look(), Pending)
    scene.at(4.0)
    assert isinstance(third.look(), Pending)
    assert isinstance(second.look(), Won)


def test_two_that_live_go_past_one_after_the_other(scene: Scene) -> None:
    """The one behind waits for the turn of each that lives before it, and no longer."""
    scene.strangers(2)
    waiters = [scene.waiter(f"w{number}") for number in range(3)]
    for waiting in waiters:
        assert isinstance(waiting.look(), Pending)
    scene.at(1)
    for waiting in waiters:
        assert isinstance(waiting.look(), Pending)
    scene.at(6.9)
    assert isinstance(waiters[2].look(), Pending)
    scene.at(7.1)  # The two others have not come since.
    assert isinstance(waiters[2].look(), Won)
