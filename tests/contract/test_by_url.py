"""A backend that is opened by a URL passes the exam of all: what keeps its password from us changes nothing else."""

from __future__ import annotations

from typing import cast

import pytest
from support.engines import Faulty, InProcess

from looop_portable.backends.base import Backend
from looop_portable.backends.engine import Engine
from looop_portable.backends.on_engine import OnEngine
from looop_portable.backends.sealed import Sealed
from looop_portable.protocol.addresses import Address
from looop_portable.testing.exam import BackendExam
from looop_portable.testing.examiner import Reopen


def on(engine: Engine) -> Backend:
    return cast("Backend", Sealed(OnEngine(engine, "mine"), Address("mine://me:s3cret@host")))


class TestSealed(BackendExam):
    @pytest.fixture
    def reopen(self) -> Reopen:
        engine = InProcess()
        return lambda: on(engine)

    def cut_off(self, backend: Backend) -> Backend:
        engine = Faulty(InProcess())
        engine.is_cut_off = True
        return on(engine)
