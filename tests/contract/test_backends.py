"""Every backend that ships passes the exam that ships; one that cannot be used here says why, and is skipped with that."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.capabilities import open_or_skip

from looop_portable.backends import SHIPPED, open_backend
from looop_portable.backends.memory import MemoryBackend
from looop_portable.testing.exam import BackendExam, Reopen


class TestShipped(BackendExam):
    @pytest.fixture(params=SHIPPED)
    def reopen(self, request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
        name = str(request.param)
        if name == "memory":
            backend = MemoryBackend()
            return lambda: backend
        directory = tmp_path / "a place with spaces, and \u00e9"
        open_or_skip(name, directory)
        return lambda: open_backend(name, str(directory))
