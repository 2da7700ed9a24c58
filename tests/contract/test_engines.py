"""The laws of engines, of the one in this process and of the example; what the adapter makes of them passes the exam."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from support.capabilities import needs_sqlite
from support.engines import Faulty, InProcess, sqlite_engine
from support.exams import OnEngineExam, examine_interruptions, examine_many_claims, examine_removal

from looop_portable import Claims, LooopError, Unavailable, Won
from looop_portable.backends import open_backend
from looop_portable.backends.base import Backend
from looop_portable.backends.engine import BEAT, CLAIM, NOTHING, SESSION, Heard, Known, Look, Record, Step, word_in
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable.testing.exam_life import LifeExam

SQLITE = pytest.param("sqlite", marks=needs_sqlite)


@pytest.fixture(params=["in this process", SQLITE])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """What opens the same engine anew, as another process would; the one in this process is always the same."""
    if request.param == "sqlite":
        found: Connect = lambda: sqlite_engine().SqliteEngine(str(tmp_path / "a place" / "claims"))  # noqa: E731
        return found
    engine = InProcess()
    return lambda: engine


@pytest.fixture(params=["in this process", SQLITE])
def impatient(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """As `connect`, but one whose file is locked is not waited for: in this process nobody would unlock it."""
    if request.param == "sqlite":
        found: Connect = lambda: sqlite_engine().SqliteEngine(str(tmp_path / "claims"), seconds=0.001)  # noqa: E731
        return found
    return InProcess


class TestOnEngines(OnEngineExam):
    scheme = "mine"

    def cut_off(self, backend: Backend) -> OnEngine:
        engine = Faulty(InProcess())
        engine.is_cut_off = True
        return OnEngine(engine, "mine")


class TestEngines(EngineExam):
    """Each of them."""


class LetsTwoWin(InProcess):
    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        won, now = super().advance(kind, key, after, data, not_after=not_after)
        return Step(won or now.number == after + 1, now)


class KnowsNoDeadline(InProcess):
    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        return super().advance(kind, key, after, data, not_after=elapsed() + 3600)


class AnswersLosersNothing(InProcess):
    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        step = super().advance(kind, key, after, data, not_after=not_after)
        return step if step.won else Step(False, NOTHING)


class FindsTooMuch(InProcess):
    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        return super().scan(kind, prefix.rstrip("/"), start, limit)


class BeginsPagesWithTheLastKey(InProcess):
    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        again = [(start, self.read(kind, start))] if start and len(super().scan(kind, prefix, start, limit)) else []
        return (again + super().scan(kind, prefix, start, limit))[:limit]


class EndsPagesEarly(InProcess):
    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        return super().scan(kind, prefix, start, min(limit, 2))


class HearsOthers(InProcess):
    def beat(self, word: str, lease: float) -> None:
        super().beat(word[:1], lease)

    def heard(self, word: str) -> Heard | None:
        return super().heard(word[:1])


class IsOlderThanTheTruth(InProcess):
    def heard(self, word: str) -> Heard | None:
        found = super().heard(word)
        return found._replace(seconds=1e9) if found else None


class SaysOneBeatTwice(InProcess):
    def heard(self, word: str) -> Heard | None:
        found = super().heard(word)
        return found._replace(beat="the same") if found else None


class NeverForgets(InProcess):
    def forget(self, kind: str, key: str) -> None:
        """It is kept."""


class LooksAtNoSession(InProcess):
    def look(self, key: str) -> Look:
        return super().look(key)._replace(session=NOTHING)


class HearsAnotherWordInALook(InProcess):
    def look(self, key: str) -> Look:
        return super().look(key)._replace(heard=self.heard("s%7E/another"))


class SurveysNoSession(InProcess):
    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        return [(key, found._replace(session=NOTHING)) for key, found in super().survey(kind, start, limit, known)]


class SurveysOneBeatForAll(InProcess):
    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        return [(key, found._replace(heard=self.heard("s/i"))) for key, found in super().survey(kind, start, limit, known)]


class SurveysAnOldBeat(InProcess):
    """As one that remembers what it has heard."""

    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        old = Heard(0.0, "what was said before")
        found = super().survey(kind, start, limit, known)
        return [(key, each._replace(heard=old if each.heard else None)) for key, each in found]


class SurveysWhatIsKnownAlone(InProcess):
    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        """Of a word that an earlier page has told of it tells nothing."""
        told: Known = {}
        found = super().survey(kind, start, limit, told)
        news = {word for word in told if word not in (known or ())}
        if known is not None:
            known.update(told)
        return [(key, each if word_in(each.claim.data) in news else Look(each.claim)) for key, each in found]


class SurveysAllAtOnce(InProcess):
    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        return super().survey(kind, start, known=known)


class SurveysFromTheBeginning(InProcess):
    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        return super().survey(kind, "", limit, known) if start < "0" else super().survey(kind, start, limit, known)[1:]


class ReportsUnheard(InProcess):
    def report(self, key: str, word: str, lease: float) -> Record:
        return self.read(SESSION, key)


class ReportsUntold(InProcess):
    def report(self, key: str, word: str, lease: float) -> Record:
        super().report(key, word, lease)
        return NOTHING


class RingsNobody(InProcess):
    def rings(self, kind: str, key: str) -> None:
        """Nobody is told."""


class RingsForNoTicket(InProcess):
    def rings(self, kind: str, key: str) -> None:
        if kind == CLAIM:
            super().rings(kind, key)


class Prompt(EngineExam):
    patience = 0.05


LIARS = [LetsTwoWin, KnowsNoDeadline, AnswersLosersNothing, FindsTooMuch]
LIARS += [LooksAtNoSession, HearsAnotherWordInALook, RingsNobody, RingsForNoTicket]
LIARS += [SurveysWhatIsKnownAlone]
LIARS += [SurveysNoSession, SurveysOneBeatForAll, SurveysAnOldBeat, SurveysAllAtOnce, SurveysFromTheBeginning]
LIARS += [ReportsUnheard, ReportsUntold]
LIARS += [BeginsPagesWithTheLastKey, EndsPagesEarly, HearsOthers, IsOlderThanTheTruth, SaysOneBeatTwice, NeverForgets]


@pytest.mark.parametrize("liar", LIARS)
def test_an_engine_that_breaks_a_law_fails_the_exam(liar: type[InProcess]) -> None:
    failed: list[str] = []
    for name in [name for name in dir(EngineExam) if name.startswith("test_") and "fork" not in name]:
        engine = liar()
        try:
            getattr(Prompt(), name)(lambda engine=engine: engine)
        except AssertionError as failure:
            failed.append(str(failure))
    assert failed
    assert all(each.startswith("law: ") for each in failed)


class BeatsOnce(InProcess):
    """A beat that is there is never given again."""

    def beat(self, word: str, lease: float) -> None:
        if super().heard(word) is None:
            super().beat(word, lease)


class IsAlwaysJustHeard(InProcess):
    def heard(self, word: str) -> Heard | None:
        found = super().heard(word)
        return found._replace(seconds=0.0) if found else None


class IsHeardThoughItNeverBeat(InProcess):
    def heard(self, word: str) -> Heard | None:
        return super().heard(word) or Heard(1e9, "long ago")


class ForgetsNoBeat(InProcess):
    def forget(self, kind: str, key: str) -> None:
        if kind != BEAT:
            super().forget(kind, key)


class Impatient(LifeExam):
    patience = 0.5


LIARS_OF_LIFE = [HearsOthers, IsOlderThanTheTruth, BeatsOnce, IsAlwaysJustHeard, IsHeardThoughItNeverBeat, ForgetsNoBeat]


@pytest.mark.parametrize("liar", [InProcess, *LIARS_OF_LIFE])
def test_a_memory_whose_beats_lie_fails_the_exam_of_life(liar: type[InProcess]) -> None:
    """What the adapter makes of it does. The honest one passes."""
    failed: list[str] = []
    for name in [name for name in dir(LifeExam) if name.startswith("test_")]:
        backend = OnEngine(liar(), "memory")
        try:
            getattr(Impatient(), name)(lambda backend=backend: backend)
        except AssertionError as failure:
            failed.append(str(failure))
    assert bool(failed) == (liar is not InProcess)
    assert all(each.startswith("law: ") for each in failed)


def test_a_handler_that_comes_in_between_gets_an_answer_and_one_of_the_two_wins(impatient: Connect) -> None:
    examine_interruptions(impatient)


def test_ten_thousand_claims() -> None:
    engine = InProcess()
    examine_many_claims(lambda: engine)


def test_an_engine_that_is_removed_under_way() -> None:
    engine = InProcess()

    def remove() -> None:
        for kind in (CLAIM, SESSION):
            for key, _ in engine.scan(kind):
                engine.forget(kind, key)
        for word in engine.beats:
            engine.forget(BEAT, word)

    examine_removal(lambda: engine, remove)


@needs_sqlite
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
        import sqlite3

        engine = sqlite_engine().SqliteEngine(str(tmp_path / "claims"), seconds=0.01)
        engine.read(CLAIM, "a")
        with closing(sqlite3.connect(tmp_path / "claims", isolation_level=None)) as another:
            another.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked"):
                engine.advance(CLAIM, "a", 0, b"one", not_after=elapsed() + 3600)
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
