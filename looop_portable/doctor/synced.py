"""Whether a directory is in a folder that a program keeps alike on several machines: iCloud, Dropbox, Syncthing ...

Does not guarantee: that a program is found which leaves no mark in its folder, and whose folder has another name than
usual; nor that the one that is found is still running, or that there is another machine.
How: each of the directories above is looked at. These programs leave marks in the folders that they keep, or give them
names; macOS has its own and its providers' in two directories of ~/Library. Dropbox says in info.json where its are, and
iCloud has links to those that it keeps elsewhere (Desktop, Documents).
"""

from __future__ import annotations

import contextlib
import json
import os
import unicodedata
from collections.abc import Iterator

from looop_portable.system.mounts import identity_of, real_path, with_parents

_MARKS = {
    ".stfolder": "Syncthing",
    ".dropbox.cache": "Dropbox",
    ".849C9593-D756-4E56-8D6E-42412F2A707B": "OneDrive",
    ".tmp.drivedownload": "Google Drive",
    ".tmp.driveupload": "Google Drive",
    ".nextcloudsync.log": "Nextcloud",
    ".owncloudsync.log": "ownCloud",
    ".sync/ID": "Resilio Sync",
    ".SynologyWorkingDirectory": "Synology Drive",
}
"""What these programs leave in the folder that they keep."""
_DROPBOX_MARK = ".dropbox"
"""A file. In the home directory a directory of this name is Dropbox's own."""
_IN_HOME = {"icloud": "iCloud", "dropbox": "Dropbox", "onedrive": "OneDrive", "google drive": "Google Drive"}
"""How the usual names of their folders in the home directory begin."""
_LIBRARY, _ICLOUD, _PROVIDERS = "library", "mobile documents", "cloudstorage"
_ICLOUD_LINKS = "Library/Mobile Documents/com~apple~CloudDocs"
_DROPBOX_SAYS = (".dropbox/info.json", "AppData/Local/Dropbox/info.json", "AppData/Roaming/Dropbox/info.json")
_LARGEST = 1 << 16


def kept_by(directory: str) -> str:
    """Which program keeps it on several machines, and which folder that is; empty if none is known to."""
    above = list(with_parents(real_path(directory)))
    home = os.path.expanduser("~")
    elsewhere = {identity_of(path): program for program, path in _elsewhere(home)}
    its_home = identity_of(home)
    for path in above:
        found, in_home = identity_of(path), its_home is not None and its_home == identity_of(os.path.dirname(path))
        program = (found and elsewhere.get(found)) or _by_name(path, in_home=in_home) or _by_mark(path)
        if program:
            return f"{program} ({path})"
    return ""


def _by_name(path: str, *, in_home: bool) -> str:
    """Of what macOS keeps, and of a folder that lies in the home directory."""
    names = [_folded(name) for name in path.replace(os.sep, "/").split("/")]
    if names[-2:] == [_LIBRARY, _ICLOUD]:
        return "iCloud"
    if names[-3:-1] == [_LIBRARY, _PROVIDERS]:
        return os.path.basename(path).partition("-")[0]
    return next((program for begins, program in _IN_HOME.items() if in_home and names[-1].startswith(begins)), "")


def _by_mark(path: str) -> str:
    for mark, program in _MARKS.items():
        if os.path.lexists(f"{path}/{mark}"):
            return program
    return "Dropbox" if os.path.isfile(f"{path}/{_DROPBOX_MARK}") else ""


def _elsewhere(home: str) -> Iterator[tuple[str, str]]:
    """Programs, and directories that they say they keep."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"{home}/{_ICLOUD_LINKS}"):
            if os.path.islink(f"{home}/{_ICLOUD_LINKS}/{name}"):
                yield "iCloud", f"{home}/{_ICLOUD_LINKS}/{name}"
    for where in _DROPBOX_SAYS:
        for folder in _dropboxes(f"{home}/{where}"):
            yield "Dropbox", folder


def _dropboxes(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            accounts = json.loads(file.read(_LARGEST))
        return [str(each["path"]) for each in accounts.values() if isinstance(each, dict) and each.get("path")]
    except (OSError, ValueError, AttributeError):
        return []


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
