"""The count that a share keeps, and what several hosts' reports say together."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from looop_portable.doctor.findings import Race
from looop_portable.doctor.hosts import meeting
from looop_portable.doctor.hosts.meeting import race_across
from looop_portable.doctor.hosts.tally import report, together
from looop_portable.doctor.race.turnstile import LIMIT, Turnstile
from looop_portable.doctor.workshop import HOSTS
from looop_portable.errors import Unavailable
from looop_portable.system.files import OS


def test_turns_that_follow_each_other_are_counted_and_alone(tmp_path: Path) -> None:
    one, two = Turnstile(str(tmp_path)), Turnstile(str(tmp_path))
    for number in range(1, 11):
        turnstile = (one, two)[number % 2]
        assert turnstile.enter() == (number, True)
        turnstile.leave(number)


def test_a_racer_that_comes_in_while_another_is_inside_is_told(tmp_path: Path) -> None:
    one, two, three = (Turnstile(str(tmp_path)) for _ in range(3))
    assert one.enter() == (1, True)
    assert two.enter() == (2, False)
    one.leave(1)
    assert three.enter() == (3, False)
    two.leave(2)
    three.leave(3)
    assert one.enter() == (4, True)


def test_an_old_listing_costs_tries_and_is_no_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Turnstile(str(tmp_path)), Turnstile(str(tmp_path))
    for _ in range(3):
        one.leave(one.enter()[0])
    old = ["1.in"]  # As a host may see it that has looked before.
    monkeypatch.setattr(OS, "list", lambda path: old, raising=False)
    assert two.enter() == (4, True)
    assert one.enter() == (5, False)


def test_a_lost_reply_is_no_other_s_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = OS.create

    def deaf(path: str, data: bytes) -> None:
        real(path, data)
        raise FileExistsError(path)  # What a second try meets that the system made by itself.

    monkeypatch.setattr(OS, "create", deaf, raising=False)
    turnstile = Turnstile(str(tmp_path))
    assert turnstile.enter() == (1, True)
    turnstile.leave(1)
    assert turnstile.enter() == (2, True)


def test_it_is_full_at_its_limit(tmp_path: Path) -> None:
    (tmp_path / f"{LIMIT - 1}.in").touch()
    (tmp_path / f"{LIMIT - 1}.out").touch()
    turnstile = Turnstile(str(tmp_path))
    assert not turnstile.full
    assert turnstile.enter() == (LIMIT, True)
    assert turnstile.full


RACE = Race("auto", 2, 2.0, 3)
ONE, TWO = [(1, 1), (2, 3), (5, 9)], [(3, 5), (4, 7), (6, 11)]


def reported(host: str, turns: list[tuple[int, int]], **fields: Any) -> dict[str, object]:
    found = json.loads(json.dumps(report(host, RACE._replace(acquisitions=len(turns), **fields), turns)))
    assert isinstance(found, dict)
    return found


def test_reports_that_fit_are_exact() -> None:
    found = together([reported("a", ONE), reported("b", TWO)])
    assert (found.hosts, found.per_host, found.processes, found.seconds) == (("a", "b"), (3, 3), 4, 2.0)
    assert (found.turns, found.overlaps, found.repeats, found.miscounted) == (6, 0, 0, "")
    assert (found.backend, found.refused, found.failures) == ("auto", "", ())


@pytest.mark.parametrize(
    ("two", "field", "value"),
    [
        ([(3, 5), (5, 7), (6, 11)], "overlaps", 1),  # Two have had turn 5.
        ([(3, 5), (4, 5), (6, 11)], "repeats", 1),
        ([(3, 5), (4, 10), (6, 11)], "repeats", 1),
        ([(3, 5), (6, 11)], "miscounted", "turn 4 of 5 is missing"),
    ],
)
def test_reports_that_do_not_fit_say_so(two: list[tuple[int, int]], field: str, value: object) -> None:
    assert getattr(together([reported("a", ONE), reported("b", two)]), field) == value


def test_what_one_host_has_seen_is_everybody_s() -> None:
    reports = [reported("a", ONE, overlaps=2, failures=("EIO",)), reported("b", TWO, refused="no guard")]
    found = together(reports)
    assert (found.overlaps, found.refused, found.failures) == (2, "b: no guard", ("a: EIO",))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How long those who wait for others have slept: no time passes but this."""
    slept: list[float] = []
    monkeypatch.setattr(meeting, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))
    yield slept
    assert slept


def alone(directory: Path, told: list[str]) -> None:
    race_across(str(directory), "auto", 2, 0.1, 2, 1.0, told.append)


@pytest.mark.usefixtures("pauses")
def test_hosts_that_do_not_come_are_named_as_missing(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(Unavailable, match=r"1 of 2 hosts did not come within 1 s .* --with-hosts 2 on each"):
        alone(tmp_path, told)
    assert len(told) == 1
    assert told[0].startswith("1 of 2 hosts are here (")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("pauses")
def test_a_host_that_has_been_silent_for_long_was_killed_and_does_not_count(tmp_path: Path) -> None:
    place = tmp_path / HOSTS
    place.mkdir()
    dead = place / "here-host9-1-0123"
    dead.touch()
    long_ago = time.time() - 100
    os.utime(dead, (long_ago, long_ago))
    with pytest.raises(Unavailable, match="1 of 2 hosts did not come"):
        alone(tmp_path, [])
    assert [path.name for path in place.iterdir() if path.name != "pulse"] == [dead.name]


def test_more_than_were_expected_are_named(tmp_path: Path) -> None:
    place = tmp_path / HOSTS
    place.mkdir()
    for number in (1, 2):
        (place / f"here-host{number}-1-0123").touch()
    with pytest.raises(Unavailable, match=r"3 hosts are here \(.*host1-1, host2-1.*\), and 2 were expected"):
        alone(tmp_path, [])


@pytest.mark.usefixtures("pauses")
def test_one_that_leaves_in_the_middle_is_named(tmp_path: Path) -> None:
    place = tmp_path / HOSTS
    place.mkdir()
    other = place / "here-host9-1-0123"
    other.touch()

    def hear(line: str) -> None:
        if line.startswith("racing"):
            other.unlink()

    with pytest.raises(Unavailable, match="host9-1 has left before it was ready"):
        race_across(str(tmp_path), "auto", 2, 0.1, 2, 30.0, hear)
    assert os.listdir(tmp_path) == []
