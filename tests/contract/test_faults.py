"""A fault at each call of each verb: nobody is told what is not so. And who guesses after a lost reply is found out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from support.beating import BeatingBackend
from support.capabilities import NATIVE_POLICY, NativeBackend

from looop_portable.backends.base import Backend
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.errors import Unavailable
from looop_portable.protocol.records import Lease
from looop_portable.system.files import OS
from looop_portable.testing.faults import (
    AFTER,
    BEFORE,
    KILLED_AFTER,
    KILLED_BEFORE,
    KINDS,
    ONWARD,
    RIVAL,
    VERBS,
    Fault,
    Injector,
    Killed,
    Store,
    Verb,
    faulty,
    sweep,
)


def in_memory() -> Store:
    backend = BeatingBackend()
    return Store(lambda: backend, lambda injector: faulty(backend, injector))


@pytest.fixture
def places(tmp_path: Path) -> Iterator[str]:
    return (str(tmp_path / f"{number}") for number in count())


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_no_fault_of_the_backend_in_memory_makes_an_untruth(verb: Verb) -> None:
    assert sweep(in_memory, (verb,)) >= len(KINDS)


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_no_fault_of_the_backend_in_a_directory_makes_an_untruth(places: Iterator[str], verb: Verb) -> None:
    def fresh() -> Store:
        place = next(places)
        return Store(lambda: NativeBackend(place), lambda injector: faulty(NativeBackend(place), injector))

    assert sweep(fresh, (verb,)) >= len(KINDS)


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_no_reply_that_the_files_below_it_lose_makes_an_untruth(places: Iterator[str], verb: Verb) -> None:
    """Wrapped is what the backend talks to its store by, as a plug-in's client is. All faults of calls: `lanes/sweep`."""

    def fresh() -> Store:
        place = next(places)
        return Store(
            lambda: NativeBackend(place), lambda injector: DirectoryBackend(place, NATIVE_POLICY, faulty(OS, injector))
        )

    assert sweep(fresh, (verb,), (AFTER,), error=lambda why: OSError(errno.EIO, why)) > 1


class Guessing:
    """A client that takes the reply that was lost for a yes, or for a no."""

    def __init__(self, backend: Backend, guess: bool) -> None:
        self._backend = backend
        self._guess = guess

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        try:
            return self._backend.advance(claim, expected, lease)
        except Unavailable:
            return self._guess


def guessing(guess: bool) -> Store:
    backend = BeatingBackend()
    return Store(lambda: backend, lambda injector: Guessing(faulty(backend, injector), guess))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("verb", VERBS[:2], ids=[verb.name for verb in VERBS[:2]])
def test_an_engine_that_guesses_that_a_lost_reply_was_a_yes_is_found_out(verb: Verb) -> None:
    with pytest.raises(AssertionError, match=r"^law: what is told is so: .*advance\) fails before .*: told Won"):
        sweep(lambda: guessing(True), (verb,), (BEFORE,))


def test_a_backend_that_guesses_that_a_release_was_made_is_found_out() -> None:
    release = next(verb for verb in VERBS if verb.name == "release")
    with pytest.raises(AssertionError, match=r"^law: what is told is so: .*: told Released"):
        sweep(lambda: guessing(True), (release,), (BEFORE,))


class Regardless(BeatingBackend):
    """It builds upon whatever stands there now."""

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        return super().advance(claim, self.read(claim).generation, lease)


def test_an_engine_that_builds_upon_what_another_published_is_found_out() -> None:
    def fresh() -> Store:
        backend = Regardless()
        return Store(lambda: backend, lambda injector: faulty(backend, injector))

    with pytest.raises(AssertionError, match=r"^law: no two hold: .*told Won.*, and another Won"):
        sweep(fresh, VERBS[:1], (RIVAL,))


def test_a_fault_comes_at_its_call_and_nowhere_else() -> None:
    def answers(kind: str) -> tuple[list[str], list[str]]:
        done: list[str] = []
        injector = Injector(Fault(2, kind))
        wrapped, told = faulty(done, injector), []
        for word in ("a", "b", "c"):
            try:
                wrapped.append(word)
                told.append("ok")
            except (Unavailable, Killed) as error:
                told.append(type(error).__name__)
        assert injector.fired
        return done, told

    assert answers(BEFORE) == (["a", "c"], ["ok", "Unavailable", "ok"])
    assert answers(AFTER) == (["a", "b", "c"], ["ok", "Unavailable", "ok"])
    assert answers(ONWARD) == (["a"], ["ok", "Unavailable", "Unavailable"])
    assert answers(KILLED_BEFORE) == (["a"], ["ok", "Killed", "Killed"])
    assert answers(KILLED_AFTER) == (["a", "b"], ["ok", "Killed", "Killed"])


def test_what_a_backend_consists_of_is_counted_with_it_and_what_is_told_is_not() -> None:
    injector = Injector()
    backend = faulty(BeatingBackend(), injector)
    assert backend.name == "memory"
    assert backend.advance("repo-x", 0, Lease("repo-x", "w1"))
    assert list(backend.claims()) == ["repo-x"]
    assert backend.sessions.ids() == []
    assert not backend.sessions.signs.has_beat("w1", "i1")
    assert backend.tickets is not None
    assert backend.tickets.line("repo-x") == []
    injector.armed = False
    assert backend.read("repo-x").generation == 1
    assert injector.calls == ["advance", "claims", "ids", "has_beat", "line"]
    assert not injector.fired
