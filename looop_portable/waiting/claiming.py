"""Several claims at once, all or none; and a claim that several may hold, each a slot of it.

Guarantees: of several names either all are won, or none that was not ours before. Two that name them in opposite orders do
not wait for each other: all take them in one order, that of their file names.
Does not guarantee: that nothing is held meanwhile: the first is held while the second is waited for. Two waiters that held
something before they began to wait may wait for each other. While the last is waited for, an operator may break the first:
its generation shows that. A session that asks for a slot in two processes at once may get two.
How: the slots of NAME are the claims NAME#1, NAME#2 and so on, each with generations of its own. What a signal's handler
raises finds the main thread waiting: all steps are made in another (`apart`), which then takes back what was won.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from looop_portable.claims.gate import Claims
from looop_portable.errors import LooopError, Unavailable, UsageError
from looop_portable.protocol.lease import Head, Lease
from looop_portable.protocol.liveness import Holder, Verdict
from looop_portable.protocol.names import canonical, spelled
from looop_portable.protocol.outcomes import Held, OnWaiting, Renewed, Won
from looop_portable.protocol.standings import is_ours
from looop_portable.system.clock import elapsed
from looop_portable.system.threads.apart import apart

if TYPE_CHECKING:
    from looop_portable.system.watch.waking import Watcher
    from looop_portable.waiting.stopping import Stoppable
    from looop_portable.waiting.waiter import Waiting

__all__ = ["claim_all", "wait_for"]

_TRIES = 3

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


def line_for(name: str, slots: int) -> str:
    """The line of those who want it. NAME and its slots are other claims: in one line they would wait for each other."""
    return canonical(f"{name}#") if slots else canonical(name)


def claim_any(claims: Claims, wanted: Sequence[str], me: Holder) -> Won | Renewed | Held:
    """The first of `wanted` that can be had; one that is ours already, if there is one. Raises as `Claims.claim` does.

    Of several each is read once, and one that can be had once more by `claim`.
    """
    if len(wanted) == 1:
        return claims.claim(wanted[0], me)
    heads: list[tuple[str, Head]] = []
    for name in wanted:
        head = claims.backend.read(name)
        if head.lease and is_ours(head.lease, me):
            return Renewed(head.lease)
        heads.append((name, head))
    first: Held | None = None
    verdicts: dict[Holder, Verdict] = {}  # One who holds several is judged once: all leases have been read by now.
    for name, head in heads:
        outcome = claims.refused(head, me, verdicts) or claims.claim(name, me)
        if not isinstance(outcome, Held):
            return outcome
        first = first or outcome
    assert first
    return first


class Attempts:
    """Attempts to claim any of `wanted` for `me`, one after the other, and taking back what they have won.

    Does not guarantee: to tell its own win from one of another thread or process, of the same session at the same moment.
    """

    def __init__(self, claims: Claims, wanted: Sequence[str], me: Holder) -> None:
        self._claims = claims
        self._wanted = wanted
        self._me = me
        self._won: Won | None = None

    def __call__(self) -> Won | Renewed | Held:
        """Interrupted, it has not won. Raises as `Claims.claim` does."""
        before = self._had()
        try:
            outcome = claim_any(self._claims, self._wanted, self._me)
            self._won = outcome if isinstance(outcome, Won) else None
        except BaseException:  # It may have been won all the same.
            for lease in self._had():
                if lease not in before:
                    _again_and_again(functools.partial(self._undo, lease))
            raise
        return outcome

    def take_back(self, _: object = None) -> None:
        """Release what has been won, if anything has. Raises as `Claims.release_lease` does; repeated, it does no harm."""
        if self._won:
            self._claims.release_lease(self._won.lease)
            self._won = None

    def _had(self) -> list[Lease]:
        """What this process has won before, or may have."""
        known, keys = (self._claims.won, self._claims.tried), [(name, self._me) for name in self._wanted]
        return [lease for leases in known for key in keys if (lease := leases.get(key))]

    def _undo(self, won: Lease) -> None:
        lease = self._claims.backend.read(won.name).lease
        if lease and is_ours(lease, self._me) and lease.generation == won.generation:
            self._claims.release_lease(lease)


def wait_for(
    claims: Claims, name: str, me: Holder, timeout: float | None = None, slots: int = 0, on_waiting: OnWaiting | None = None
) -> Won | Renewed | Held:
    """Claim `name`, or one of its `slots`, and wait for it for `timeout` seconds: None: without end, 0: not at all.

    `on_waiting` is called after each look that finds it held, from 2 s on. Interrupted, it has not been won. Raises as
    `Claims.claim` does.
    """
    attempts = Attempts(claims, slots_of(name, slots), me)
    watcher = _stoppable(timeout)

    def wait() -> Won | Renewed | Held:
        try:
            return _wait(claims, name, me, slots, attempts, timeout, on_waiting, watcher)
        except BaseException:
            _take_back([attempts])
            raise

    return apart(wait, watcher, lambda _: _take_back([attempts]))


def waiter(
    claims: Claims, name: str, me: Holder, slots: int, watcher: Watcher, attempts: Attempts | None = None
) -> Waiting:
    """One that waits for `name`, or for one of its `slots`."""
    from looop_portable.waiting.waiter import Waiting

    wanted = slots_of(name, slots)
    attempt = attempts or Attempts(claims, wanted, me)
    undo = attempt.take_back
    return Waiting(claims, line_for(name, slots), wanted, attempt, watcher, lambda lease: is_ours(lease, me), undo=undo)


def claim_all(
    claims: Claims,
    names: Iterable[str],
    me: Holder,
    timeout: float | None = 0,
    slots: int = 0,
    on_waiting: OnWaiting | None = None,
    settled: Callable[[], object] | None = None,
) -> list[Won | Renewed] | Held:
    """Claim all of `names`, or none: then who holds the first that could not be had, within `timeout` seconds for them all.

    What was ours before stays so. Raises as `Claims.claim` does; then, too, nothing more is ours than was.
    `settled` is called when all are ours. What a signal's handler raises before that is undone; afterwards it is not.
    """
    begun: list[Attempts] = []
    watcher = _stoppable(timeout)

    def claim() -> list[Won | Renewed] | Held:
        try:
            return _claim_in_order(claims, in_order(names), me, timeout, slots, on_waiting, begun, watcher)
        except BaseException as error:
            refused = _take_back(begun)
            if refused and isinstance(error, LooopError):
                raise Unavailable(f"{error}; what was won before could not all be released: {refused}") from error
            raise

    outcome = apart(claim, watcher, lambda _: _take_back(begun))
    if settled and not isinstance(outcome, Held):
        try:
            settled()
        except BaseException:
            apart(lambda: _take_back(begun))
            raise
    return outcome


def _claim_in_order(
    claims: Claims,
    names: Iterable[str],
    me: Holder,
    timeout: float | None,
    slots: int,
    on_waiting: OnWaiting | None,
    begun: list[Attempts],
    watcher: Stoppable | None,
) -> list[Won | Renewed] | Held:
    end = None if timeout is None else elapsed() + timeout
    had: list[Won | Renewed] = []
    for name in names:
        left = None if end is None else max(end - elapsed(), 0.0)
        begun.append(Attempts(claims, slots_of(name, slots), me))
        outcome = _wait(claims, name, me, slots, begun[-1], left, on_waiting, watcher)
        if isinstance(outcome, Held):
            refused = _take_back(begun)
            if refused:
                raise refused
            return outcome
        had.append(outcome)
    return had


def _wait(
    claims: Claims,
    name: str,
    me: Holder,
    slots: int,
    attempts: Attempts,
    timeout: float | None,
    on_waiting: OnWaiting | None,
    watcher: Stoppable | None,
) -> Won | Renewed | Held:
    if watcher is None or (timeout is not None and timeout <= 0):
        return attempts()
    from looop_portable.system.watch.waking import new_watcher  # Who does not wait does not import what waits.
    from looop_portable.waiting.waiter import run

    watcher.wake_by(new_watcher())
    with contextlib.closing(watcher):
        return run(waiter(claims, name, me, slots, watcher, attempts), watcher, timeout, on_waiting)


def _stoppable(timeout: float | None) -> Stoppable | None:
    """For whoever waits: None, if nobody does."""
    if timeout is not None and timeout <= 0:
        return None
    from looop_portable.waiting.stopping import Stoppable

    return Stoppable()


def _take_back(begun: Iterable[Attempts]) -> LooopError | None:
    """Whatever of it can be; the last one first, as `hold_all` does. What kept another from it, more than once."""
    found = [_again_and_again(attempts.take_back) for attempts in reversed(list(begun))]
    return next((error for error in reversed(found) if error), None)


def _again_and_again(deed: Callable[[], object]) -> LooopError | None:
    """Take something back, and try once more where that failed: nobody else would do it. Returns why it failed."""
    refused: LooopError | None = None
    for _ in range(_TRIES):
        try:
            deed()
        except LooopError as error:
            refused = error
        else:
            return None
    return refused


def ours_of(claims: Claims, names: Iterable[str], slots: int, session: str | Holder | None) -> list[str]:
    """Of the slots of `names` those that `session` holds. Raises as `Claims.claim` does."""
    me = claims.acting(session)
    found = [(slot, claims.backend.read(slot).lease) for name in names for slot in slots_of(name, slots)]
    return [slot for slot, lease in found if lease and is_ours(lease, me)]
