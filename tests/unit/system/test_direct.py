"""How files are opened where that depends on the filesystem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from looop_portable.system.files.posix import OsFiles
from looop_portable.system.opening import direct


@pytest.mark.parametrize(("filesystem", "writable"), [("", False), ("nfs4", False), ("cifs", True), ("smb3", True)])
def test_a_record_is_read_only_but_on_smb(
    filesystem: str, writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "type_at", lambda _path: filesystem)
    monkeypatch.setattr(direct, "_DIRECT", 0)  # Disks ask for an alignment with it.
    OsFiles().create(f"{tmp_path}/record", b"{}\n")
    assert bool(os.stat(tmp_path / "record").st_mode & 0o200) == writable


@pytest.mark.skipif(not hasattr(os, "makedev"), reason="devices have no numbers here")
@pytest.mark.parametrize("filesystem", ["nfs4", "cifs", "smb3", ""])
def test_the_type_of_a_filesystem_is_found_by_its_number(
    filesystem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"30 1 0:40 / /a rw - tmpfs none rw\n31 1 0:41 / /b rw,relatime - {filesystem or 'tmpfs'} //server/b rw\n"
    (tmp_path / "mountinfo").write_text(lines)
    monkeypatch.setattr(direct, "_MOUNTINFO", str(tmp_path / "mountinfo"))
    assert direct.type_of(os.makedev(0, 41)) == filesystem
    assert direct.type_of(os.makedev(0, 40)) == ""
