"""What the command of `looop run` has started, as `looop run` sees it while it lives: its own descendants.

Does not guarantee: to see any where the system is not Linux, or has no /proc. Nor, in process 1 of a container, or where
this process had children before it was `looop run`, those without marks (`descendants`): others' orphans come to it too.
How: this process is a *child subreaper* (prctl(2)): whatever below it loses its parent becomes its own child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from looop_portable.system.clock import elapsed
from looop_portable.system.locks.session_locks import get_ready
from looop_portable.system.processes.descendants import Marks, Process, are_seen, below, everybody, is_marked, send
from looop_portable.typed import cast

assert sys.platform != "win32"

_PR_SET_CHILD_SUBREAPER = 36
_PAUSE, _LONGEST_PAUSE = 0.005, 0.5
"""Seconds."""


class Kin:
    """Make one before the command's process. `guardian`: a child that is not of the command; `marks`: of the run."""

    def __init__(self) -> None:
        self.guardian = 0
        self.marks = Marks()
        get_ready()
        self._mixed = False
        self._mixed = os.getpid() == 1 or self.some()
        if sys.platform == "linux":
            with contextlib.suppress(ImportError):  # A Python without it: then orphans are known by their marks alone.
                from _ctypes import call_function, dlopen, dlsym  # `ctypes` makes types that nobody needs for this.

                call_function(dlsym(dlopen(cast("str", None), os.RTLD_NOW), "prctl"), (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))

    def some(self) -> bool:
        """Whether any are left. What has ended counts until it is waited for: so none is overlooked that it left to us."""
        children = _children() if are_seen() and not self._mixed else None
        return bool(self.rest()) if children is None else not children <= {self.guardian}

    def rest(self) -> list[Process]:
        """Those that run, once the command's own process has ended, and has been waited for."""
        here, itself = everybody(), os.getpid()
        roots = [each for each in here if each.parent == itself and each.pid != self.guardian]
        if self._mixed:
            roots = [each for each in roots if is_marked(each, self.marks)]
        return [*roots, *below({each.pid for each in roots}, here)]


class Ending:
    """Each is asked once, and killed once, however often it is seen."""

    def __init__(self, kin: Kin) -> None:
        self._kin = kin
        self._signalled: set[tuple[int, int, int]] = set()

    def send(self, number: int) -> None:
        for each in self._kin.rest():
            if (each.pid, each.start, number) not in self._signalled:
                self._signalled.add((each.pid, each.start, number))
                send(each, number)
                if number != signal.SIGKILL:
                    send(each, signal.SIGCONT)  # Without this, one that is stopped would not hear of it.


def end_group(group: int, hurries: Callable[[], bool], heed: Callable[[float], object], grace: float) -> None:
    """What is left of a group whose leader has ended, where nobody says who is: asked, and killed after `grace` seconds.

    `heed`: sleep so long; `hurries`: do not wait for them any more. Gives up after twice the grace: zombies, say.
    """
    began, pause = elapsed(), _PAUSE
    with contextlib.suppress(ProcessLookupError, PermissionError):  # None is left, or none that we may signal.
        os.killpg(group, signal.SIGKILL if hurries() else signal.SIGTERM)
        os.killpg(group, signal.SIGCONT)
        while elapsed() < began + 2 * grace:
            os.killpg(group, signal.SIGKILL if hurries() or elapsed() >= began + grace else 0)
            heed(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _children() -> set[int] | None:
    """Of this process, those included that it has not waited for yet; None where the kernel does not list them."""
    with contextlib.suppress(OSError, ValueError):
        found: set[int] = set()
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as file:
                found |= {int(pid) for pid in file.read().split()}
        return found
    return None
