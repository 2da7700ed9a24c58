"""Every backend that ships passes the exam that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from looop_portable.backends.memory import MemoryBackend
from looop_portable.backends.posix import PosixBackend
from looop_portable.testing.exam import BackendExam, Reopen


class TestPosix(BackendExam):
    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        backend = PosixBackend(str(tmp_path / "a place with spaces, and \u00e9"))
        if reason := backend.unavailable():
            pytest.skip(reason)
        return lambda: PosixBackend(str(tmp_path / "a place with spaces, and \u00e9"))


class TestMemory(BackendExam):
    @pytest.fixture
    def reopen(self) -> Reopen:
        backend = MemoryBackend()
        return lambda: backend
