"""Processes of the doctor's own: this Python, with this package, wherever it was found.

How: `-c` and not `-m`, and `-P`, so that a file that lies in the current directory and is called as a module of Python's is
not taken for it. What a child is to do it reads as one JSON object on its stdin: paths of any spelling arrive whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

_PACKAGE = os.path.abspath(f"{__file__}/../../../..")
_START = """\
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path.insert(0, sys.argv[1])
import looop_portable
del sys.path[0]
from importlib import import_module
import_module(sys.argv[2]).serve()
"""
PATIENCE = 60.0
"""Seconds: how long a Python may take to start on a very slow machine."""


def start(module: str, job: Mapping[str, object]) -> subprocess.Popen[str]:
    """A process that runs `serve()` of a module of this package. It does not hear Ctrl-C: whoever starts it ends it."""
    command = [sys.executable, "-P", "-c", _START, _PACKAGE, module]
    pipe = subprocess.PIPE
    child = subprocess.Popen(  # noqa: S603 (this Python, and a module of ours)
        command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace"
    )
    assert child.stdin
    try:
        child.stdin.write(json.dumps(job) + "\n")
        child.stdin.flush()
    except OSError:
        return child  # It has ended already; its stderr says why.
    return child


def job() -> dict[str, object]:
    """In a child: what it is to do."""
    found = json.loads(sys.stdin.readline())
    assert isinstance(found, dict)
    return found


def end(child: subprocess.Popen[str]) -> str:
    """End it, if it has not ended. The last line that it wrote on stderr."""
    if child.poll() is None:
        child.kill()
    try:
        said = child.communicate(timeout=10)[1] or ""
    except subprocess.TimeoutExpired:  # Stuck in the filesystem: the kernel keeps it until that answers.
        return "it hangs in a call to the filesystem"
    except (OSError, ValueError):
        return ""
    return (said.strip().splitlines() or [""])[-1]
