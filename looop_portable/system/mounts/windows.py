"""What volume a path is on, on Windows: `mounts` there.

Does not guarantee: the name of a network drive's protocol; Windows tells the server's own filesystem (NTFS, mostly).
How: GetVolumePathName, which knows volumes mounted into folders, GetDriveType, GetVolumeInformation (its serial number is
`Mount.number`), WNetGetConnection.
"""

from __future__ import annotations

import ctypes
import sys

from looop_portable.system.mounts.mount import Mount

assert sys.platform == "win32"

_LENGTH = 32_768
_KINDS = {2: "removable", 3: "fixed", 4: "remote", 5: "cdrom", 6: "ramdisk"}
_REMOTE = 4
_LONG = 248
"""Characters of a path from which on it is only taken with the prefix."""
_FLAGS = {0x1: "case_sensitive_search", 0x80000: "ro", 0x400000: "hard_links"}


def volume_of(path: str) -> Mount | None:
    """The volume of an absolute `path`; None if the system does not tell."""
    kernel = ctypes.windll.kernel32
    found = ctypes.create_unicode_buffer(_LENGTH)
    if not kernel.GetVolumePathNameW(ctypes.c_wchar_p(_prefixed(path)), found, _LENGTH):
        return None
    found.value = _plain(found.value)
    root = found.value if found.value.endswith("\\") else found.value + "\\"
    kind = kernel.GetDriveTypeW(ctypes.c_wchar_p(root))
    name = ctypes.create_unicode_buffer(261)
    serial, flags = ctypes.c_uint32(), ctypes.c_uint32()
    asked = ctypes.c_wchar_p(root), None, 0, ctypes.byref(serial), None, ctypes.byref(flags), name, len(name)
    if not kernel.GetVolumeInformationW(*asked):
        name.value, serial.value, flags.value = "", 0, 0
    share = root.startswith("\\\\") and not root.startswith("\\\\?\\")
    remote = share or kind == _REMOTE
    options = [
        "remote" if remote else _KINDS.get(kind, "unknown"),
        *(word for bit, word in _FLAGS.items() if flags.value & bit),
    ]
    kind_of_filesystem = name.value.lower() or ("smb" if remote else "unknown")
    return Mount(root, kind_of_filesystem, _source(root) if remote else root, tuple(options), serial.value)


def _prefixed(path: str) -> str:
    if len(path) < _LONG or path.startswith("\\\\?\\"):
        return path
    path = path.replace("/", "\\")
    return f"\\\\?\\UNC{path[1:]}" if path.startswith("\\\\") else f"\\\\?\\{path}"


def _plain(path: str) -> str:
    return f"\\{path[7:]}" if path.startswith("\\\\?\\UNC\\") else path.removeprefix("\\\\?\\")


def _source(root: str) -> str:
    """The share behind a drive's letter."""
    share = ctypes.create_unicode_buffer(_LENGTH)
    length = ctypes.c_uint32(_LENGTH)
    if root.startswith("\\\\"):
        return root.rstrip("\\")
    if ctypes.windll.mpr.WNetGetConnectionW(ctypes.c_wchar_p(root.rstrip("\\")), share, ctypes.byref(length)):
        return root
    return share.value
