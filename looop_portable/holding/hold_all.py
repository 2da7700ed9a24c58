"""`with hold_all("a", "b") as leases:` several claims for as long as a block runs, all of them or none.

Guarantees: as `hold` does, for each. Two blocks that name the same claims in opposite orders do not wait for each other.
Does not guarantee: that nothing is held while the next is waited for; nor that two do not wait for each other who enter
such a block within another.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from looop_portable.config import PathLike
from looop_portable.errors import ClaimLost
from looop_portable.holding.blocks.functions import guarded
from looop_portable.holding.blocks.one_claim import OneClaim
from looop_portable.holding.hold import Hold, block_of
from looop_portable.holding.options import Options, options_of
from looop_portable.holding.visits import Exit, Visit, visit_of
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.names import canonical
from looop_portable.protocol.shares import in_order
from looop_portable.system.clock import elapsed
from looop_portable.waiting.limits import CancelEvent

__all__ = ["HoldAll", "hold_all"]

P = ParamSpec("P")
R = TypeVar("R")


class HoldAll:
    """Several claims, held from entering the `with` block until leaving it. Made by `hold_all`.

    Entering gives a `Hold` for each, in the order of their names. Without a block: `acquire()` and `release()`. Before a
    function, as its decorator: each call is in a block of its own.
    """

    def __init__(self, names: tuple[str, ...], options: Options) -> None:
        self._names = names
        self._order = in_order(names)
        self._options = options
        self._held = contextlib.ExitStack()
        self._blocks: tuple[Hold, ...] = ()
        self._visits: dict[int, Visit] = {}

    def __repr__(self) -> str:
        return f"<HoldAll {', '.join(map(repr, self._names))}>"

    def acquire(self) -> tuple[Hold, ...]:
        """Enter without a block: as `Hold.acquire`, for all of them or none."""
        return self._enter(Visit(), by_hand=True)

    def release(self) -> None:
        """Leave what `acquire` has entered, in any thread. Raises `ClaimLost` if one was lost, or none is held."""
        if not any(block_of(each).entered for each in self._blocks):
            raise ClaimLost(f"claims {', '.join(self._names)}: not held: none has been acquired, or all have been released")
        self._leave_all(None, None, None)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """As a decorator: each call of `function` enters a block of its own. Raises `UsageError` for an async one."""
        return guarded(functools.partial(HoldAll, self._names, self._options), function)

    def __enter__(self) -> tuple[Hold, ...]:
        return self._enter(visit_of(self))

    def _enter(self, visit: Visit, *, by_hand: bool = False) -> tuple[Hold, ...]:
        timeout = self._options.timeout
        end = None if timeout is None else elapsed() + max(timeout, 0)
        blocks: dict[str, Hold] = {}
        with contextlib.ExitStack() as held:
            for name in self._order:
                blocks[name] = Hold(name, self._options)
                block = block_of(blocks[name])
                held.push(functools.partial(_leave, block))  # Before it is entered: an interruption may come just after.
                block.enter_within(None if end is None else max(end - elapsed(), 0.0), visit, by_hand=by_hand)
            self._blocks = tuple(blocks[canonical(name)] for name in self._names)
            self._held = held.pop_all()
        return self._blocks

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


def _leave(block: OneClaim, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
    if block.entered:
        block.leave(error)


def hold_all(
    *names: str,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = DEFAULT_TTL,
    on_lost: Callable[[Hold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    max_hold: float | None = None,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    shared: bool = False,
) -> HoldAll:
    """Claim all of `names` for this process while a `with` block runs; it is given a `Hold` for each, in their order.

    Else as `hold`, with one `timeout` and one `note` for them all. Entering raises `ClaimHeld` for the first that could not
    be had; then none is held.
    """
    options = options_of(
        data_dir, backend, lease_seconds, on_lost, timeout, slots, max_hold, note, cancel_check, cancel, shared=shared
    )
    return HoldAll(names, options)
