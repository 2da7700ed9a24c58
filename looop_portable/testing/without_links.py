"""A filesystem without hard links, for whom there is none at hand: this process and all its children may make none.

    python -m looop_portable.testing.without_links [--errno NAME] COMMAND [ARGUMENT ...]

link(2) and linkat(2) then fail with EPERM, as on vfat, or with the error of that name: EACCES, as on Android, say. How: a
seccomp filter (seccomp(2)), for which no privilege is needed. Linux on x86-64 and arm64; elsewhere `deny` raises OSError.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_ARCHITECTURES = {"x86_64": (0xC000003E, (86, 265)), "aarch64": (0xC00000B7, (37,))}
"""What the kernel calls it (linux/audit.h), and the numbers of link and linkat."""


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Step)))


def possible() -> bool:
    """Whether `deny` is for this system. Trying it would take effect."""
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES


def deny(number: int = errno.EPERM) -> None:
    """From here on, no hard links: they fail with the error `number`. There is no way back."""
    if not possible():
        raise OSError(errno.ENOSYS, f"no filter for {sys.platform} on {platform.machine()}")
    architecture, calls = _ARCHITECTURES[platform.machine()]
    steps = [(_LOAD, 0, 0, 4), (_IF_EQUAL, 0, len(calls) + 1, architecture), (_LOAD, 0, 0, 0)]
    steps += [(_IF_EQUAL, len(calls) - index, 0, call) for index, call in enumerate(calls)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _FAIL | number)]
    filters = (_Step * len(steps))(*(_Step(*step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER, _Program(len(steps), filters), 0, 0)):
        option, second, third, *rest = call
        argument = ctypes.byref(third) if isinstance(third, _Program) else ctypes.c_ulong(third)
        if libc.prctl(option, ctypes.c_ulong(second), argument, *map(ctypes.c_ulong, rest)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    command = sys.argv[1:]
    if command[0] == "--errno":
        deny(getattr(errno, command[1]))
        command = command[2:]
    else:
        deny()
    os.execvp(command[0], command)  # noqa: S606 (that is what it is for)
