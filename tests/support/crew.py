"""Real processes that do what a test tells them, and that can wait for each other in the middle of it.

Each is started anew and not forked, as every system can do that: what it is told is pickled, so it is defined here.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from looop_portable import Claims, Head, SessionAlive, Won
from looop_portable.backends import open_backend
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.protocol.records import Holder

PATIENCE = 120  # Seconds without an answer, after which a process is taken for hanging.
LONG_ENOUGH = 8.0  # Seconds, after which a race that has had its fewest rounds may end.

Meet = Callable[[], None]
Work = Callable[..., object]
Recruit = Callable[[Meet], Work]
"""Called in the new process; what it returns is called with each command, and its result is the answer."""

_PROGRAM = "from support import crew; crew.serve()"


class Crew:
    """Processes that all do what they are told; `meet` lets them wait for each other in the middle of it."""

    def __init__(self, recruits: list[Recruit]) -> None:
        there = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.processes = [
            subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=there)
            for _ in recruits
        ]
        for process, recruit in zip(self.processes, recruits, strict=True):
            self._say(process, recruit)

    def ask(self, *command: object) -> list[Any]:
        """Everybody's answer to `command`."""
        self._tell(command)
        return self._answers()

    def begin(self, *command: object) -> None:
        """Tell it to everybody, and go on: `answers` waits for what comes of it."""
        self._tell(command)

    def answers(self) -> list[Any]:
        """Everybody's answer to what was begun."""
        return self._answers()

    def meet(self, *command: object) -> list[Any]:
        """The same, and nobody goes past `meet` before all have come to it."""
        self._tell(command)
        assert self._answers() == ["met"] * len(self.processes)
        self._tell("go on")
        return self._answers()

    def pid(self) -> int:
        """Of a crew of one."""
        (process,) = self.processes
        return process.pid

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdin
            assert process.stdout
            process.stdout.close()
            try:
                process.stdin.close()
            except OSError:  # What was still to be written to it. It does not matter any more.
                continue

    def _tell(self, word: object) -> None:
        for process in self.processes:
            self._say(process, word)

    def _say(self, process: subprocess.Popen[bytes], word: object) -> None:
        assert process.stdin
        pickle.dump(word, process.stdin)
        process.stdin.flush()

    def _answers(self) -> list[object]:
        return [self._answer(process) for process in self.processes]

    def _answer(self, process: subprocess.Popen[bytes]) -> object:
        assert process.stdout
        hanging = threading.Timer(PATIENCE, process.kill)
        hanging.start()
        try:
            kind, answer = pickle.load(process.stdout)
        finally:
            hanging.cancel()
        assert kind == "done", answer
        return answer


@contextmanager
def crew_of(*recruits: Recruit) -> Iterator[Crew]:
    crew = Crew(list(recruits))
    try:
        yield crew
    finally:
        crew.end()


def serve() -> None:
    """What a process of a crew does, until it is killed or nobody asks any more."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        work = pickle.load(asked)(partial(_met, asked, answers))
        while True:
            command = pickle.load(asked)
            _reply(answers, "done", work(*command))
    except EOFError:
        return
    except Exception:  # noqa: BLE001 (whatever it is, the test tells)
        _reply(answers, "failed", traceback.format_exc())


def _met(asked: BinaryIO, answers: BinaryIO) -> None:
    _reply(answers, "done", "met")
    assert pickle.load(asked) == "go on"


def _reply(answers: BinaryIO, kind: str, answer: object) -> None:
    pickle.dump((kind, answer), answers)
    answers.flush()


def until(there: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether it is so within `seconds`; looked at again and again. Nothing is taken for so because time has passed."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def program_says(program: str, *arguments: str) -> str:
    """The output of a Python program of its own, that succeeds and says nothing on stderr."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def in_time(rounds: list[str], fewest: int) -> Iterator[str]:
    """`rounds`, but when they take long, after the `fewest` only as many as there is time for."""
    began = time.monotonic()
    for number, each in enumerate(rounds):
        if number >= fewest and time.monotonic() - began > LONG_ENOUGH:
            return
        yield each


class Meeting:
    """All read, and nobody acts on it before all have: once, if `meet` is set."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read
        self.meet: Meet | None = None

    def __call__(self, name: str) -> Any:
        found = self._read(name)
        meet, self.meet = self.meet, None
        if meet:
            meet()
        return found


def open_directory(backend: str, directory: str) -> DirectoryBackend:
    opened = open_backend(backend, directory)
    assert isinstance(opened, DirectoryBackend)
    return opened


def register(claims: Claims, session: str = "") -> Holder:
    return claims.sessions.register(session).holder


def verb_of(verb: str, backend: str, directory: str, meets: bool) -> Recruit:
    """A session of its own that does `verb` to the claim it is told."""
    return partial(_verb, verb, backend, directory, meets)


def _verb(verb: str, backend: str, directory: str, meets: bool, meet: Meet) -> Work:
    opened = open_directory(backend, directory)
    reading = Meeting(opened.read)
    setattr(opened, "read", reading)  # noqa: B010 (a method, for the type checker)
    claims = Claims(opened)
    me = register(claims)

    def work(name: str) -> object:
        reading.meet = meet if meets else None
        if verb == "reap":
            return claims._reap_claim(name, {}, dry_run=False)
        return claims.claim(name, me) if verb == "claim" else claims.release(name, me)

    return work


def registrar(backend: str, directory: str, meets: bool) -> Recruit:
    """One that registers under the id it is told, and lives on."""
    return partial(_registrar, backend, directory, meets)


def _registrar(backend: str, directory: str, meets: bool, meet: Meet) -> Work:
    opened = open_directory(backend, directory)
    reading = Meeting(opened.sessions.read)
    setattr(opened.sessions, "read", reading)  # noqa: B010 (a method, for the type checker)
    claims = Claims(opened)

    def work(session: str) -> object:
        reading.meet = meet if meets else None
        try:
            return claims.sessions.register(session)
        except SessionAlive:
            return "refused"

    return work


def holder_of(backend: str, directory: str, session: str = "corpse") -> Recruit:
    """A session that claims all names that it is told."""
    return partial(_holder, backend, directory, session)


def _holder(backend: str, directory: str, session: str, meet: Meet) -> Work:
    claims = Claims.open(directory, backend)
    me = register(claims, session)
    return lambda *names: [claims.claim(name, me) for name in names]


def pruned_early(backend: str, directory: str) -> DirectoryBackend:
    """Keeps two generations: so a number that is gone has every chance to come back."""
    opened = open_directory(backend, directory)
    opened.ledger.keep = 2
    return opened


def busy_claimer(backend: str, directory: str, some: list[str], turns: int) -> Recruit:
    """Claims, releases, now and then leaves a claim behind by ending its session. Answers what it has won, in order."""
    return partial(_busy_claimer, backend, directory, some, turns)


def _busy_claimer(backend: str, directory: str, some: list[str], turns: int, meet: Meet) -> Work:
    claims = Claims(pruned_early(backend, directory))

    def work() -> list[tuple[str, int]]:
        meet()
        me, found = register(claims, f"session-{os.getpid()}"), []
        for turn, name in enumerate(in_time(some * (turns // len(some)), 30)):
            outcome = claims.claim(name, me)
            if isinstance(outcome, Won):
                found.append((name, outcome.generation))
            if turn % 10 == 9:
                claims.sessions.stop(*me)
                me = register(claims, me.session)
            elif turn % 3:
                claims.release(name, me)
        claims.sessions.stop(*me)
        return found

    return work


def busy_reaper(backend: str, directory: str, turns: int) -> Recruit:
    return partial(_busy_reaper, backend, directory, turns)


def _busy_reaper(backend: str, directory: str, turns: int, meet: Meet) -> Work:
    claims = Claims(pruned_early(backend, directory))

    def work() -> list[tuple[str, int]]:
        meet()
        for _ in in_time([""] * turns, 5):
            assert not claims.reap().skipped
        return []

    return work


def head_of(backend: str, directory: str, name: str) -> Head:
    return open_directory(backend, directory).read(name)
