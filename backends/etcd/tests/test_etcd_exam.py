"""etcd passes both exams: that of engines, and that of the backend which the adapter makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.servers.etcd import Etcd

from looop_portable.backends.base import Backend
from looop_portable.backends.on_engine import OnEngine
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable.testing.exam import BackendExam
from looop_portable.testing.examiner import Reopen
from looop_portable_etcd.address import Address
from looop_portable_etcd.engine import EtcdEngine


@pytest.fixture
def connect(server: Etcd, opened: Callable[..., EtcdEngine]) -> Connect:
    return lambda: opened(server)


class TestEtcd(EngineExam):
    """Its laws."""


class TestOnEtcd(BackendExam):
    @pytest.fixture
    def reopen(self, connect: Connect) -> Reopen:
        return lambda: OnEngine(connect(), "etcd")

    def cut_off(self, backend: Backend) -> OnEngine:
        return OnEngine(EtcdEngine(Address("etcd://127.0.0.1:1/nowhere?timeout=1")), "etcd")
