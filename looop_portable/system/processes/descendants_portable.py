"""What a command has started, where there is no /proc: on macOS and the BSDs.

Guarantees: who is stopped or killed here has the command above it, is in its group, or has its run's variables in the
environment that it began with; and not a later one of its id.
Does not guarantee: to find all that does. A sandbox may refuse to list processes, and macOS tells no environment of a
program of its own. Then what is in the command's group is killed by that (`guardian`), and the rest goes on.
How: psutil, which asks the kernel (sysctl(3)). It is imported when there is something to be ended, and not before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable

from looop_portable.protocol.liveness import ProcessState
from looop_portable.system.processes import SYSTEM
from looop_portable.typed import TYPE_CHECKING

assert sys.platform != "win32"

if TYPE_CHECKING:
    import psutil

_PAUSE = 0.005
_LONGEST = 5.0
"""Seconds for which those are waited for that were killed: another user's are not."""


class Unseen:
    """What the process `pid` has started."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start = SYSTEM.start_of(pid)

    def is_reused(self) -> bool:
        """Whether the process id is another's by now."""
        return SYSTEM.state(self._pid, self._start) is ProcessState.REUSED

    def end_others(self, group: int, words: frozenset[bytes]) -> None:
        """Kill all but the process itself, which is stopped, and wait until they are gone.

        All are stopped before any is killed, so that they make no more. `group`: of the process, or 0; `words`:
        as in `Marks`.
        """
        if sys.platform == "linux":  # Without its own /proc here: psutil would ask that of another pid namespace.
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, signal.SIGSTOP)
        ends = 0.0
        stopped: set[psutil.Process] = set()
        while found := self._others(group, words):
            for each in found - stopped:
                _signal(each.suspend)
            if found <= stopped:
                for each in found:
                    _signal(each.kill)
                ends = ends or time.monotonic() + _LONGEST  # Not before: a busy machine takes seconds to say who they are.
                if time.monotonic() >= ends:
                    return
                time.sleep(_PAUSE)
            stopped |= found

    def _others(self, group: int, words: frozenset[bytes]) -> set[psutil.Process]:
        """Those that run. None where nobody says which processes there are."""
        try:
            import psutil

            here = [each for each in psutil.process_iter() if each.pid not in (os.getpid(), self._pid)]
        except (ImportError, OSError, psutil.Error):
            return set()
        children: dict[int, list[psutil.Process]] = {}
        above = [self._pid]
        for each in here:
            with contextlib.suppress(psutil.Error, OSError):
                if each.status() == psutil.STATUS_ZOMBIE:
                    continue
                children.setdefault(each.ppid(), []).append(each)
                if (group and os.getpgid(each.pid) == group) or _is_marked(each, words):
                    children.setdefault(self._pid, []).append(each)
        found: set[psutil.Process] = set()
        while above:
            new = set(children.pop(above.pop(), [])) - found
            found |= new
            above += [each.pid for each in new]
        return found


def _is_marked(process: psutil.Process, words: frozenset[bytes]) -> bool:
    if not words:
        return False
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        environment = process.environ()
        return words <= {os.fsencode(f"{name}={value}") for name, value in environment.items()}
    return False


def _signal(signal_of: Callable[[], object]) -> None:
    """Of one that has ended, or is another user's, there is nothing to be told."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        signal_of()
