"""What mount a directory is on, on macOS: `mounts` there.

Does not guarantee: the options of NFS: the kernel tells flags, and `nolocks` and `locallocks` are none.
How: statfs(2). The kernel follows the path itself, whatever its case, its normal form, its links and firmlinks: the names
`/volumes/team` and `/Volumes/Team` are one there, and /Users is on another volume than /.
The places of the fields are those of `struct statfs` with 64-bit inode numbers (sys/mount.h); on Intel the calls that fill
it have names of their own.
"""

from __future__ import annotations

import ctypes
import os
import struct

from looop_portable.system.mounts.mount import NOT_LOCAL, Mount

_ROOM = 4096
"""Bytes, of which a `struct statfs` takes 2168."""
_FLAGS, _TYPE, _POINT, _SOURCE = 64, 72, 88, 1112
_TYPE_LENGTH, _PATH_LENGTH = 16, 1024
_LOCAL = 0x1000
"""MNT_LOCAL."""
_WORDS = {0x1: "ro", 0x2: "sync", 0x8: "nosuid", 0x40: "async", _LOCAL: "local", 0x4000: "rootfs"}


def mount_at(path: str) -> Mount | None:
    """Of something that is there; None if the system does not tell. It is not opened: a pipe in its place would hang us."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer = ctypes.create_string_buffer(_ROOM)
    for name in ("statfs$INODE64", "statfs"):
        try:
            call = getattr(libc, name)
        except AttributeError:
            continue
        return mount_of_answer(answer.raw) if call(os.fsencode(path), answer) == 0 else None
    return None


def mount_of_answer(answer: bytes) -> Mount | None:
    """What a `struct statfs` says; None if it is none of macOS's."""
    if len(answer) < _SOURCE + _PATH_LENGTH:
        return None
    kind = _text(answer, _TYPE, _TYPE_LENGTH).lower()
    point, source = _text(answer, _POINT, _PATH_LENGTH), _text(answer, _SOURCE, _PATH_LENGTH)
    if not kind.isprintable() or not kind or not point.startswith("/"):
        return None
    [flags] = struct.unpack_from("=I", answer, _FLAGS)
    words = [word for bit, word in _WORDS.items() if flags & bit]
    writable, away = ([] if "ro" in words else ["rw"]), ([] if flags & _LOCAL else [NOT_LOCAL])
    return Mount(point, kind, source, (*writable, *words, *away))


def _text(answer: bytes, start: int, length: int) -> str:
    return os.fsdecode(answer[start : start + length].split(b"\0", 1)[0])
