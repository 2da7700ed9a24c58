"""The laws of engines, of the one in this process and of the example; what the adapter makes of them passes the exam."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from support.capabilities import needs_fork
from support.engines import InProcess, sqlite_engine

from looop_portable import Claims, LooopError, Unavailable, Won
from looop_portable.backends import open_backend
from looop_portable.backends.engine import BEAT, CLAIM, NOTHING, SESSION, TICKET, Engine, Record, Step
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed
from looop_portable.testing.exam import BackendExam, Reopen, lease

SOON = 3600.0
"""Seconds within which the tests are over."""

Connect = Callable[[], Engine]


def later() -> float:
    return elapsed() + SOON


@pytest.fixture(params=["in this process", "sqlite"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """What opens the same engine anew, as another process would; the one in this process is always the same."""
    if request.param == "sqlite":
        found: Connect = lambda: sqlite_engine().SqliteEngine(str(tmp_path / "a place" / "claims"))  # noqa: E731
        return found
    engine = InProcess()
    return lambda: engine


class TestOnEngines(BackendExam):
    @pytest.fixture
    def reopen(self, connect: Connect) -> Reopen:
        return lambda: OnEngine(connect(), "mine")


class TestEngine:
    """What `looop_portable.backends.engine` says that an engine does."""

    @pytest.mark.parametrize("kind", [CLAIM, SESSION, TICKET])
    def test_where_nothing_was_published_there_is_number_0(self, connect: Connect, kind: str) -> None:
        assert connect().read(kind, "a") == NOTHING
        assert connect().scan(kind) == []

    def test_one_step_is_published_as_a_whole_and_others_find_it(self, connect: Connect) -> None:
        data = bytes(range(256)) * 4096
        assert connect().advance(CLAIM, "a", 0, data, not_after=later()) == Step(True, Record(1, data))
        assert connect().read(CLAIM, "a") == Record(1, data)
        assert connect().read(SESSION, "a") == NOTHING
        assert connect().read(CLAIM, "A") == NOTHING

    def test_whoever_loses_is_told_what_stands(self, connect: Connect) -> None:
        engine = connect()
        engine.advance(CLAIM, "a", 0, b"one", not_after=later())
        engine.advance(CLAIM, "a", 1, b"two", not_after=later())
        for after in (0, 1, 3):
            assert engine.advance(CLAIM, "a", after, b"x", not_after=later()) == Step(False, Record(2, b"two"))
        assert connect().read(CLAIM, "a") == Record(2, b"two")

    def test_the_same_again_finds_what_it_has_published(self, connect: Connect) -> None:
        connect().advance(CLAIM, "a", 0, b"one", not_after=later())
        assert connect().advance(CLAIM, "a", 0, b"one", not_after=later()).now == Record(1, b"one")
        assert connect().read(CLAIM, "a").number == 1

    def test_one_that_comes_too_late_changes_nothing(self, connect: Connect) -> None:
        try:
            assert connect().advance(CLAIM, "a", 0, b"one", not_after=elapsed() - 1e-9) == Step(False, NOTHING)
        except Unavailable:
            """As good."""
        assert connect().read(CLAIM, "a") == NOTHING

    def test_of_many_that_advance_at_once_one_wins(self, connect: Connect) -> None:
        won: list[int] = []

        def work(worker: int) -> None:
            engine, number = connect(), 0
            for _ in range(20):
                step = engine.advance(CLAIM, "a", number, b"%d" % worker, not_after=later())
                number = step.now.number
                won.extend([number] if step.won else [])

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == list(range(1, connect().read(CLAIM, "a").number + 1))
        assert len(won) >= 20

    def test_a_scan_goes_page_by_page_and_has_each_key_once_with_what_stands(self, connect: Connect) -> None:
        engine = connect()
        keys = [f"{line}/{number:012}" for line in ("a", "a%", "a_", "aa", "A", "\u00e9") for number in range(5)]
        for key in keys:
            engine.advance(TICKET, key, 0, key.encode(), not_after=later())
        engine.advance(CLAIM, "a/0", 0, b"x", not_after=later())
        for prefix in ("", "a/", "a_", "\u00e9/", "b"):
            found: list[tuple[str, Record]] = []
            while page := engine.scan(TICKET, prefix, found[-1][0] if found else "", 3):
                assert len(page) <= 3
                found += page
            wanted = [(key, Record(1, key.encode())) for key in sorted(keys) if key.startswith(prefix)]
            assert sorted(found) == wanted
            assert engine.scan(TICKET, prefix) == found

    def test_what_is_forgotten_was_never_there(self, connect: Connect) -> None:
        engine = connect()
        for key in ("a", "b"):
            engine.advance(TICKET, key, 0, b"one", not_after=later())
        for _ in range(2):
            engine.forget(TICKET, "a")
        assert engine.read(TICKET, "a") == NOTHING
        assert engine.scan(TICKET) == [("b", Record(1, b"one"))]

    def test_a_word_is_as_old_as_its_last_beat_and_no_older_than_that(self, connect: Connect) -> None:
        engine = connect()
        assert engine.heard("a/i") is None
        began = elapsed()
        beats = []
        for _ in range(3):
            engine.beat("a/i", SOON)
            heard = connect().heard("a/i")
            assert heard
            assert heard.seconds <= elapsed() - began + 0.1  # Of a clock that may be slewed meanwhile.
            beats.append(heard.beat)
        assert len(set(beats)) == 3
        assert engine.heard("a/j") is None
        assert engine.heard("a") is None
        before = engine.heard("a/i")
        engine.beat("a/j", SOON)
        after = engine.heard("a/i")
        assert before
        assert after
        assert before.beat == after.beat

    def test_a_beat_that_was_forgotten_and_is_given_again_is_another(self, connect: Connect) -> None:
        engine, beats = connect(), set()
        for _ in range(3):
            engine.beat("a/i", SOON)
            heard = engine.heard("a/i")
            assert heard
            beats.add(heard.beat)
            engine.forget(BEAT, "a/i")
            assert engine.heard("a/i") is None
        assert len(beats) == 3

    @needs_fork
    def test_a_forked_child_has_a_connection_of_its_own(self, connect: Connect) -> None:
        engine = connect()
        engine.advance(CLAIM, "a", 0, b"one", not_after=later())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Whoever runs the tests may have threads.
            child = os.fork()
        if not child:
            step = engine.advance(CLAIM, "b", engine.read(CLAIM, "a").number - 1, b"two", not_after=later())
            os._exit(0 if step.won else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert engine.advance(CLAIM, "a", 1, b"three", not_after=later()).won

    def test_it_says_where_it_is_in_one_line(self, connect: Connect) -> None:
        assert connect().where.isprintable()


@pytest.mark.parametrize("kind", ["in this process", "sqlite"])
def test_a_handler_that_comes_in_between_gets_an_answer_and_one_of_the_two_wins(kind: str, tmp_path: Path) -> None:
    """Wherever a signal's handler can come in, it advances from the same number."""
    for point in itertools.count(1):
        path = str(tmp_path / f"{point}")
        backend = OnEngine(
            InProcess() if kind == "in this process" else sqlite_engine().SqliteEngine(path, seconds=0.001), "mine"
        )
        answers = interrupted(backend, point)
        if len(answers) < 2:
            assert point > 10
            break
        assert answers.count(True) == backend.read("n").generation == 1, f"at {point}: {answers}"


def interrupted(backend: OnEngine, point: int) -> list[bool | None]:
    """What is said of an `advance`, and before that of another in the middle of it: after so many calls and returns."""
    answers: list[bool | None] = []
    left = point

    def advance(session: str) -> None:
        try:
            answers.append(backend.advance("n", 0, lease("n", session)))
        except Unavailable:
            answers.append(None)

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal left
        left -= event in ("call", "c_return")
        if not left:
            left = -1
            advance("handler")

    backend.read("n")
    sys.setprofile(profile)
    try:
        advance("main")
    finally:
        sys.setprofile(None)
    return answers


class TestSqlite:
    """The example, as others find it."""

    def test_what_cannot_be_opened_is_unavailable_in_one_line(self, tmp_path: Path) -> None:
        place = tmp_path / "file"
        place.write_bytes(b"no database, " * 100)
        for path in (place, place / "below"):
            claims = Claims(OnEngine(sqlite_engine().SqliteEngine(str(path)), "sqlite"))
            reason = claims.backend.unavailable()
            assert reason
            assert "\n" not in reason
            for ask in (partial(claims.claim, "n", "w1"), claims.sessions.ids, claims.list):
                with pytest.raises(LooopError, match="sqlite:"):
                    ask()

    def test_while_another_is_in_the_middle_of_a_change_it_gives_up_soon(self, tmp_path: Path) -> None:
        module = sqlite_engine()
        engine = module.SqliteEngine(str(tmp_path / "claims"), seconds=0.01)
        engine.read(CLAIM, "a")
        another = module.SqliteEngine(str(tmp_path / "claims"))
        with another._transaction(writes=True), pytest.raises(Unavailable, match="locked"):
            engine.advance(CLAIM, "a", 0, b"one", not_after=later())
        assert engine.read(CLAIM, "a") == NOTHING

    def test_it_is_opened_by_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sqlite_engine()
        entry = EntryPoint("sqlite", "sqlite_engine:open_sqlite", "looop_portable.backends")
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints([entry]).select(group=group))
        claims = Claims.open(tmp_path, "sqlite")
        assert isinstance(claims.claim("n", claims.sessions.register("w1").holder), Won)
        assert open_backend("sqlite", str(tmp_path)).read("n").generation == 1
        assert (tmp_path / "claims.sqlite").exists()
        with pytest.raises(LooopError, match="use --backend sqlite"):
            Claims.open(tmp_path, "auto").claim("n", "w2")
