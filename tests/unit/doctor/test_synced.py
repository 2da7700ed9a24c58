"""Folders that a program keeps alike on several machines, as it leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.capabilities import needs_posix_homes, needs_symlinks

from looop_portable.doctor.synced import kept_by


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path.resolve() / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("USERPROFILE", str(made))
    return made


@pytest.mark.parametrize(
    ("mark", "program"),
    [
        (".stfolder/", "Syncthing"),
        (".stfolder", "Syncthing"),
        (".dropbox", "Dropbox"),
        (".dropbox.cache/", "Dropbox"),
        (".849C9593-D756-4E56-8D6E-42412F2A707B", "OneDrive"),
        (".tmp.drivedownload/", "Google Drive"),
        (".sync/ID", "Resilio Sync"),
    ],
)
def test_a_program_is_told_by_what_it_leaves_in_its_folder(home: Path, mark: str, program: str) -> None:
    folder = home / "work"
    below = folder / "a" / "claims"
    below.mkdir(parents=True)
    assert kept_by(str(below)) == ""
    (folder / mark).parent.mkdir(exist_ok=True)
    if mark.endswith("/"):
        (folder / mark).mkdir()
    else:
        (folder / mark).touch()
    assert kept_by(str(below)) == f"{program} ({folder})"
    assert kept_by(str(folder / "not there")) == f"{program} ({folder})"
    assert kept_by(str(home)) == ""


@pytest.mark.parametrize(
    ("folder", "program"),
    [
        ("Library/Mobile Documents", "iCloud"),
        ("library/MOBILE DOCUMENTS", "iCloud"),
        ("Library/CloudStorage/OneDrive-Contoso", "OneDrive"),
        ("Library/CloudStorage/Dropbox", "Dropbox"),
        ("Dropbox (Personal)", "Dropbox"),
        ("OneDrive - Contoso", "OneDrive"),
        ("iCloudDrive", "iCloud"),
    ],
)
def test_a_program_is_told_by_the_usual_name_of_its_folder(home: Path, folder: str, program: str) -> None:
    below = home / folder / "team" / "claims"
    below.mkdir(parents=True)
    assert kept_by(str(below)) == f"{program} ({home / folder})"


def test_what_only_sounds_like_it_is_nobody_s(home: Path) -> None:
    (home / ".dropbox").mkdir()  # Dropbox's own directory, which it does not keep elsewhere.
    for name in ("Library/Caches", "src/Dropbox", "CloudStorage/OneDrive", "Documents"):
        (home / name / "claims").mkdir(parents=True)
        assert kept_by(str(home / name / "claims")) == ""


@needs_posix_homes
@needs_symlinks
def test_a_directory_that_icloud_keeps_though_it_lies_elsewhere_is_told(home: Path) -> None:
    documents, cloud = home / "Documents", home / "Library" / "Mobile Documents" / "com~apple~CloudDocs"
    documents.mkdir()
    cloud.mkdir(parents=True)
    (cloud / "Documents").symlink_to(documents)
    assert kept_by(str(documents / "claims")) == f"iCloud ({documents})"


@needs_posix_homes
@pytest.mark.parametrize("said", ["", "[]", "{", '{"personal": 1}', '{"personal": {"path": ""}}', "null"])
def test_dropbox_says_where_its_folder_is_and_nonsense_says_nothing(home: Path, said: str) -> None:
    (home / ".dropbox").mkdir()
    box = home / "elsewhere" / "box"
    box.mkdir(parents=True)
    (home / ".dropbox" / "info.json").write_text(said)
    assert kept_by(str(box)) == ""
    (home / ".dropbox" / "info.json").write_text(json.dumps({"personal": {"path": str(box)}}))
    assert kept_by(str(box / "claims")) == f"Dropbox ({box})"
