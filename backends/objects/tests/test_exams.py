"""The exams, on real servers: versitygw for S3, Azurite for Azure. None can be had here for Google's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from looop_portable.backends.base import Backend
from looop_portable.backends.engine import Engine
from looop_portable.backends.on_engine import OnEngine
from looop_portable.testing.engine_exam import Connect, EngineExam
from looop_portable.testing.exam import BackendExam
from looop_portable.testing.examiner import Reopen
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from support.servers.pretending import Pretending


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


class TestBackend(BackendExam):
    grain = 2.0
    """A store stamps with whole seconds, and so does its clock."""

    @pytest.fixture
    def reopen(self, connect: Connect) -> Reopen:
        return lambda: OnEngine(connect(), "s3")

    def cut_off(self, backend: Backend) -> OnEngine:
        return OnEngine(_nobody_listens(), "s3")


def _nobody_listens() -> Engine:
    return ObjectEngine(place_in("s3://claims/x?endpoint=http://127.0.0.1:1"))
