"""A server that answers what makes no sense is trouble of the store, in one line, and no fault of looop itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.engines import InProcess

from looop_portable import Unavailable
from looop_portable.backends.engine import NONSENSE, Engine, Fact, Heard, Look, Record, Step
from looop_portable.backends.on_engine.asking import Store
from looop_portable.errors import InvalidName
from looop_portable.system.clock import elapsed


class Mad(InProcess):
    """Every answer of its server's makes its client fail so."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def read(self, kind: str, key: str) -> Record:
        raise self.error

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        raise self.error

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        raise self.error

    def heard(self, word: str) -> Heard | None:
        raise self.error

    def look(self, key: str) -> Look:
        raise self.error

    def beat(self, word: str, lease: float) -> None:
        raise self.error

    def verify(self) -> list[Fact]:
        raise self.error


def store(engine: Engine) -> Store:
    return Store(engine, elapsed, lambda: "n")


CALLS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read("claim n", "claim", "n"),
    "scan": lambda store: store.scan("claim n", "claim"),
    "look": lambda store: store.look("claim n", "n"),
    "heard": lambda store: store.heard("claim n", "w"),
    "beat": lambda store: store.beat("claim n", "w", 30.0),
    "advance": lambda store: store.advance("claim n", "claim", "n", 0, {}),
    "verify": lambda store: store.verify(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", NONSENSE, ids=[each.__name__ for each in NONSENSE])
def test_it_is_unavailable_in_one_line(call: str, kind: type[Exception]) -> None:
    with pytest.raises(Unavailable, match="makes no sense") as told:
        CALLS[call](store(Mad(kind("a\nb " * 1000))))
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 200
    assert isinstance(told.value.__cause__, kind)


@pytest.mark.parametrize("call", ["read", "advance"])
def test_an_error_of_ours_stays_what_it_is(call: str) -> None:
    assert issubclass(InvalidName, ValueError)
    with pytest.raises(InvalidName, match="no name"):
        CALLS[call](store(Mad(InvalidName("no name"))))
