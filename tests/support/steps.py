"""An error at one call of a backend after the other, as pebble's errorfs does it with a filesystem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from looop_portable.backends.base import Tickets


class Steps:
    """Interrupts a backend at its call number `at`: before it does anything, or when it has done it."""

    def __init__(self, backend: Any, error: BaseException, at: int, *, after: bool) -> None:
        self._backend = backend
        self._error = error
        self._left = at
        self._after = after
        self.at = ""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        if name == "tickets":
            return _Tickets(self, found)
        return self.step(found) if name in ("read", "recall", "advance") else found

    def step(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            is_now = self._left == 0
            self.at = call.__name__ if is_now else self.at
            if is_now and not self._after:
                raise self._error
            found = call(*arguments, **options)
            if is_now:
                raise self._error
            return found

        return stepped


class _Tickets:
    def __init__(self, steps: Steps, tickets: Tickets) -> None:
        self._steps = steps
        self._tickets = tickets

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tickets, name)
        return self._steps.step(found) if name in ("take", "give_back", "line", "waiter") else found
