"""What the BSDs' kernels say of a process's start, and of themselves.

Guarantees: no step of the clock makes another start of a process's. Nothing is made up from host names, which networks
give, or from the time of boot, which moves with the clock.
Does not guarantee: an identity of the kernel. FreeBSD tells one (kern.boot_id), the others none.
How: NetBSD's start is the time of day at the fork, and stays (psutil moves it: see `kernel_psutil`). The others count it
from the boot, and tell it as a time of day by adding kern.boottime, which moves with the clock; so that is taken off
again. psutil tells kern.boottime in whole seconds: of two starts less than two seconds apart it cannot be told whether a
step is between.
Not tried: there is no BSD here. What is said of them is from their sources, and psutil's.
"""

from __future__ import annotations

import ctypes
import math
import sys

_SINCE_BOOT = "since boot: "
_UNCERTAIN = 2.0
"""Seconds."""


def moves(platform: str) -> bool:
    """Whether its kernel tells the start of a process by a clock that is set."""
    return platform.startswith(("freebsd", "openbsd", "dragonfly"))


def since_boot(created: float, booted: float) -> str:
    """The start token of a process that was made at `created`, where the kernel has booted at `booted`."""
    return f"{_SINCE_BOOT}{created - booted:.6f}"


def told_apart(recorded: str, found: str) -> bool:
    """Whether two tokens are certain to be those of two processes: no step of the clock is all that is between them."""
    first, second = _seconds(recorded), _seconds(found)
    if first is None or second is None:
        return False  # The one is an earlier version's, which moved.
    return abs(first - second) > _UNCERTAIN


def _seconds(start: str) -> float | None:
    try:
        seconds = float(start.removeprefix(_SINCE_BOOT))
    except ValueError:
        return None
    return seconds if start.startswith(_SINCE_BOOT) and math.isfinite(seconds) else None


def boot_id() -> str:
    """FreeBSD's kern.boot_id: random, and new with each boot. Empty where there is none."""
    answer = _sysctl(b"kern.boot_id", 16)
    return answer.hex() if len(answer) == 16 and any(answer) else ""


def namespace() -> str:
    """Of pids: all that the kernel has, but for a jail of FreeBSD's, which sees its own alone: there it is empty."""
    if any(_sysctl(b"security.jail.jailed", 4)):
        return ""
    return f"pids of {sys.platform}"


def _sysctl(name: bytes, room: int) -> bytes:
    """What it answers, in at most so many bytes; none where it does not."""
    size = ctypes.c_size_t(room)
    value = ctypes.create_string_buffer(room)
    try:
        failed = ctypes.CDLL(None, use_errno=True).sysctlbyname(name, value, ctypes.byref(size), None, 0)
    except AttributeError:  # OpenBSD has none.
        return b""
    return b"" if failed else value.raw[: size.value]
