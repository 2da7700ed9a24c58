"""What the tests of several engines share, beside the exams that ship: each is examined by it on its own server."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from looop_portable import Claims, Held, Lease, Unavailable, Won
from looop_portable.backends.on_engine import OnEngine
from looop_portable.testing.engine_exam import Connect
from looop_portable.testing.exam import BackendExam
from looop_portable.testing.examiner import Reopen

LEASE = 3600
MANY = 10_000


class OnEngineExam(BackendExam):
    """The exam of the backend that the adapter makes of what `connect` opens."""

    scheme = "engine"

    @pytest.fixture
    def reopen(self, connect: Connect) -> Reopen:
        return lambda: OnEngine(connect(), self.scheme)


def examine_many_claims(connect: Connect) -> None:
    """Of ten thousand a list has each, and a sweep releases those of who has ended, and nothing else."""
    claims = Claims(OnEngine(connect(), "many"))
    lives, ended = (claims.sessions.register(name, lease_seconds=LEASE).holder for name in ("lives", "ended"))
    names = [f"n{number:05}" for number in range(MANY)]
    of_ended = set(names[::100])

    def take(name: str) -> bool:
        holder = ended if name in of_ended else lives
        return claims.backend.advance(name, 0, Lease(name, *holder, claimed_at="2026-01-02T03:04:05Z", host="here"))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(take, names))
    claims.sessions.stop(*ended)
    shown = claims.list()
    assert [each.name for each in shown] == names
    assert {each.name for each in shown if each.verdict and each.verdict.dead} == of_ended
    swept = claims.reap()
    assert {each.lease.name for each in swept.reaped} == of_ended
    assert (swept.kept, swept.failed) == (MANY - len(of_ended), ())
    other = claims.sessions.register("other", lease_seconds=LEASE).holder
    assert isinstance(claims.claim(names[0], other), Won)
    assert isinstance(claims.claim(names[1], other), Held)


def examine_removal(connect: Connect, remove: Callable[[], object]) -> None:
    """All of the store is removed while somebody holds: he is told so, and whoever comes then wins.

    Not examined: that its numbers go on. Whoever removes a store by hand ends all that use it first.
    """
    holders, others = (Claims(OnEngine(connect(), "removed")) for _ in range(2))
    me = holders.sessions.register("me", lease_seconds=LEASE).holder
    won = holders.claim("n", me)
    assert isinstance(won, Won)
    remove()
    assert not holders.sessions.renew(me), "nobody believes in a session that is not there any more"
    assert not holders.check("n", won.lease.generation).current
    assert (others.list(), others.sessions.statuses()) == ([], [])
    other = others.sessions.register("other", lease_seconds=LEASE).holder
    assert isinstance(others.claim("n", other), Won)
    assert isinstance(holders.claim("n", me), Held)
    assert others.sessions.renew(other)


def examine_interruptions(connect: Connect, first: int = 1, step: int = 1, *, always_told: bool = False) -> None:
    """Wherever a signal's handler can come in, it advances from the same number: it gets an answer, and one wins."""
    backend = OnEngine(connect(), "interrupted")
    for point in itertools.count(first, step):
        name = f"n{point}"
        answers = interrupted(backend, name, point)
        if len(answers) < 2:
            assert point > 10
            return
        assert not (always_told and None in answers), f"at {point}"
        assert answers.count(True) == backend.read(name).generation == 1, f"at {point}: {answers}"


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

    backend.read(name)
    sys.setprofile(profile)
    try:
        advance("main")
    finally:
        sys.setprofile(None)
    return answers
