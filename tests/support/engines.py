"""Engines for tests: the one in this process; one whose calls fail as a test says; and the example's."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import TypeVar, cast

from looop_portable.backends.engine import Engine, Heard, Known, Look, Record, Step
from looop_portable.backends.memory import MemoryEngine
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed

T = TypeVar("T")
EXAMPLES = Path(__file__).parents[2] / "examples"


class InProcess(MemoryEngine):
    """The one that ships, as another is called."""

    where = "this process"

    def __init__(self, clock: Callable[[], float] = elapsed, deadlines: Callable[[], float] = elapsed) -> None:
        super().__init__(clock, deadlines)
        self._rings: dict[tuple[str, str], dict[object, Callable[[], None]]] = {}

    @property
    def beats(self) -> list[str]:
        """The words that were said."""
        return sorted(self._beats)

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        step = super().advance(kind, key, after, data, not_after=not_after)
        self.rings(kind, key)
        return step

    def forget(self, kind: str, key: str) -> None:
        super().forget(kind, key)
        self.rings(kind, key)

    def subscribe(self, kind: str, key: str, ring: Callable[[], None]) -> Callable[[], None] | None:
        subscription = object()
        self._rings.setdefault((kind, key), {})[subscription] = ring
        return lambda: self._rings[kind, key].pop(subscription, None) and None

    def rings(self, kind: str, key: str) -> None:
        for ring in list(self._rings.get((kind, key), {}).values()):
            ring()


class Fault(Enum):
    """What becomes of a call; whoever calls is told nothing of it."""

    REFUSED = "it does not reach the engine"
    UNTOLD = "it is done, and the reply is lost"
    HELD_UP = "it reaches the engine when the test says so"


class Faulty(Engine):
    """`engine`, which all reach by way of this one; what becomes of a call is in `faults`, by its number from 1."""

    where = "far://away"

    def __init__(self, engine: InProcess) -> None:
        self.engine = engine
        self.steady, self.local = engine.steady, engine.local
        self.calls: list[str] = []
        self.faults: dict[int, Fault] = {}
        self.held_up: list[Callable[[], object]] = []
        self.is_cut_off = False
        """Whether each call from now on is refused."""

    def read(self, kind: str, key: str) -> Record:
        return self._asked("read", lambda: self.engine.read(kind, key))

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        return self._asked("advance", lambda: self.engine.advance(kind, key, after, data, not_after=not_after))

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        return self._asked("scan", lambda: self.engine.scan(kind, prefix, start, limit))

    def forget(self, kind: str, key: str) -> None:
        self._asked("forget", lambda: self.engine.forget(kind, key))

    def beat(self, word: str, lease: float) -> None:
        self._asked("beat", lambda: self.engine.beat(word, lease))

    def heard(self, word: str) -> Heard | None:
        return self._asked("heard", lambda: self.engine.heard(word))

    def look(self, key: str) -> Look:
        return self._asked("look", lambda: self.engine.look(key))

    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        return self._asked("survey", lambda: self.engine.survey(kind, start, limit, known))

    def report(self, key: str, word: str, lease: float) -> Record:
        return self._asked("report", lambda: self.engine.report(key, word, lease))

    def subscribe(self, kind: str, key: str, ring: Callable[[], None]) -> Callable[[], None] | None:
        return self._asked("subscribe", lambda: self.engine.subscribe(kind, key, ring))

    def _asked(self, name: str, call: Callable[[], T]) -> T:
        self.calls.append(name)
        fault = Fault.REFUSED if self.is_cut_off else self.faults.get(len(self.calls))
        if fault is Fault.HELD_UP:
            self.held_up.append(call)
        answer = None if fault in (Fault.REFUSED, Fault.HELD_UP) else call()
        if fault:
            raise Unavailable(f"{self.where}: no answer\n(it was {name})")
        return cast("T", answer)


def sqlite_engine() -> ModuleType:
    """The example, as a module. Threads may ask for it at once."""
    with _loading:
        if "sqlite_engine" not in sys.modules:
            spec = importlib.util.spec_from_file_location("sqlite_engine", EXAMPLES / "sqlite_engine.py")
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules["sqlite_engine"] = module
    return sys.modules["sqlite_engine"]


_loading = threading.Lock()
