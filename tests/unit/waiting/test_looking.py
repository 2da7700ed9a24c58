"""Waiting until a claim can be had: it subscribes as a claimer does, takes nothing, and leaves nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from support.capabilities import NATIVE

from looop_portable import Claims, Held, Status
from looop_portable.errors import UsageError
from looop_portable.protocol.records import Registration
from looop_portable.waiting.looking import Looking, wait_until_free
from looop_portable.waiting.waits import Pending


class Watcher:
    def __init__(self) -> None:
        self.followed: list[Registration | None] = []
        self.woken = 0

    def watch(self, paths: Iterable[str]) -> bool:
        return True

    def follow(self, process: Registration | None) -> bool:
        self.followed.append(process)
        return process is not None

    def forget(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    """In which `me` holds n."""
    found = Claims.open(str(tmp_path), NATIVE)
    found.claim("n", found.sessions.register("me").holder)
    return found


def test_it_is_woken_as_a_claimer_is_and_stands_in_no_line(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    tickets, subscribed = claims.backend.tickets, []
    assert tickets

    def subscribe(watcher: object, names: Sequence[str], ticket: str = "", *, foreign: bool = False) -> bool:
        subscribed.append((list(names), ticket))
        return True

    monkeypatch.setattr(tickets, "subscribe", subscribe)
    looking = Looking(claims, ["n"], watcher := Watcher(), chance=lambda: 0.5)
    found = looking.look()
    assert isinstance(found, Pending)
    assert found.held
    assert found.held.lease.session == "me"
    assert found.pause == 2.0  # As long as for who hears of everything.
    assert subscribed == [(["n"], "")]
    assert [each.session for each in watcher.followed if each] == ["me"]
    assert tickets.line("n") == []
    claims.release("n", "me")
    assert watcher.woken == 1
    assert isinstance(free := looking.look(), Status)
    assert (free.name, free.generation, free.lease) == ("n", 2, None)
    looking.stop()
    assert subscribed[-1] == ([], "")


def test_a_release_in_between_two_looks_is_seen(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after the first look, and before anything is subscribed to."""
    tickets = claims.backend.tickets
    assert tickets

    def subscribe(*args: object, **options: object) -> bool:
        claims.release("n", "me")
        return True

    monkeypatch.setattr(tickets, "subscribe", subscribe)
    assert isinstance(Looking(claims, ["n"], Watcher()).look(), Status)


def test_another_thread_s_release_ends_it(claims: Claims) -> None:
    found: list[Status | Held] = []
    waiter = threading.Thread(target=lambda: found.append(wait_until_free(claims, "n", 60)))
    waiter.start()
    claims.release("n", "me")
    waiter.join(60)
    assert isinstance(found[0], Status)


def test_when_time_is_over_it_says_who_holds(claims: Claims) -> None:
    for seconds in (0, 0.05):
        held = wait_until_free(claims, "n", seconds)
        assert isinstance(held, Held)
        assert held.lease.session == "me"
    with pytest.raises(UsageError):
        wait_until_free(claims, "n", -2)
