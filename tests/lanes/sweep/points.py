"""One point of a sweep: a verb in a process of its own, with one fault; and what it answers, once and once more."""

from __future__ import annotations

import contextlib
import os
import signal
from multiprocessing.connection import Connection, Pipe
from typing import NamedTuple, Self

from looop_portable import Claims, LooopError
from looop_portable.errors import ClaimHeld
from looop_portable.protocol.outcomes import Won
from looop_portable.protocol.records import Lease
from looop_portable.system.locks.guard import guard
from looop_portable.system.opening.direct import _known

from .faults import NONE, Call, Fault, Injector
from .stores import Store
from .verbs import Stage, Verb

PATIENCE = 60.0
"""Seconds after which a verb is taken for one that hangs."""
AGAIN, END = "again", "end"


class Failed(NamedTuple):
    """What was raised. `looops`: it is an error of the package's own."""

    kind: str
    text: str
    looops: bool
    holder: str = ""


class Report(NamedTuple):
    """What came of it. `rival` is what the rival won, if it came; `descriptors`: by how many there are more than before."""

    answer: object
    calls: tuple[Call, ...]
    fired: bool
    rival: Lease | None
    descriptors: int


class Actor:
    """A child that runs `verb` in the store at `root`, and then again for whoever asks. It ends with the `with` block."""

    def __init__(self, verb: Verb, store: Store, root: str, backend: str, fault: Fault = NONE) -> None:
        self.connection, theirs = Pipe()
        self.pid = os.fork()
        if not self.pid:
            self.connection.close()
            _live(theirs, verb, store, root, backend, fault)
        theirs.close()
        self.status: int | None = None
        self.hangs = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def report(self) -> Report | None:
        """None: it was killed, or it hangs."""
        if not self.connection.poll(PATIENCE):
            self.hangs = True
            return None
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionError):
            self._reap()
            return None
        assert isinstance(found, Report)
        return found

    def again(self) -> Report | None:
        self.connection.send(AGAIN)
        return self.report()

    def end(self) -> None:
        """It dies, without a chance to clean up."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
        self.connection.close()

    def _reap(self) -> None:
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]


def _live(parent: Connection, verb: Verb, store: Store, root: str, backend: str, fault: Fault) -> None:
    code = 70
    try:
        _known.clear()  # As a process begins.
        rival = _Rival(verb, root, backend)
        injector = Injector(root, fault, rival)
        stage = Stage(Claims.open(root, backend), store.me, root, backend, injector.paused)
        prepared = verb.before(stage)
        before = _descriptors()
        injector.counting = True
        answer = _answer(verb, stage, prepared)
        injector.counting = False
        calls, fired = tuple(injector.calls), injector.fired
        parent.send(Report(answer, calls, fired, rival.won, _descriptors() - before))
        while parent.recv() == AGAIN:
            parent.send(Report(_answer(verb, stage, prepared), (), fired, rival.won, _descriptors() - before))
        code = 0
    except EOFError:
        code = 0  # The sweep has ended.
    finally:
        os._exit(code)


def _answer(verb: Verb, stage: Stage, prepared: object) -> object:
    try:
        return verb.act(stage, prepared)
    except ClaimHeld as error:
        return Failed(type(error).__name__, str(error), looops=True, holder=error.holder)
    except LooopError as error:
        return Failed(type(error).__name__, str(error), looops=True)
    except Exception as error:  # noqa: BLE001 (what leaves the package is what is looked for)
        return Failed(type(error).__name__, repr(error), looops=False)


def _descriptors() -> int:
    """But for those by which this process hears of changes: it keeps them for some seconds after the last that waited."""
    return sum(not _kind_of(fd).startswith("anon_inode:") for fd in os.listdir("/proc/self/fd"))


def _kind_of(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""  # That of the listing itself.


class _Rival:
    """A session that breaks the claim, if it is held, and claims it. It cannot come where a guard is held."""

    def __init__(self, verb: Verb, root: str, backend: str) -> None:
        self.won: Lease | None = None
        self._name = "c" if "c" in verb.names else verb.names[0]
        self._root = root
        self._backend = backend

    def __call__(self) -> None:
        bare = guard.__wrapped__  # type: ignore[attr-defined]
        patience, bare.__defaults__ = bare.__defaults__, (0.0, *bare.__defaults__[1:])
        try:
            with contextlib.suppress(LooopError):
                self._come()
        finally:
            bare.__defaults__ = patience

    def _come(self) -> None:
        claims = Claims.open(self._root, self._backend)
        me = claims.sessions.holder("rival")
        if not me.incarnation:
            me = claims.sessions.register("rival", pid=os.getppid()).holder
        status = claims.show(self._name)
        if status.lease:
            claims.break_claim(self._name, status.generation, "a rival comes")
        outcome = claims.claim(self._name, me)
        self.won = outcome.lease if isinstance(outcome, Won) else None
