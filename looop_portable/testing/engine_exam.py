"""The exam that every engine passes, besides the one of the backend that `OnEngine` makes of it: a class to inherit.

    class TestMine(EngineExam):
        @pytest.fixture
        def connect(self, tmp_path):
            return lambda: MyEngine(str(tmp_path))

`connect` is a fixture that gives a function; each call of it opens the same store anew, as another process would.

Does not examine: what a restart of the server, a failover or an eviction does; two processes; a password in a message.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable

from looop_portable.backends.engine import (
    BEAT,
    CLAIM,
    NOTHING,
    SESSION,
    TICKET,
    Engine,
    Heard,
    Look,
    Record,
    Step,
    Told,
)
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed

__all__ = ["Connect", "EngineExam"]

Connect = Callable[[], Engine]

SOON = 3600.0
"""Seconds within which a test is over."""

_WINS = "law: whoever advances from what stands wins"


def later() -> float:
    """A deadline that nothing here misses."""
    return elapsed() + SOON


def published(engine: Engine, kind: str, key: str, after: int, data: bytes) -> bool:
    """Whether `data` is number `after` + 1 now. As the adapter does, what stands is believed before `won` is."""
    won, now = engine.advance(kind, key, after, data, not_after=later())
    return won or now == Record(after + 1, data)


class EngineExam:
    """The laws of an `Engine`."""

    patience = 10.0
    """Seconds, after which a ring is taken for one that never comes."""

    grain = 0.1
    """Seconds by which its clock may be coarse, so that a word seems older than it is."""

    def test_where_nothing_was_published_there_is_number_0(self, connect: Connect) -> None:
        for kind in (CLAIM, SESSION, TICKET):
            law = f"law: where nothing was published there is number 0, and no key: of the kind '{kind}'"
            assert (found := connect().read(kind, "a")) == NOTHING, f"{law} there is {found}"
            assert (page := connect().scan(kind)) == [], f"{law} there are {page}"

    def test_one_step_is_published_as_a_whole_and_others_find_it(self, connect: Connect) -> None:
        data = bytes(range(256)) * 4096
        law = "law: what is published is found by all, as a whole, and under its own kind and key alone"
        assert published(connect(), CLAIM, "a", 0, data), f"{_WINS}: {len(data)} bytes did not"
        number, found = connect().read(CLAIM, "a")
        assert number == 1, f"{law}: it has the number {number}"
        assert found == data, f"{law}: {len(found)} bytes of {len(data)}, or others"
        for kind, key in ((SESSION, "a"), (CLAIM, "A"), (CLAIM, "a/")):
            assert connect().read(kind, key) == NOTHING, f"{law}: it is at {kind} '{key}' too"

    def test_whoever_loses_is_told_what_stands(self, connect: Connect) -> None:
        engine, stands = connect(), Record(2, b"two")
        for after, data in enumerate((b"one", b"two")):
            assert published(engine, CLAIM, "a", after, data), _WINS
        for after in (0, 1, 3):
            step = engine.advance(CLAIM, "a", after, b"x", not_after=later())
            assert step == Step(False, stands), (
                f"law: whoever loses is told what stands, {stands}: from {after}, told {step}"
            )
        assert (found := connect().read(CLAIM, "a")) == stands, f"law: whoever loses changes nothing: there is {found}"

    def test_the_same_again_finds_what_it_has_published(self, connect: Connect) -> None:
        law = "law: the same again, after a reply that was lost, finds its own record standing"
        for _ in range(2):
            assert published(connect(), CLAIM, "a", 0, b"one"), law
        assert (found := connect().read(CLAIM, "a")) == Record(1, b"one"), f"{law}, and is not done twice: there is {found}"

    def test_one_that_comes_too_late_changes_nothing(self, connect: Connect) -> None:
        law = "law: what the store begins after `not_after` changes nothing"
        with contextlib.suppress(Unavailable):  # As good an answer.
            step = connect().advance(CLAIM, "a", 0, b"one", not_after=elapsed() - 1e-9)
            assert step == Step(False, NOTHING), f"{law}: told {step}"
        assert (found := connect().read(CLAIM, "a")) == NOTHING, f"{law}: there is {found}"

    def test_one_of_many_that_advance_at_once_wins(self, connect: Connect) -> None:
        won: list[int] = []
        failures: list[Exception] = []

        def work(worker: int) -> None:
            engine, number = connect(), 0
            try:
                for _ in range(20):
                    data = b"%d of %d" % (number, worker)
                    step = engine.advance(CLAIM, "a", number, data, not_after=later())
                    won.extend([number + 1] if step.won or step.now == Record(number + 1, data) else [])
                    number = step.now.number
            except Exception as failure:  # noqa: BLE001 (whatever it is, it is no answer)
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, f"law: any thread may call, and gets an answer: {failures[0]!r}"
        last = connect().read(CLAIM, "a").number
        law = "law: of all who advance from one number, exactly one wins"
        assert sorted(won) == list(range(1, last + 1)), f"{law}: number {last} stands, and these were won: {sorted(won)}"

    def test_a_scan_goes_page_by_page_and_has_each_key_once_with_what_stands(self, connect: Connect) -> None:
        engine = connect()
        keys = [f"{line}/{number:012}" for line in ("a", "a%", "a_", "aa", "A", "\u00e9") for number in range(5)]
        for key in keys:
            assert published(engine, TICKET, key, 0, key.encode()), _WINS
        assert published(engine, CLAIM, "a/0", 0, b"x"), _WINS
        for prefix in ("", "a/", "a_", "\u00e9/", "b"):
            found: list[tuple[str, Record]] = []
            page: list[tuple[str, Record]] = []
            while not found or len(page) == 3:
                page = engine.scan(TICKET, prefix, found[-1][0] if found else "", 3)
                assert len(page) <= 3, f"law: a page has at most `limit` keys: {len(page)} of 3"
                found += page
                if not page:
                    break
            wanted = [(key, Record(1, key.encode())) for key in sorted(keys) if key.startswith(prefix)]
            law = f"law: the pages of a scan have each key that begins with '{prefix}' once, with what stands there"
            assert sorted(found) == wanted, f"{law}: {len(wanted)} were wanted, and there are {[key for key, _ in found]}"
            assert engine.scan(TICKET, prefix) == found, f"{law}, in one order: one page for all has another"

    def test_what_is_forgotten_was_never_there(self, connect: Connect) -> None:
        engine, law = connect(), "law: what is forgotten was never there, and nothing else is forgotten"
        for key in ("a", "b"):
            assert published(engine, TICKET, key, 0, b"one"), _WINS
        for _ in range(2):
            engine.forget(TICKET, "a")
        assert (found := engine.read(TICKET, "a")) == NOTHING, f"{law}: there is {found}"
        assert (page := engine.scan(TICKET)) == [("b", Record(1, b"one"))], f"{law}: there are {page}"

    def test_a_word_is_as_old_as_its_last_beat_and_no_older_than_that(self, connect: Connect) -> None:
        engine, law = connect(), "law: `heard` is never older than the truth"
        assert engine.heard("a/i") is None, "law: what was never said is not heard"
        beats = []
        for _ in range(3):
            began = elapsed()
            engine.beat("a/i", SOON)
            heard = connect().heard("a/i")
            assert heard, "law: what is said is heard by all"
            truth = elapsed() - began
            assert heard.seconds <= truth + self.grain, f"{law}: {heard.seconds:g} s of {truth:.3f} s ago"
            beats.append(heard.beat)
        assert len(set(beats)) == 3, f"law: no two beats are called alike: {beats}"

    def test_what_is_said_of_one_word_is_never_heard_of_another(self, connect: Connect) -> None:
        engine, law = connect(), "law: what is said of one word is never heard of another"
        engine.beat("a/i", SOON)
        before = engine.heard("a/i")
        for other in ("a/j", "a", "A/i", "a/i/x"):
            assert engine.heard(other) is None, f"{law}: '{other}' is heard, and only 'a/i' was said"
            engine.beat(other, SOON)
            after = engine.heard("a/i")
            assert before, "law: what is said is heard"
            assert after, "law: what is said is heard"
            assert before.beat == after.beat, f"{law}: '{other}' was said, and 'a/i' has another beat"

    def test_a_beat_that_was_forgotten_and_is_given_again_is_another(self, connect: Connect) -> None:
        engine, beats = connect(), set()
        for _ in range(3):
            engine.beat("a/i", SOON)
            heard = engine.heard("a/i")
            assert heard, "law: what is said is heard"
            beats.add(heard.beat)
            engine.forget(BEAT, "a/i")
            assert engine.heard("a/i") is None, "law: a beat that is forgotten was never given"
        assert len(beats) == 3, f"law: no two beats are called alike, also after a `forget`: {beats}"

    def test_a_look_tells_what_there_is_of_a_claim_and_of_its_holder(self, connect: Connect) -> None:
        engine, law = connect(), "law: a look tells what `read` and `heard` tell"
        assert engine.look("a") == Look(NOTHING), f"{law}: where nothing was published it is {engine.look('a')}"
        claim, session = b'{"session": "s", "word": "s%7E/i"}\n', b'{"incarnation": "i"}\n'
        assert published(engine, CLAIM, "a", 0, claim), _WINS
        assert (found := engine.look("a")) == Look(Record(1, claim)), f"{law}: nobody knows the session: {found}"
        assert published(engine, SESSION, "s%7E", 0, session), _WINS
        assert published(engine, SESSION, "s", 0, b"another"), _WINS
        engine.beat("s%7E/i", SOON)
        engine.beat("s%7E/another", SOON)
        heard, found = engine.heard("s%7E/i"), engine.look("a")
        assert heard, "law: what is said is heard"
        assert found[:2] == (Record(1, claim), Record(1, session)), f"{law}: {found}"
        assert found.heard, f"{law}: it has not heard the word"
        assert found.heard.beat == heard.beat, f"{law}: it has heard {found.heard}, and not {heard}"
        for data in (b"nonsense", b'{"word": 7}', b'["word"]', b"\xff\xfe", b'{"word": "nobody/i"}'):
            assert published(engine, CLAIM, data.hex(), 0, data), _WINS
            found = engine.look(data.hex())
            assert found == Look(Record(1, data)), f"{law}: of a claim that says {data!r} it is {found}"

    def test_a_survey_tells_what_looks_tell(self, connect: Connect) -> None:
        engine, law = connect(), "law: a survey tells of each record what a look at it tells"
        for session in ("s", "t", "s%7E"):
            assert published(engine, SESSION, session, 0, b'{"word": "%b/i"}' % session.encode()), _WINS
            engine.beat(f"{session}/another", SOON)
        for word in ("s/i", "s%7E/i"):
            engine.beat(word, SOON)
        assert published(engine, SESSION, "silent", 0, b"{}"), _WINS
        holders = ("s/i", "s/i", "t/i", "s%7E/i", "nobody/i", "s/gone", "\u00e9/i", "")
        for number, word in enumerate(holders):
            assert published(engine, CLAIM, f"{number}", 0, b'{"word": "%b"}' % word.encode()), _WINS
        assert published(engine, CLAIM, "nonsense", 0, b"\xff"), _WINS
        claims = {key: engine.look(key) for key, _ in engine.scan(CLAIM)}
        words = {key: engine.heard(f"{key}/i") for key, _ in engine.scan(SESSION)}
        sessions = {key: Look(NOTHING, record, words[key]) for key, record in engine.scan(SESSION)}
        for kind, wanted in ((CLAIM, claims), (SESSION, sessions)):
            found, known = list[tuple[str, Look]](), dict[str, tuple[Record, Heard | None]]()
            page = engine.survey(kind, "", 2, known)
            while page and len(found) < len(wanted):
                assert len(page) <= 2, f"law: a page has at most `limit` keys: {len(page)} of 2"
                found += page
                page = engine.survey(kind, found[-1][0], 2, known) if len(page) == 2 else []
            assert [key for key, _ in found] == list(wanted), f"{law}, in the order of a scan: {found}"
            for (key, told), look in zip(found, wanted.values(), strict=True):
                beats = [each.heard and each.heard.beat for each in (told, look)]
                assert (*told[:2], beats[0]) == (*look[:2], beats[1]), f"{law}: of the {kind} '{key}' {told}, not {look}"

    def test_whoever_reports_is_heard_and_told_the_registration(self, connect: Connect) -> None:
        engine, law = connect(), "law: whoever reports is told what `read` tells, and is heard"
        for number in (0, 1):
            assert (found := engine.report("s", f"s/{number}", SOON)).number == number, f"{law}: {found}"
            assert connect().heard(f"s/{number}"), f"{law}: nobody hears it"
            assert published(engine, SESSION, "s", number, b"registered"), _WINS
        assert (again := engine.report("s", "s/0", SOON)) == Record(2, b"registered"), f"{law}: {again}"

    def test_a_claim_that_is_won_tells_of_its_session_where_that_is_said(self, connect: Connect) -> None:
        engine, law = connect(), "law: with `tells_sessions` a claim that is won tells what stands of its session"
        claim = b'{"session": "s", "word": "s%7E/i"}\n'
        for number, session in enumerate((NOTHING, Record(1, b"one"), Record(2, b"two"))):
            if session.number:
                assert published(engine, SESSION, "s%7E", session.number - 1, session.data), _WINS
            step = engine.advance(CLAIM, "a", number, claim, not_after=elapsed() + SOON)
            assert step == Step(True, Record(number + 1, claim)), _WINS
            if engine.tells_sessions:
                assert isinstance(step, Told), f"{law}: it is {step}"
                assert step.session == session, f"{law}: it is {step.session}, and not {session}"

    def test_whoever_has_subscribed_is_rung_for_each_change(self, connect: Connect) -> None:
        engine, others, law = connect(), connect(), "law: after `subscribe` each change rings"
        assert published(others, CLAIM, "a", 0, b"0"), _WINS
        assert published(others, TICKET, "a/1", 0, b"0"), _WINS
        rings: list[threading.Event] = []
        ends: list[Callable[[], None]] = []
        for kind, key in ((CLAIM, "a"), (TICKET, "a/1"), (CLAIM, "never published")):
            rings.append(threading.Event())
            end = engine.subscribe(kind, key, rings[-1].set)
            if end is None:
                return
            ends.append(end)
        for ring in rings:
            ring.clear()
        for number in range(1, 20):
            assert published(others, CLAIM, "a", number, b"%d" % number), _WINS
            assert rings[0].wait(self.patience), f"{law}: number {number + 1} of a claim did not"
            rings[0].clear()
        others.forget(TICKET, "a/1")
        assert rings[1].wait(self.patience), f"{law}: a ticket that was forgotten did not"
        assert published(others, CLAIM, "never published", 0, b"1"), _WINS
        assert rings[2].wait(self.patience), f"{law}: the first number of a claim did not"
        for end in ends:
            end()
            end()

    def test_a_forked_child_has_a_connection_of_its_own(self, connect: Connect) -> None:
        if not hasattr(os, "fork"):
            return
        engine, law = connect(), "law: after a fork, parent and child each get an answer"
        assert published(engine, CLAIM, "a", 0, b"one"), _WINS
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Whoever runs the tests may have threads.
            child = os.fork()
        if not child:
            won = False
            try:
                won = published(engine, CLAIM, "b", engine.read(CLAIM, "a").number - 1, b"two")
            finally:
                os._exit(0 if won else 1)
        assert os.waitpid(child, 0)[1] == 0, f"{law}: the child got none"
        assert published(engine, CLAIM, "a", 1, b"three"), f"{law}: the parent did not win"

    def test_it_says_where_it_is_in_one_line(self, connect: Connect) -> None:
        where = connect().where
        assert where, "law: it says where it is"
        assert where.isprintable(), f"law: it says where it is in one line: {where!r}"
