"""Claims among the threads of one process, for programs under test. Nothing is shared with any other process.

Guarantees: the laws of engines. Does not guarantee: anything beyond this process; nor that anything is left when it ends.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from looop_portable.backends.engine import BEAT, CLAIM, NOTHING, SESSION, TICKET, Engine, Heard, Record, Step
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed


class MemoryEngine(Engine):
    """Records in this process's memory. Its guard may be taken again by a signal's handler in the same thread.

    Such a handler comes in after a call, or where a loop begins anew: nothing is called between a comparison and the deed.
    """

    where = "memory"
    steady = True
    local = True

    def __init__(self, clock: Callable[[], float] = elapsed, deadlines: Callable[[], float] = elapsed) -> None:
        """`clock` is the engine's own; `deadlines` is what `not_after` is said by."""
        self.clock = clock
        self.deadlines = deadlines
        self._guard = threading.RLock()
        self._records: dict[str, dict[str, Record]] = {CLAIM: {}, SESSION: {}, TICKET: {}}
        self._beats: dict[str, tuple[float, int]] = {}
        self._said = 0

    def read(self, kind: str, key: str) -> Record:
        return self._records[kind].get(key, NOTHING)

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        records, new = self._records[kind], Record(after + 1, data)
        with self._guard:
            late = self.deadlines() > not_after
            now = records[key] if key in records else NOTHING  # noqa: SIM401 (that would be a call)
            if late or now.number != after:
                return Step(False, now)
            records[key] = new  # No call since the comparison: a signal's handler, which may advance it, cannot come in.
            return Step(True, new)

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        records = self._records[kind].copy()
        return [(key, records[key]) for key in sorted(records) if key > start and key.startswith(prefix)][:limit]

    def forget(self, kind: str, key: str) -> None:
        if kind == BEAT:
            self._beats.pop(key, None)
        else:
            self._records[kind].pop(key, None)

    def beat(self, word: str, lease: float) -> None:  # noqa: ARG002 (all are kept)
        with self._guard:
            self._said += 1
            self._beats[word] = self.clock(), self._said

    def heard(self, word: str) -> Heard | None:
        found = self._beats.get(word)
        return Heard(self.clock() - found[0], str(found[1])) if found else None


class MemoryBackend(OnEngine):
    """The `Backend` in this process's memory. Its nonces are numbers: nobody else has records there."""

    def __init__(self) -> None:
        super().__init__(MemoryEngine(), "memory", new_nonce=map(str, itertools.count()).__next__)


def open_memory(data_dir: str) -> MemoryBackend:  # noqa: ARG001 (the interface)
    """As every backend is opened; `data_dir` has no meaning here."""
    return MemoryBackend()
