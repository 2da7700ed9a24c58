"""Several claims at once, all or none; and a claim that several may hold, each a slot of it.

Guarantees: of several names either all are won, or none that was not ours before. Two that name them in opposite orders do
not wait for each other: all take them in one order, that of their file names.
Does not guarantee: that nothing is held meanwhile: while the second is waited for, the first is held. Nor that no two wait
for each other who hold something already when they begin to wait. A session that asks for a slot in two processes at once
may get two.
How: the slots of NAME are the claims NAME#1, NAME#2 and so on, each with generations of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from looop_portable.claims import Claims
from looop_portable.clock import elapsed
from looop_portable.errors import LooopError, UsageError
from looop_portable.liveness import Holder
from looop_portable.names import canonical, spelled
from looop_portable.outcomes import Held, Renewed, Told, Won
from looop_portable.protocol import is_ours

if TYPE_CHECKING:
    from looop_portable.bells import Bell
    from looop_portable.waiting import Waiting

MOST = 10_000
"""Slots. Whoever asks for one may have to look at all of them."""


def in_order(names: Iterable[str]) -> list[str]:
    """The names, each once, in the order in which everybody takes them, also where case makes no difference."""
    return sorted({canonical(name) for name in names}, key=lambda name: (spelled(name).casefold(), spelled(name)))


def slots_of(name: str, slots: int) -> list[str]:
    """The claims that are the slots of `name`; 0: it has none, and is one claim. Raises `InvalidName`, `UsageError`."""
    if not 0 <= slots <= MOST:
        raise UsageError(f"a claim cannot have {slots} slots: 1 to {MOST}")
    name = canonical(name)
    return [canonical(f"{name}#{number}") for number in range(1, slots + 1)] or [name]


def claim_any(claims: Claims, wanted: Sequence[str], me: Holder) -> Won | Renewed | Held:
    """The first of `wanted` that can be had; one that is ours already, if there is one. Raises as `Claims.claim` does."""
    if len(wanted) > 1:
        for name in wanted:
            lease = claims.backend.read(name).lease
            if lease and is_ours(lease, me):
                return Renewed(lease)
    held: Held | None = None
    for name in wanted:
        outcome = claims.claim(name, me)
        if not isinstance(outcome, Held):
            return outcome
        held = held or outcome
    assert held
    return held


def wait_for(
    claims: Claims, name: str, me: Holder, timeout: float | None = None, slots: int = 0, told: Told | None = None
) -> Won | Renewed | Held:
    """Claim `name`, or one of its `slots`, and wait for it for `timeout` seconds: None: without end, 0: not at all.

    `told` is called after each look that found it held, from two seconds on. Interrupted, it has not been won. Raises as
    `Claims.claim` does.
    """
    wanted = slots_of(name, slots)
    if timeout is not None and timeout <= 0:
        return claim_any(claims, wanted, me)
    from looop_portable.bells import new_bell  # Who does not wait does not import what waits.
    from looop_portable.waiting import run

    bell = new_bell()
    with contextlib.closing(bell):
        return run(waiter(claims, name, me, slots, bell), bell, timeout, told)


def waiter(claims: Claims, name: str, me: Holder, slots: int, bell: Bell) -> Waiting:
    """One that waits for `name`, or for one of its `slots`. Interrupted, it has not won."""
    from looop_portable.waiting import Waiting

    wanted = slots_of(name, slots)
    before = {each: claims.backend.read(each).generation for each in wanted}

    def attempt() -> Won | Renewed | Held:
        try:
            return claim_any(claims, wanted, me)
        except BaseException:
            with contextlib.suppress(LooopError):
                _undo(claims, before, me)
            raise

    def undo(outcome: Won | Renewed) -> None:
        if isinstance(outcome, Won):
            claims.release_lease(outcome.lease)

    return Waiting(claims, canonical(name), wanted, attempt, bell, lambda lease: is_ours(lease, me), undo=undo)


def claim_all(
    claims: Claims,
    names: Iterable[str],
    me: Holder,
    timeout: float | None = 0,
    slots: int = 0,
    told: Told | None = None,
) -> list[Won | Renewed] | Held:
    """Claim all of `names`, or none: then who holds the first that could not be had, within `timeout` seconds for them all.

    What was ours before stays so. Raises as `Claims.claim` does; then, too, nothing more is ours than was.
    """
    end = None if timeout is None else elapsed() + timeout
    had: list[Won | Renewed] = []
    try:
        for name in in_order(names):
            left = None if end is None else max(end - elapsed(), 0.0)
            outcome = wait_for(claims, name, me, left, slots, told)
            if isinstance(outcome, Held):
                _let_go(claims, had)
                return outcome
            had.append(outcome)
    except BaseException:
        with contextlib.suppress(LooopError):
            _let_go(claims, had)
        raise
    return had


def ours_of(claims: Claims, names: Iterable[str], slots: int, session: str | None) -> list[str]:
    """Of the slots of `names` those that `session` holds. Raises as `Claims.claim` does."""
    me = claims.acting(session)
    found = [(slot, claims.backend.read(slot).lease) for name in names for slot in slots_of(name, slots)]
    return [slot for slot, lease in found if lease and is_ours(lease, me)]


def _let_go(claims: Claims, had: list[Won | Renewed]) -> None:
    while had:
        outcome = had.pop()
        if isinstance(outcome, Won):
            claims.release_lease(outcome.lease)


def _undo(claims: Claims, before: dict[str, int], me: Holder) -> None:
    """Interrupted, one may have been won all the same."""
    for name, generation in before.items():
        lease = claims.backend.read(name).lease
        if lease and is_ours(lease, me) and lease.generation > generation:
            claims.release_lease(lease)
