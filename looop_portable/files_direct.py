"""How files on NFS 4 are opened, so that no host that has died keeps the others waiting for it.

Without this: the server delegates a file that a host reads to that host, and whoever wants to replace, remove, link or
write it waits until the delegation has been given back. A host that has lost its power gives nothing back: the others wait
until its lease with the server has expired, which is 90 s on Linux (measured: a takeover hung for 72 s in the rename of a
file that the dead holder had read).
How: opening with O_DIRECT asks for no delegation (OPEN4_SHARE_ACCESS_WANT_NO_DELEG in RFC 8881, since NFS 4.1). On NFS,
unlike on disks, it asks for no alignment either.
Does not guarantee: anything on NFS 4.0, where nobody can ask for that.
"""

from __future__ import annotations

import os
import sys

_DIRECT = getattr(os, "O_DIRECT", 0)
_MOUNTINFO = "/proc/self/mountinfo"
_on_nfs4: dict[int, bool] = {}
"""By device."""
_elsewhere: set[str] = set()
"""Directories that are on something else: without this, every opening would cost one more call."""
_MOST = 10_000


def direct(path: str) -> int:
    """The flag to be added when `path` is opened."""
    directory = path.rpartition("/")[0]
    if sys.platform != "linux" or directory in _elsewhere:
        return 0
    try:
        device = os.stat(directory or ".").st_dev
    except OSError:
        return 0  # There is nothing to be opened, and that is for whoever opens to find out.
    if os.major(device) == 0:  # No disk.
        if device not in _on_nfs4:
            _on_nfs4[device] = _is_on_nfs4(device)
        if _on_nfs4[device]:
            return _DIRECT
    if len(_elsewhere) >= _MOST:
        _elsewhere.clear()
    _elsewhere.add(directory)
    return 0


def _is_on_nfs4(device: int) -> bool:
    if sys.platform == "win32":
        return False
    number = f" {os.major(device)}:{os.minor(device)} "
    try:
        with open(_MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            return any(number in line and " - nfs4 " in line for line in file)
    except OSError:
        return False
