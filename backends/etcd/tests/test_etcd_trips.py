"""How often the network is crossed, counted where requests are sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from support.servers.etcd import Etcd

from looop_portable.backends.engine import BEAT, CLAIM, SESSION, TICKET, Heard, Look, Record
from looop_portable.system.clock import elapsed
from looop_portable_etcd.engine import EtcdEngine
from looop_portable_etcd.wire import Call, Wire

Opened = Callable[..., EtcdEngine]
Trips = Callable[[Callable[[], object]], int]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    sent: list[Sequence[Call]] = []
    send = Wire.send

    def count(wire: Wire, calls: Sequence[Call], headers: str, end: float) -> None:
        sent.append(calls)
        send(wire, calls, headers, end)

    monkeypatch.setattr(Wire, "send", count)

    def counted(call: Callable[[], object]) -> int:
        sent.clear()
        call()
        return len(sent)

    return counted


def advanced(engine: EtcdEngine, kind: str, key: str, after: int, data: bytes) -> bool:
    return engine.advance(kind, key, after, data, not_after=elapsed() + 5).won


def holds(word: str) -> bytes:
    return json.dumps({"word": word}).encode()


def test_a_new_process_claims_in_two_and_releases_in_one(server: Etcd, opened: Opened, trips: Trips) -> None:
    engine = opened(server)
    assert trips(lambda: engine.look("x")) == 1
    assert trips(lambda: advanced(engine, CLAIM, "x", 0, holds("s/i"))) == 1
    assert trips(lambda: advanced(engine, CLAIM, "x", 1, b"{}")) == 1
    assert trips(lambda: advanced(engine, CLAIM, "x", 1, b"{}")) == 1, "whoever loses is told what stands in the same trip"
    assert trips(lambda: advanced(engine, CLAIM, "x", 2, holds("s/i"))) == 1


def test_whoever_claims_without_a_look_first_needs_one_more(server: Etcd, opened: Opened, trips: Trips) -> None:
    engine = opened(server)
    assert trips(lambda: advanced(engine, CLAIM, "x", 0, b"{}")) == 2


def test_each_other_method_is_one(server: Etcd, opened: Opened, trips: Trips) -> None:
    engine = opened(server)
    for call in (
        lambda: engine.read(CLAIM, "x"),
        lambda: engine.beat("s/i", 30),
        lambda: engine.beat("s/i", 30),
        lambda: engine.heard("s/i"),
        lambda: opened(server).heard("s/i"),
        lambda: engine.heard("nobody"),
        lambda: engine.forget(BEAT, "s/i"),
        lambda: engine.forget(TICKET, "x"),
    ):
        assert trips(call) == 1


def test_a_scan_is_one_per_thousand(server: Etcd, opened: Opened, trips: Trips) -> None:
    engine = opened(server)
    for number in range(30):
        advanced(engine, TICKET, f"x/{number:03}", 0, b"t")
    assert trips(lambda: engine.scan(TICKET)) == 1


def test_a_survey_is_one_per_thousand_and_one_per_120_that_hold(server: Etcd, opened: Opened, trips: Trips) -> None:
    engine = opened(server)
    for number in range(130):
        word = f"s{number}/i"
        assert trips(partial(engine.report, f"s{number}", word, 30)) == 1
        assert advanced(engine, SESSION, f"s{number}", 0, holds(word))
        assert advanced(engine, CLAIM, f"{number}", 0, holds(word))
        assert advanced(engine, CLAIM, f"{number}a", 0, holds(f"s{number % 2}/i"))
    pages: list[list[tuple[str, Look]]] = []
    assert trips(lambda: pages.append(engine.survey(CLAIM))) == 3
    assert trips(lambda: pages.append(engine.survey(CLAIM, "129", 1))) == 2
    assert trips(lambda: pages.append(engine.survey(SESSION, "s90", 9))) == 2
    assert [len(page) for page in pages] == [260, 1, 9]
    known: dict[str, tuple[Record, Heard | None]] = {}
    assert trips(partial(engine.survey, CLAIM, "", 100, known)) == 2
    assert trips(partial(engine.survey, CLAIM, "", 100, known)) == 1, "what an earlier page has told is not asked again"
    assert all(found.session.number == 1 and found.heard for page in pages for _, found in page)


def test_a_session_begins_with_one(server: Etcd, opened: Opened, trips: Trips) -> None:
    engine = opened(server)
    assert trips(lambda: engine.report("s", "s/i", 30)) == 1
    assert trips(lambda: engine.report("s", "s/i", 30)) == 1


def test_a_look_at_the_same_holder_again_is_one(server: Etcd, opened: Opened, trips: Trips) -> None:
    engine, waiter = opened(server), opened(server)
    assert waiter.look("x") == Look(Record(0, b""))
    advanced(engine, CLAIM, "x", 0, holds("s/i"))
    advanced(engine, SESSION, "s", 0, b"registered")
    engine.beat("s/i", 30)
    looks: list[Look] = []
    assert trips(lambda: looks.append(waiter.look("x"))) == 2
    assert trips(lambda: looks.append(waiter.look("x"))) == 1
    for each in looks:
        assert each.claim == Record(1, holds("s/i"))
        assert each.session == Record(1, b"registered")
        assert each.heard
        assert each.heard.seconds <= 1
    assert looks[0].heard == looks[1].heard


def test_a_look_never_takes_one_holder_for_another(server: Etcd, opened: Opened) -> None:
    engine, waiter = opened(server), opened(server)
    for number, who in enumerate(("s", "t", "s", "u")):
        advanced(engine, CLAIM, "x", number, holds(f"{who}/i"))
        advanced(engine, SESSION, who, 0, who.encode())
        if who == "t":
            engine.beat("t/i", 30)
        seen = waiter.look("x")
        assert seen.session.data == who.encode()
        assert (seen.heard is not None) == (who == "t")


def test_idle_waiters_make_no_leases(server: Etcd, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look costs the cluster no write, but for the first one of a process."""
    engine, sent = opened(server), list[str]()
    engine.look("x")
    send = Wire.send

    def see(wire: Wire, calls: Sequence[Call], headers: str, end: float) -> None:
        sent.extend(each.path for each in calls)
        send(wire, calls, headers, end)

    monkeypatch.setattr(Wire, "send", see)
    clock = elapsed() + 60
    monkeypatch.setattr("looop_portable_etcd.deadlines.elapsed", lambda: clock)
    for _ in range(3):
        engine.look("x")
    assert set(sent) == {"/v3/kv/range"}
