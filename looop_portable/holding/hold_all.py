"""`with hold_all("a", "b") as leases:` several claims for as long as a block runs, all of them or none.

Guarantees: as `hold` does, for each. Two blocks that name the same claims in opposite orders do not wait for each other.
Does not guarantee: that nothing is held while the next is waited for; nor that two do not wait for each other who enter
such a block within another.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from looop_portable.config import PathLike
from looop_portable.holding.hold import Hold
from looop_portable.holding.options import Options, options_of
from looop_portable.holding.visits import Exit, Visit, visit_of
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.names import canonical
from looop_portable.protocol.slots import in_order
from looop_portable.system.clock import elapsed

__all__ = ["HoldAll", "hold_all"]


class HoldAll:
    """Several claims, held from entering the `with` block until leaving it. Made by `hold_all`."""

    def __init__(self, names: tuple[str, ...], options: Options) -> None:
        self._names = names
        self._order = in_order(names)
        self._options = options
        self._held = contextlib.ExitStack()
        self.visits: dict[int, Visit] = {}

    def __repr__(self) -> str:
        return f"<HoldAll {', '.join(map(repr, self._names))}>"

    def __enter__(self) -> tuple[Hold, ...]:
        visit, timeout = visit_of(self), self._options.timeout
        end = None if timeout is None else elapsed() + max(timeout, 0)
        blocks: dict[str, Hold] = {}
        with contextlib.ExitStack() as held:
            for name in self._order:
                blocks[name] = block = Hold(name, self._options)
                held.push(functools.partial(_leave, block))  # Before it is entered: an interruption may come just after.
                block.visits[threading.get_ident()] = visit
                block.enter_within(None if end is None else max(end - elapsed(), 0.0))
            self._held = held.pop_all()
        return tuple(blocks[canonical(name)] for name in self._names)

    def _leave_all(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._held.__exit__(kind, error, trace)

    if TYPE_CHECKING:

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> bool | None: ...

    else:
        __exit__ = Exit(_leave_all)


def _leave(block: Hold, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    if block.entered:
        block.__exit__(kind, error, trace)


def hold_all(
    *names: str,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = DEFAULT_TTL,
    on_lost: Callable[[Hold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    note: str = "",
    max_hold: float | None = None,
) -> HoldAll:
    """Claim all of `names` for this process while a `with` block runs; it is given a `Hold` for each, in their order.

    Else as `hold`, with one `timeout` and one `note` for them all. Entering raises `ClaimHeld` for the first that could not
    be had; then none is held.
    """
    return HoldAll(names, options_of(data_dir, backend, lease_seconds, on_lost, timeout, slots, note, max_hold))
