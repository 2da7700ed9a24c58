"""Programs that hold, the containers they are in, and what is asked of them: refused while they live, free after they died.

Nothing is taken for so because time has passed: who lives is asked for again and again, and who has died until his claim is
free, for `PATIENCE` at most.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import psutil
from support.capabilities import PID_NAMESPACE

LEASE = 3
"""Seconds: the shortest there is."""
WATCHED = 1.2 * LEASE
"""Seconds for which a claim is asked for whose holder lives: past its lease."""
PATIENCE = 60.0
"""Seconds until a claim has to be free. It is free after 4/3 of the lease, on a machine that has nothing else to do."""

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LOOOP_LEASE": str(LEASE)}
LOOOP = [sys.executable, "-m", "looop_portable"]

HOLDER = """
import sys
from looop_portable import hold
with hold(sys.argv[2], data_dir=sys.argv[1], lease_seconds=3) as lease:
    print("holds", lease.generation, flush=True)
    sys.stdin.readline()
"""


class Party:
    """A program, and all that it starts. What it is to say comes line by line."""

    def __init__(self, *command: str) -> None:
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LOOOP_LEASE": str(LEASE)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=here,
            start_new_session=True,
        )

    def says(self) -> str:
        """The next line; empty: it has ended. Killed if it says none for too long."""
        assert self.process.stdout
        hanging = threading.Timer(PATIENCE, self.kill)
        hanging.start()
        try:
            return self.process.stdout.readline().strip()
        finally:
            hanging.cancel()

    def hears(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, to all of it: stopped first, so that nobody in it lives to see another one's death."""
        with suppress(psutil.NoSuchProcess):
            at = psutil.Process(self.process.pid)
            whole = [*reversed(at.children(recursive=True)), at]
            for each in whole:
                with suppress(psutil.NoSuchProcess):
                    each.suspend()
            for each in whole:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.process.communicate()


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


class Asked(NamedTuple):
    """What came of it when somebody, at `place`, asked for a claim: 0 he got it, 1 it is held."""

    place: str
    name: str
    code: int
    said: str


class Place(NamedTuple):
    """Where a program is run: `prefix` makes the words that put it there, for each program anew."""

    called: str
    prefix: Callable[[], list[str]]

    def party(self, *command: str) -> Party:
        return Party(*self.prefix(), *command)

    def ask(self, store: Path, *names: str) -> list[Asked]:
        """Ask for each of them at once, by `looop run`, which lets go again."""
        asked = [[*self.prefix(), *LOOOP, "--data-dir", str(store), "run", "--claim", each, "--", "true"] for each in names]
        pipe, environment = subprocess.PIPE, {**os.environ, **ENVIRONMENT}
        running = [subprocess.Popen(each, stdout=pipe, stderr=pipe, text=True, env=environment) for each in asked]
        found = []
        for name, process in zip(names, running, strict=True):
            said = " ".join(process.communicate(timeout=PATIENCE)).strip()
            found.append(Asked(self.called, name, process.returncode, said))
        return found


HOST = Place("the host", list)
ANOTHER_NAMESPACE = Place("another pid namespace", PID_NAMESPACE.copy)


def let_in(store: Path, names: list[str], places: list[Place], seconds: float = WATCHED) -> list[Asked]:
    """All that was answered otherwise than "held" within so many seconds, of holders that live: it is to be nothing."""
    end, wrong = time.monotonic() + seconds, list[Asked]()
    for number in range(1000):
        if number >= 3 and time.monotonic() > end:
            break
        for place in places:
            wrong += [asked for asked in place.ask(store, *names) if asked.code != 1]
    return wrong


def never_free(store: Path, names: list[str], place: Place) -> list[Asked]:
    """The last refusals for those that are not free within `PATIENCE`, of holders that have died: it is to be nothing."""
    end, left = time.monotonic() + PATIENCE, [Asked(place.called, name, 1, "") for name in names]
    while left and time.monotonic() < end:
        left = [asked for asked in place.ask(store, *(asked.name for asked in left)) if asked.code != 0]
    return left
