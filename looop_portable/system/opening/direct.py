"""How files are opened where that depends on the filesystem: on NFS 4 and SMB.

NFS 4: no host that has died keeps the others waiting for a file. Without this, the server delegates a file that a host
reads to that host, and whoever wants to replace, remove, link or write it waits until the delegation has been given back.
A host that has lost its power gives nothing back: the others wait until its lease with the server has expired, which is
90 s on Linux (measured: a takeover hung for 72 s in the rename of a file that the dead holder had read).
There, opening with O_DIRECT asks for no delegation (OPEN4_SHARE_ACCESS_WANT_NO_DELEG in RFC 8881, since NFS 4.1). On NFS,
unlike on disks, it asks for no alignment either.
Does not guarantee: anything on NFS 4.0, where nobody can ask for that.
SMB: records are not made read-only. A read-only file cannot be removed there: the client is refused, makes it writable, and
removes it, three exchanges instead of one for each private file (measured: a fifth of all messages of a hand-over).
Does not guarantee there: that writing into a projection in place leaves the record alone, if the stamp was made where a
record may have two names, by a process on the server itself.
"""

from __future__ import annotations

import os
import sys

_DIRECT = getattr(os, "O_DIRECT", 0)
_MOUNTINFO = "/proc/self/mountinfo"
_SMB = ("cifs", "smb3")
_types: dict[int, str] = {}
"""By device; of disks there are none."""
_known: dict[str, str] = {}
"""The types of directories that are not on NFS 4: without this, every opening would cost one more call."""
_MOST = 10_000


def direct(path: str) -> int:
    """The flag to be added when `path` is opened."""
    known = _known.get(path.rpartition("/")[0])  # As `type_at`, for whoever opens often.
    return _DIRECT if (type_at(path) if known is None else known) == "nfs4" else 0


def read_only(path: str) -> bool:
    """Whether a record made at `path` should be read-only."""
    return type_at(path) not in _SMB


def type_at(path: str) -> str:
    """What Linux calls the network filesystem that `path`'s directory is on; empty for any other."""
    directory = path.rpartition("/")[0]
    if sys.platform != "linux":
        return ""
    known = _known.get(directory)
    if known is not None:
        return known
    try:
        device = os.stat(directory or ".").st_dev
    except OSError:
        return ""  # There is nothing to be opened, and that is for whoever opens to find out.
    found = ""
    if os.major(device) == 0:  # No disk.
        if device not in _types:
            try:
                _types[device] = type_of(device)
            except OSError:
                return ""  # Asked again the next time.
        found = _types[device]
        if found == "nfs4":
            return found
    if len(_known) >= _MOST:
        _known.clear()
    _known[directory] = found
    return found


def type_of(device: int) -> str:
    """The type of the filesystem with that number; empty if it is none that is told apart here. Raises OSError."""
    if sys.platform == "win32":
        return ""
    number = f" {os.major(device)}:{os.minor(device)} "
    try:
        with open(_MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line for line in file if number in line]
    except FileNotFoundError:
        return ""
    return next((name for name in ("nfs4", *_SMB) if any(f" - {name} " in line for line in lines)), "")
