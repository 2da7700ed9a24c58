"""What macOS's kernel says of a process, and of itself, by sysctl(3).

Guarantees: a start token is what the kernel noted when the process began (`p_starttime`). No step of the clock moves it,
and whoever asks is told the same. Nothing is made up: what a sandbox refuses is an error, or empty.
Does not guarantee: that each sandbox lets us ask. Those of common coding agents refuse kern.bootsessionuuid and
kern.boottime, and allow kern.proc.pid.
How: KERN_PROC_PID, and of its `struct kinfo_proc` (sys/sysctl.h, sys/proc.h), which is the same on Intel and on ARM, the
three fields whose places are below. psutil asks the same, but moves the start with the clock (since 7.1), and takes 31 ms
to import.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from looop_portable.protocol.liveness import ProcessState
from looop_portable.protocol.records import MOST_PID

_PROCESS = (1, 14, 1)
"""CTL_KERN, KERN_PROC, KERN_PROC_PID; the process id follows."""
_SIZE = 648
"""Bytes of a `struct kinfo_proc`."""
_START, _STAT, _PID = 0, 36, 40
"""Where in it are p_starttime (seconds: 8 bytes, microseconds: 4), p_stat (1) and p_pid (4)."""
_STOPPED, _ZOMBIE = 4, 5
"""SSTOP, SZOMB."""
_BOOT_SESSION = b"kern.bootsessionuuid"


class NotReported(Exception):
    """This system has no such call, or answers it otherwise than we know."""


def process(pid: int) -> tuple[ProcessState, str] | None:
    """State and start token; None: there is no such process. Raises OSError where it is refused, and `NotReported`.

    The token is spelled as psutil's is whose clock was never set: so that it is the one that earlier versions recorded.
    """
    if not 0 < pid <= MOST_PID:
        return None  # Cut to what a `c_int` has room for, it would be another's.
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        sysctl = libc.sysctl
    except AttributeError:
        raise NotReported from None
    name = (ctypes.c_int * 4)(*_PROCESS, pid)
    answer, size = ctypes.create_string_buffer(_SIZE), ctypes.c_size_t(_SIZE)
    if sysctl(name, 4, answer, ctypes.byref(size), None, 0) != 0:
        _raise_but_for_none(ctypes.get_errno(), pid)
        return None
    if size.value == 0:
        return None
    if size.value != _SIZE or struct.unpack_from("=i", answer, _PID) != (pid,):
        raise NotReported
    seconds, microseconds = struct.unpack_from("=qi", answer, _START)
    state = {_STOPPED: ProcessState.STOPPED, _ZOMBIE: ProcessState.ZOMBIE}.get(answer.raw[_STAT], ProcessState.RUNNING)
    return state, repr(seconds + microseconds / 1e6)


def _raise_but_for_none(number: int, pid: int) -> None:
    if number == errno.ESRCH:
        return
    if number in (errno.ENOMEM, errno.ENOSYS):  # ENOMEM: its answer is longer than ours has room.
        raise NotReported
    raise OSError(number, os.strerror(number), f"process {pid}")


def boot_session() -> str:
    """New with each boot, and of no other Mac; empty where a sandbox refuses it. Never made up from anything else."""
    size = ctypes.c_size_t(64)
    value = ctypes.create_string_buffer(size.value)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sysctlbyname(_BOOT_SESSION, value, ctypes.byref(size), None, 0) != 0:
        return ""
    return value.value.decode("ascii", "replace")
