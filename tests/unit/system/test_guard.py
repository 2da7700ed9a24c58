"""The guard: whoever leaves it has released it, whatever the filesystem says to that."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from looop_portable.system.locks.guard import excludes, guard

fcntl = pytest.importorskip("fcntl", reason="fcntl.flock is missing")


@pytest.mark.parametrize("fails", [1, 2, 100], ids=["once", "twice", "always"])
@pytest.mark.parametrize("error", [errno.EIO, errno.EINTR, errno.ENOLCK, errno.EACCES])
def test_an_error_at_unlocking_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, error: int
) -> None:
    """NFS answers so when its server has lost the lock. What was done inside is done: nobody is told otherwise."""
    path, real, left = str(tmp_path / "guard"), fcntl.flock, [fails]

    def flock(fd: int, how: int) -> Any:
        if how == fcntl.LOCK_UN and left[0]:
            left[0] -= 1
            raise OSError(error, os.strerror(error))
        return real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with guard(path, 0):
        assert excludes(path)
    with guard(path, 0):
        pass
    monkeypatch.undo()
    assert not excludes(path)


def test_an_error_at_closing_leaves_the_guard_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = str(tmp_path / "guard"), os.close
    held: list[int] = []

    def close(fd: int) -> None:
        real(fd)
        if held and fd == held.pop():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with guard(path, 0):
        held += [int(name) for name in os.listdir("/dev/fd") if _is_open_as(int(name), path)]
        assert len(held) == 1
        monkeypatch.setattr(os, "close", close)
    monkeypatch.undo()
    assert held == []
    assert not excludes(path)


def _is_open_as(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False
