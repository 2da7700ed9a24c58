"""The servers that these tests share: one of each kind a worker, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from support.servers.azurite import Azurite
from support.servers.shops import Shop, fresh
from support.servers.versitygw import VersityGW

Open = Callable[[], ObjectEngine]


def _served(server: Shop) -> Iterator[Shop]:
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def versitygw() -> Iterator[Shop]:
    yield from _served(VersityGW())


@pytest.fixture(scope="session")
def azurite() -> Iterator[Shop]:
    yield from _served(Azurite())


@pytest.fixture(params=["versitygw", "azurite"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shop:
    found: Shop = request.getfixturevalue(request.param)
    for name, value in found.credentials().items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[VersityGW]:
    """A server of this test's own, which it may stop."""
    server = VersityGW()
    for name, value in server.credentials().items():
        monkeypatch.setenv(name, value)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def connect(server: Shop) -> Open:
    """What opens one fresh prefix, anew each time, as another process would."""
    prefix = fresh()
    return lambda: ObjectEngine(place_in(server.url(prefix)))
