"""Every backend that ships passes the exam that ships; one that cannot be used here says why, and is skipped with that."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from support.beating import BeatingBackend
from support.capabilities import open_or_skip

from looop_portable.backends import SHIPPED, open_backend
from looop_portable.backends.base import Backend
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.backends.memory import MemoryBackend
from looop_portable.backends.remembered import Remembered
from looop_portable.testing import exam, exam_life, exam_sessions, exam_waiting, examiner
from looop_portable.testing.exam import BackendExam
from looop_portable.testing.examiner import Reopen
from looop_portable.testing.faults import ONWARD, Fault, Injector, faulty


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

    def cut_off(self, backend: Backend) -> Backend:
        if not isinstance(backend, DirectoryBackend):
            return faulty(backend, Injector(Fault(1, ONWARD)))
        data_dir, files = backend.sessions.directory.rpartition("/")[0], backend.sessions.files
        silent = Injector(Fault(1, ONWARD), lambda why: OSError(errno.EIO, why))
        return DirectoryBackend(data_dir, backend.policy, faulty(files, silent))


class TestRemembered(BackendExam):
    """A backend of others as `open_backend` gives it: the data directory remembers that its claims are elsewhere."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        backend = BeatingBackend()
        return lambda: Remembered(backend, "beating", str(tmp_path))

    def cut_off(self, backend: Backend) -> Backend:
        return faulty(backend, Injector(Fault(1, ONWARD)))


def test_what_fails_in_the_exam_tells_the_values_too() -> None:
    """Pytest rewrites the assertions of its modules, as it does those of a plug-in's own tests."""
    for part in (exam, exam_life, exam_sessions, exam_waiting, examiner):
        assert type(part.__loader__).__name__ == "AssertionRewritingHook"


def test_the_exam_is_imported_where_there_is_no_pytest() -> None:
    """By a program that uses the faults or the explorer."""
    program = "import sys, looop_portable.testing.exam, looop_portable.testing.faults; print('pytest' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
