"""The exam that every engine passes, besides the one of the backend that `OnEngine` makes of it: a class to inherit.

    class TestMine(EngineExam):
        @pytest.fixture
        def connect(self, tmp_path):
            return lambda: MyEngine(str(tmp_path))

`connect` is a fixture that gives a function; each call of it opens the same store anew, as another process would.

Does not examine: what a restart of the server, a failover or an eviction does; two processes; a password in a message.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable

from looop_portable.backends.engine import BEAT, CLAIM, NOTHING, SESSION, TICKET, Engine, Record, Step
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed

Connect = Callable[[], Engine]

SOON = 3600.0
"""Seconds within which a test is over."""


def later() -> float:
    """A deadline that nothing here misses."""
    return elapsed() + SOON


class EngineExam:
    """The laws of an `Engine`."""

    def test_where_nothing_was_published_there_is_number_0(self, connect: Connect) -> None:
        for kind in (CLAIM, SESSION, TICKET):
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
        failures: list[Exception] = []

        def work(worker: int) -> None:
            engine, number = connect(), 0
            try:
                for _ in range(20):
                    step = engine.advance(CLAIM, "a", number, b"%d of %d" % (number, worker), not_after=later())
                    number = step.now.number
                    won.extend([number] if step.won else [])
            except Exception as failure:  # noqa: BLE001 (whatever it is, it is no answer)
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
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

    def test_a_forked_child_has_a_connection_of_its_own(self, connect: Connect) -> None:
        if not hasattr(os, "fork"):
            return
        engine = connect()
        engine.advance(CLAIM, "a", 0, b"one", not_after=later())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Whoever runs the tests may have threads.
            child = os.fork()
        if not child:
            won = False
            try:
                won = engine.advance(CLAIM, "b", engine.read(CLAIM, "a").number - 1, b"two", not_after=later()).won
            finally:
                os._exit(0 if won else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert engine.advance(CLAIM, "a", 1, b"three", not_after=later()).won

    def test_it_says_where_it_is_in_one_line(self, connect: Connect) -> None:
        assert connect().where.isprintable()
