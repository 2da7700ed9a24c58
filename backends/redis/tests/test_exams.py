"""The exams of engines and of backends, on real servers."""

from __future__ import annotations

import itertools
import sys

import pytest

from looop_portable import Lease, Unavailable
from looop_portable.backends.base import Backend
from looop_portable.backends.on_engine import OnEngine
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable.testing.exam import BackendExam
from looop_portable.testing.examiner import Reopen
from looop_portable.testing.faults import ONWARD, Fault, Injector, faulty
from support.servers.redis import Redis


class TestEngine(EngineExam):
    """Each server."""


class TestBackend(BackendExam):
    @pytest.fixture
    def reopen(self, connect: Connect) -> Reopen:
        return lambda: OnEngine(connect(), "redis")

    def cut_off(self, backend: Backend) -> Backend:
        return faulty(backend, Injector(Fault(1, ONWARD)))


def test_it_leaves_nothing_behind_that_expires(shared: Redis, connect: Connect, prefix: str) -> None:
    """What could expire could be evicted, where the policy is volatile-lru."""
    import redis

    with redis.Redis(port=shared.port) as client:
        connect().beat("a/i", 3)
        connect().advance("claim", "a", 0, b"x", not_after=1e12)
        keys = client.keys(f"{{{prefix}}}:*")
        assert len(keys) == 3
        assert {client.ttl(key) for key in keys} == {-1}


@pytest.mark.parametrize("first", range(4))
def test_a_handler_that_comes_in_between_gets_an_answer_and_one_of_the_two_wins(first: int, connect: Connect) -> None:
    """Wherever a signal's handler can come in, it advances from the same number."""
    backend = OnEngine(connect(), "redis")
    for point in itertools.count(first + 1, 4):
        answers = interrupted(backend, f"n{point}", point)
        if len(answers) < 2:
            assert point > 100
            break
        assert answers.count(True) == backend.read(f"n{point}").generation == 1, f"at {point}: {answers}"


def interrupted(backend: OnEngine, name: str, point: int) -> list[bool | None]:
    """What is said of an `advance`, and before that of another in the middle of it: after so many calls and returns."""
    answers: list[bool | None] = []
    left = point

    def advance(session: str) -> None:
        try:
            answers.append(backend.advance(name, 0, Lease(name, session, "i1")))
        except Unavailable:
            answers.append(None)

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal left
        left -= event in ("call", "c_return")
        if not left:
            left = -1
            advance("handler")

    sys.setprofile(profile)
    try:
        advance("main")
    finally:
        sys.setprofile(None)
    return answers
