"""An etcd that the tests of a module share, and a prefix of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from support.servers.etcd import Etcd

from looop_portable_etcd.address import Address
from looop_portable_etcd.engine import EtcdEngine

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "PASSWORD", "ENDPOINTS", "CACERT", "CERT", "KEY"):
        monkeypatch.delenv(f"ETCDCTL_{name}", raising=False)
    for name in ("ETCD_USERNAME", "ETCD_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def _started() -> Iterator[Etcd]:
    made = Etcd()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    """It is neither stopped nor cut off."""
    yield from _started()


@pytest.fixture
def own() -> Iterator[Etcd]:
    """One that the test may do anything to."""
    yield from _started()


@pytest.fixture
def prefix() -> str:
    return f"of-test-{next(_numbers)}"


Opened = Callable[..., EtcdEngine]


@pytest.fixture
def opened(prefix: str) -> Iterator[Opened]:
    """What opens an engine on servers, and closes it."""
    made: list[EtcdEngine] = []

    def open_on(*servers: Etcd, query: str = "", scheme: str = "etcd", login: str = "") -> EtcdEngine:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in servers)
        made.append(EtcdEngine(Address(f"{scheme}://{login}{hosts}/{prefix}{query}")))
        return made[-1]

    yield open_on
    for each in made:
        each.close()
