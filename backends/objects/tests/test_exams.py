"""The exams, on real servers: versitygw for S3, Azurite for Azure. None can be had here for Google's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from looop_portable.backends.base import Backend
from looop_portable.backends.engine import Engine
from looop_portable.backends.on_engine import OnEngine
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from support.exams import OnEngineExam, examine_many_claims, examine_removal
from support.servers.pretending import Pretending
from support.servers.shops import Shop, fresh


class TestEngine(EngineExam):
    """The laws of engines."""


class TestEngineAsIfAtGoogle(EngineExam):
    """Generations in the place of tags: what our side does with them. It is no proof of what Google's does."""

    @pytest.fixture
    def connect(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "s3cret")
        store = Pretending()
        store.is_google = True
        yield lambda: ObjectEngine(place_in(store.url()))
        store.close()


class TestBackend(OnEngineExam):
    scheme = "s3"
    grain = 2.0
    """A store stamps with whole seconds, and so does its clock."""

    def cut_off(self, backend: Backend) -> OnEngine:
        return OnEngine(_nobody_listens(), "s3")


def _nobody_listens() -> Engine:
    return ObjectEngine(place_in("s3://claims/x?endpoint=http://127.0.0.1:1"))


def test_ten_thousand_claims(server: Shop) -> None:
    """A page of a list is a thousand GETs, which an emulator does not answer in the four seconds of one call."""
    url = server.url(fresh())
    patient = f"{url}{'&' if '?' in url else '?'}timeout=60"
    examine_many_claims(lambda: ObjectEngine(place_in(patient)))


def test_all_objects_of_the_prefix_are_deleted_under_way(connect: Callable[[], ObjectEngine]) -> None:
    engine = connect()

    def remove() -> None:
        while names := engine.bucket.names(engine._prefix, "", 1000):
            for name, _ in names:
                engine.bucket.delete(name)

    examine_removal(connect, remove)
