"""A heartbeat where there is no room for a byte: on a disk of this kernel's own it is a touch, anywhere else an error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.capabilities import NativeFiles

from looop_portable.system.mounts.mount import Mount

FULL = [errno.ENOSPC, errno.EDQUOT]
LONG_AGO = 1_000_000_000

pytestmark = pytest.mark.skipif(os.utime not in os.supports_fd, reason="no descriptor's times can be set")


@pytest.fixture
def path(tmp_path: Path) -> str:
    found = tmp_path / "heartbeat"
    found.write_bytes(b".")
    os.utime(found, ns=(LONG_AGO, LONG_AGO))
    return str(found)


def no_room(monkeypatch: pytest.MonkeyPatch, number: int, mount: Mount | None) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    monkeypatch.setattr("looop_portable.system.mounts.mount_of", lambda _: mount)


@pytest.mark.parametrize("kind", ["btrfs", "overlay", "tmpfs"])
@pytest.mark.parametrize("number", FULL)
def test_on_a_disk_of_our_own_it_is_a_touch(path: str, monkeypatch: pytest.MonkeyPatch, number: int, kind: str) -> None:
    no_room(monkeypatch, number, Mount("/", kind, "/dev/sda", ()))
    NativeFiles().beat(path)
    assert os.stat(path).st_mtime_ns > LONG_AGO
    assert os.stat(path).st_size == 1


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.unheard-of", ""])
@pytest.mark.parametrize("number", FULL)
def test_where_another_clock_may_have_a_part_it_fails(
    path: str, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    """On SMB utime(2) carries this host's clock, which may be wrong by hours."""
    no_room(monkeypatch, number, Mount("/", kind, "server:/", ()) if kind else None)
    with pytest.raises(OSError, match=os.strerror(number)):
        NativeFiles().beat(path)
    assert os.stat(path).st_mtime_ns == LONG_AGO


def test_any_other_error_is_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_room(monkeypatch, errno.EIO, Mount("/", "btrfs", "/dev/sda", ()))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        NativeFiles().beat(path)
