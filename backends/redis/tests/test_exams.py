"""The exams of engines and of backends, on real servers."""

from __future__ import annotations

import pytest

from looop_portable.backends.base import Backend
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable.testing.faults import ONWARD, Fault, Injector, faulty
from support.exams import OnEngineExam, examine_interruptions, examine_many_claims, examine_removal
from support.servers.redis import Redis


class TestEngine(EngineExam):
    """Each server."""


class TestBackend(OnEngineExam):
    scheme = "redis"

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
    examine_interruptions(connect, first + 1, 4)


def test_ten_thousand_claims(connect: Connect) -> None:
    examine_many_claims(connect)


def test_all_keys_but_the_stamp_are_removed_under_way(shared: Redis, connect: Connect, prefix: str) -> None:
    """What loses the stamp as well has lost all: see test_runs.py."""
    import redis

    def remove() -> None:
        with redis.Redis(port=shared.port) as client:
            fields = [each for each in client.hkeys(f"{{{prefix}}}:records") if each != b"stamp"]
            client.hdel(f"{{{prefix}}}:records", *fields)
            client.delete(f"{{{prefix}}}:keys", f"{{{prefix}}}:until")

    examine_removal(connect, remove)
