"""What a target is, and what several of them need."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from looop_portable.errors import LooopError


class Target(NamedTuple):
    """`check` raises for a fault, and for nothing else. `seeds`: inputs to begin with. `share`: of all inputs."""

    name: str
    check: Callable[[bytes], object]
    seeds: tuple[bytes, ...] = ()
    share: int = 10


def ours(ask: Callable[[], Any], *expected: type[Exception]) -> Any:
    """The answer; None where it is an error of ours, or one that the docstring says."""
    with suppress(LooopError, *expected):
        return ask()
    return None


def part(name: str) -> Any:
    """A module of one of the distributions in backends/. Raises ImportError where that is not installed."""
    return importlib.import_module(f"looop_portable_{name}")


def text(data: bytes) -> str:
    """As the command line has it: what is no UTF-8 is kept."""
    return data.decode("utf-8", "surrogateescape")


class Line:
    """A socket that answers `data`, however it is asked, and then has ended."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def recv(self, size: int) -> bytes:
        return self._data.read(size)

    def recv_into(self, buffer: Any) -> int:
        return self._data.readinto(buffer)

    def nothing(self, *_: object, **__: object) -> None:
        return None

    settimeout = sendall = setsockopt = close = nothing

    def fileno(self) -> int:
        return -1
