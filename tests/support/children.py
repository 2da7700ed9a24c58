"""Processes that a test starts and talks to over pipes, and that end with it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator

Child = subprocess.Popen[str]
Start = Callable[..., Child]


@contextlib.contextmanager
def starting(**defaults: object) -> Iterator[Start]:
    """Gives what starts a command (options: `Popen`'s). What was started is killed in the end, and waited for."""
    pipe = subprocess.PIPE
    chosen = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True, **defaults}
    started: list[Child] = []

    def start(*command: str, **options: object) -> Child:
        child: Child = subprocess.Popen(command, **{**chosen, **options})  # type: ignore[call-overload]
        started.append(child)
        return child

    try:
        yield start
    finally:
        for child in started:
            child.kill()
            child.wait()
            for stream in filter(None, (child.stdin, child.stdout, child.stderr)):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()  # Without a look at what comes: a command that was left behind holds it open.


def says(child: Child) -> str:
    """Its next line."""
    assert child.stdout
    return child.stdout.readline().strip()
