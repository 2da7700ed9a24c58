"""etcd passes both exams: that of engines, and that of the backend which the adapter makes of it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest
from support.exams import OnEngineExam, examine_many_claims, examine_removal
from support.servers.etcd import Etcd

from looop_portable.backends.base import Backend
from looop_portable.backends.on_engine import OnEngine
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable_etcd.address import Address
from looop_portable_etcd.engine import EtcdEngine


@pytest.fixture
def connect(server: Etcd, opened: Callable[..., EtcdEngine]) -> Connect:
    return lambda: opened(server)


class TestEtcd(EngineExam):
    """Its laws."""


class TestOnEtcd(OnEngineExam):
    scheme = "etcd"

    def cut_off(self, backend: Backend) -> OnEngine:
        return OnEngine(EtcdEngine(Address("etcd://127.0.0.1:1/nowhere?timeout=1")), "etcd")


def test_ten_thousand_claims(connect: Connect) -> None:
    examine_many_claims(connect)


def test_all_keys_of_the_prefix_are_deleted_under_way(server: Etcd, connect: Connect, prefix: str) -> None:
    first, end = (b64encode(f"{prefix}{last}".encode()).decode() for last in "/0")
    examine_removal(connect, lambda: server.ask("/v3/kv/deleterange", {"key": first, "range_end": end}))
