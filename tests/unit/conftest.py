"""Units have their files in memory where there is room: on a disk half of their time goes to what the disk waits for.

Does not guarantee: what differs between filesystems, as numbers of files that come again. The other tests are on the disk,
and so are these with UNITS_ON_DISK=1, as the newer Pythons have them in tox.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOM = 2**29
"""Bytes: some times what they need. In many containers there is less."""


def has_room() -> bool:
    """And whether it is a place: a path without a drive is none where paths have one."""
    try:
        return MEMORY.is_absolute() and os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    except OSError:
        return False


@pytest.fixture(scope="session")
def memory() -> Iterator[Path | None]:
    """A directory in memory. None: where temporary files are made anyway will do."""
    if os.environ.get("UNITS_ON_DISK") == "1" or not has_room():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="units-", dir=MEMORY, ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture(autouse=True)
def in_memory(memory: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of units alone: others share a process with them, and have other users look at their files."""
    if memory:
        monkeypatch.setattr(tempfile, "tempdir", str(memory))


@pytest.fixture
def tmp_path(memory: Path | None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = re.sub(r"\W", "_", request.node.name)[:30]
    if memory is None:
        return tmp_path_factory.mktemp(name, numbered=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=memory))
