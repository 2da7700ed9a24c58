"""The exams of engines and of backends, on real servers."""

from __future__ import annotations

import pytest

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
