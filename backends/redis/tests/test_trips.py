"""How often the server is asked: exactly."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from looop_portable.backends.engine import CLAIM, SESSION, TICKET, Engine, Look, Record
from looop_portable.system.clock import elapsed
from support.servers.redis import Redis


class Trips:
    """How often anything was sent, by any connection of the client."""

    def __init__(self) -> None:
        self.sent = 0

    def of(self, ask: Callable[[], object]) -> int:
        before = self.sent
        ask()
        return self.sent - before


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    trips, send = Trips(), socket.socket.sendall

    def counted(self: socket.socket, *sent: Any) -> None:
        trips.sent += 1
        send(self, *sent)

    monkeypatch.setattr(socket.socket, "sendall", counted)
    return trips


@pytest.fixture
def engine(connect: Callable[[], Engine]) -> Engine:
    """One that is connected, on a server that knows the scripts."""
    engine = connect()
    use_all(engine)
    return engine


def use_all(engine: Engine) -> None:
    engine.look("-")
    engine.read(CLAIM, "-")
    engine.scan(TICKET)
    engine.survey(SESSION)
    engine.beat("-/i", 3)
    engine.report("-", "-/i", 3)
    engine.heard("-/i")
    engine.forget(TICKET, "-")
    engine.advance(CLAIM, "-", 9, b"", not_after=elapsed() + 60)


def put(engine: Engine, kind: str, key: str, data: bytes) -> None:
    engine.advance(kind, key, 0, data, not_after=elapsed() + 60)


def test_each_question_is_one_round_trip(engine: Engine, trips: Trips) -> None:
    word = json.dumps({"word": "s/i"}).encode()
    assert trips.of(lambda: engine.read(CLAIM, "a")) == 1
    assert trips.of(lambda: put(engine, CLAIM, "a", word)) == 1
    assert trips.of(lambda: put(engine, CLAIM, "a", b"lost")) == 1
    put(engine, SESSION, "s", b"registered")
    assert trips.of(lambda: engine.beat("s/i", 3)) == 1
    assert trips.of(lambda: engine.heard("s/i")) == 1
    assert trips.of(lambda: engine.look("a")) == 1
    assert trips.of(lambda: engine.look("nobody's")) == 1
    assert trips.of(lambda: engine.forget(TICKET, "t")) == 1
    found = engine.look("a")
    assert found.claim == Record(1, word)
    assert found.session == Record(1, b"registered")
    assert found.heard
    assert 0 <= found.heard.seconds < 60
    heard = engine.heard("s/i")
    assert heard
    assert heard.beat == found.heard.beat


BLOCKS = """
import socket, sys
from looop_portable import Claims, hold
from looop_portable.protocol.standings import Standing

def counted(self, *sent):
    global trips
    trips += 1
    send(self, *sent)

place, url = sys.argv[1:]
trips, send = 0, socket.socket.sendall
socket.socket.sendall = counted
held = hold("a", data_dir=place, backend=url)
with held:
    first = held.session
before = trips
held.acquire().release()
assert trips - before == 2, trips - before
claims = Claims.open(place, url)
claims.sessions.stop(first)
with held:
    assert held.session != first
    assert claims.show("a").standing is Standing.HELD
    assert claims.check("a", held.generation).current
"""


def test_a_block_is_two_round_trips_and_one_whose_session_was_ended_has_another(
    shared: Redis, prefix: str, settle: Callable[[Redis, str], object], tmp_path: Path
) -> None:
    settle(shared, prefix)
    command = [sys.executable, "-c", BLOCKS, str(tmp_path), shared.url(prefix=prefix)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr


def test_a_page_of_a_thousand_is_one_round_trip(engine: Engine, trips: Trips) -> None:
    for number in range(1001):
        put(engine, TICKET, f"{number:04}", b"x")
    pages: list[list[tuple[str, Record]]] = []
    assert trips.of(lambda: pages.append(engine.scan(TICKET))) == 1
    assert trips.of(lambda: pages.append(engine.scan(TICKET, start=pages[0][-1][0]))) == 1
    assert [len(page) for page in pages] == [1000, 1]


def test_a_survey_of_a_thousand_is_one_round_trip_whoever_holds_them(engine: Engine, trips: Trips) -> None:
    for number in range(1001):
        put(engine, CLAIM, f"{number:04}", json.dumps({"word": f"s{number % 300}/i"}).encode())
    for number in range(300):
        assert trips.of(partial(engine.report, f"s{number}", f"s{number}/i", 30)) == 1
        put(engine, SESSION, f"s{number}", json.dumps({"word": f"s{number}/i"}).encode())
    pages: list[list[tuple[str, Look]]] = []
    assert trips.of(lambda: pages.append(engine.survey(CLAIM))) == 1
    assert trips.of(lambda: pages.append(engine.survey(CLAIM, pages[0][-1][0]))) == 1
    assert [len(page) for page in pages] == [1000, 1]
    assert trips.of(lambda: pages.append(engine.survey(SESSION))) == 1
    assert all(found.session.number == 1 and found.heard for page in pages for _, found in page)


@pytest.mark.usefixtures("engine")
def test_a_new_connection_looks_at_the_server_once(connect: Callable[[], Engine], trips: Trips) -> None:
    """What the server says of itself, and the stamp, in one; then the question."""
    assert trips.of(lambda: connect().read(CLAIM, "a")) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"{",
        b'{"word": 3}',
        b"[1]",
        b'"word"',
        b"\xff\x00",
        b"[" * 2000,
        b'{"word": "' + b"s" * 2**20,
        b"{}" * 1000,
    ],
)
def test_a_look_at_what_names_no_holder_has_none(engine: Engine, data: bytes) -> None:
    put(engine, CLAIM, "a", data)
    assert engine.look("a") == Look(Record(1, data))


def test_a_look_at_a_record_of_a_mebibyte_finds_its_holder(engine: Engine) -> None:
    data = json.dumps({"padding": "x" * (2**20 - 100), "word": "s\u00e9/i"}).encode()
    put(engine, CLAIM, "a", data)
    put(engine, SESSION, "s\u00e9", b"registered")
    assert engine.look("a") == Look(Record(1, data), Record(1, b"registered"))


ODD = [
    b'{"word": "a/1", "n": 0x10}',
    b'{"word": "a/1", "word": "b/1"}',
    b'{"word": "\\ud800/1"}',
    b'{"word": "a/1", "n": NaN}',
]


@pytest.mark.parametrize("data", ODD)
def test_a_look_never_differs_from_three_questions(engine: Engine, data: bytes) -> None:
    """Where the server reads the data otherwise than Python does, Python is right."""
    for session in ("a", "b"):
        put(engine, SESSION, session, b"registered")
        engine.beat(f"{session}/1", 3)
    put(engine, CLAIM, "x", data)
    found, wanted = engine.look("x"), Engine.look(engine, "x")
    assert found[:2] == wanted[:2]
    assert (found.heard and found.heard.beat) == (wanted.heard and wanted.heard.beat)
    ((_, surveyed),) = engine.survey(CLAIM)
    assert (*surveyed[:2], surveyed.heard and surveyed.heard.beat) == (*wanted[:2], wanted.heard and wanted.heard.beat)


def test_a_page_that_starts_before_its_prefix_begins_with_that(engine: Engine) -> None:
    for key in ("a1", "a5", "b1", "c1"):
        put(engine, TICKET, key, b"x")
    for start, wanted in (("a", ["b1"]), ("b", ["b1"]), ("b1", []), ("c", [])):
        assert [key for key, _ in engine.scan(TICKET, "b", start)] == wanted


def test_old_beats_go_away_with_the_next_ones(engine: Engine, shared: Redis, prefix: str) -> None:
    """Ten with each: nothing has an expiry."""
    import redis

    with redis.Redis(port=shared.port) as client:
        for number in range(25):
            engine.beat(f"old/{number}", 3)
        client.zadd(f"{{{prefix}}}:until", {f"old/{number}": 1 for number in range(25)})
        counts = []
        for number in range(3):
            engine.beat(f"new/{number}", 3)
            counts.append(sum(engine.heard(f"old/{old}") is not None for old in range(25)))
        assert counts == [15, 5, 0]
        assert all(engine.heard(f"new/{number}") for number in range(3))
        for number in range(3):
            engine.forget("beat", f"new/{number}")
        engine.forget("beat", "-/i")
        assert client.zcard(f"{{{prefix}}}:until") == 0
