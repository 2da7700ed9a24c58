"""What a command has started is ended without /proc too, as on macOS and the BSDs."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from support.capabilities import needs_fork, needs_zombies
from support.crew import until

psutil = pytest.importorskip("psutil", reason="no psutil, which lists processes where there is no /proc")
PARENT = """
import os, time
child = os.fork()
if not child:
    os.setsid()
    time.sleep(600)
print(child, flush=True)
time.sleep(600)
"""


@needs_fork
@needs_zombies
def test_all_are_ended_however_long_it_takes_to_find_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from looop_portable.system.processes import descendants_portable as portable  # Not for Windows, which has jobs.

    hours = itertools.count(step=3600.0)
    monkeypatch.setattr(portable, "sys", SimpleNamespace(platform="freebsd14"))
    monkeypatch.setattr(portable, "time", SimpleNamespace(monotonic=lambda: next(hours), sleep=time.sleep))
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", PARENT], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout
        child = psutil.Process(int(command.stdout.readline()))
        portable.Unseen(command.pid).end_others(0, frozenset())
        ended = until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        child.kill()
        command.kill()
    assert ended
