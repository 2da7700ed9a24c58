"""Since when there is a session, while the system's clock runs as evenly as the one that nobody sets."""

from __future__ import annotations

import pytest
from support.beating import DictSessions

from looop_portable.backends.base import SessionStore
from looop_portable.protocol.records import Registration
from looop_portable.sessions.births import Births

STAMP = 5_000_000_000_000


class Store(DictSessions):
    def stamp(self, session: str, generation: int) -> int:
        return STAMP if (session, generation) == ("s", 1) else 0


class Clocks:
    def __init__(self) -> None:
        self.wall, self.even = 5001.0, 100.0
        self.births = Births(lambda: self.wall, lambda: self.even)

    def pass_by(self, seconds: float, by_the_wall: float | None = None) -> None:
        self.even += seconds
        self.wall += seconds if by_the_wall is None else by_the_wall


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


REGISTRATION = Registration("s", "i", 1, disk="linux tmpfs 1")


def test_it_is_a_little_before_its_record_was_written(clocks: Clocks) -> None:
    clocks.births.note(Store(), REGISTRATION, 1)
    assert STAMP - 50_000_000 < clocks.births.since(REGISTRATION.holder) < STAMP


@pytest.mark.parametrize("store", [Store(), DictSessions()])
def test_it_is_not_known_of_others_nor_where_nothing_tells(store: SessionStore, clocks: Clocks) -> None:
    clocks.births.note(store, REGISTRATION, 2)
    clocks.births.note(store, REGISTRATION._replace(disk=""), 1)
    assert clocks.births.since(REGISTRATION.holder) == 0


def test_a_clock_that_is_slewed_or_set_forward_makes_it_no_later(clocks: Clocks) -> None:
    clocks.births.note(Store(), REGISTRATION, 1)
    clocks.pass_by(3600, 3600 - 1.8)
    assert 0 < clocks.births.since(REGISTRATION.holder) < STAMP - 1_800_000_000
    clocks.pass_by(1, 5000)
    assert 0 < clocks.births.since(REGISTRATION.holder) < STAMP - 1_800_000_000


def test_after_a_clock_was_set_back_it_is_not_known_any_more(clocks: Clocks) -> None:
    clocks.births.note(Store(), REGISTRATION, 1)
    clocks.pass_by(10, -3600)
    clocks.births.look(REGISTRATION.holder)
    clocks.pass_by(10, 3630)
    assert clocks.births.since(REGISTRATION.holder) == 0


def test_sessions_that_came_and_went_leave_nothing(clocks: Clocks) -> None:
    for number in range(1000):
        clocks.births.note(Store(), REGISTRATION._replace(incarnation=f"i{number}"), 1)
        assert clocks.births.since(REGISTRATION._replace(incarnation=f"i{number}").holder)
    assert sum(bool(clocks.births.since(REGISTRATION._replace(incarnation=f"i{n}").holder)) for n in range(1000)) <= 100


def test_it_is_not_known_where_the_clock_was_set_back_in_that_moment(clocks: Clocks) -> None:
    clocks.wall = 4999.0
    clocks.births.note(Store(), REGISTRATION, 1)
    assert clocks.births.since(REGISTRATION.holder) == 0
