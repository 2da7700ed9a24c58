"""Several claims at once, all or none; and a claim that several may hold, each a slot of it.

Guarantees: of several names either all are won, or none that was not ours before. Two that name them in opposite orders do
not wait for each other: all take them in one order, that of their file names. What a session around ours holds is joined:
its lease is the answer (`Renewed`, of another session), and nobody here releases it.
Does not guarantee: that nothing is held meanwhile: the first is held while the second is waited for. Two waiters that held
something before they began to wait may wait for each other. While the last is waited for, an operator may break the first:
its generation shows that. A session that asks for a slot in two processes at once may get two.
How: see `slots` for those, and for the order. What a signal's handler raises finds the main thread waiting: all steps are
made in another (`apart`), which then takes back what was won.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial

from looop_portable.claims.gate import Claims
from looop_portable.protocol.names import as_note
from looop_portable.protocol.outcomes import Held, OnWaiting, Renewed, Won
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.protocol.shares import in_order, line_for, refuse_both, slots_of
from looop_portable.protocol.standings import is_ours
from looop_portable.system.clock import elapsed, timestamp
from looop_portable.system.threads.apart import apart
from looop_portable.typed import TYPE_CHECKING
from looop_portable.waiting.attempts import Attempts, claim_in_order, joins, take_back
from looop_portable.waiting.limits import CancelEvent, limit

if TYPE_CHECKING:
    from looop_portable.system.watch.waking import Watcher
    from looop_portable.waiting.stopping import Stoppable
    from looop_portable.waiting.waiter import Waiting

__all__ = ["claim_all", "wait_for"]


def wait_for(
    claims: Claims,
    name: str,
    me: Holder,
    timeout: float | None = None,
    slots: int = 0,
    on_waiting: OnWaiting | None = None,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    *,
    shared: bool = False,
) -> Won | Renewed | Held:
    """Claim `name`, or one of its `slots`, and wait for it for `timeout` seconds: None or -1: without end, 0: not at all.

    `shared`: beside all who share it, which a claim with slots cannot be (`UsageError`).
    `on_waiting` is called after each look that finds it held, from 2 s on. Interrupted, it has not been won. Raises as
    `Claims.claim` does, which `note` is for. `cancel` and `cancel_check` are as for `hold`: `WaitCancelled`.
    """
    timeout = limit(timeout)
    refuse_both(slots, shared)
    attempts = Attempts(claims, slots_of(name, slots), me, as_note(note), shared=shared)
    watcher = _stoppable(timeout, cancel_check, cancel)

    def wait() -> Won | Renewed | Held:
        try:
            return _wait(claims, name, me, slots, attempts, timeout, on_waiting, watcher)
        except BaseException:
            take_back([attempts])
            raise

    return apart(wait, watcher, lambda _: take_back([attempts]))


def waiter(
    claims: Claims, name: str, me: Holder, slots: int, watcher: Watcher, attempts: Attempts | None = None
) -> Waiting:
    """One that waits for `name`, or for one of its `slots`."""
    from looop_portable.waiting.waiter import Waiting

    wanted = slots_of(name, slots)
    attempt = attempts or Attempts(claims, wanted, me)
    undo, who = attempt.take_back, partial(who_waits, claims, me, shared=attempt.shared)

    def ours(lease: Lease) -> bool:
        if lease.readers and not attempt.shared:
            return False
        return is_ours(lease, me) or joins(claims, me, lease, shared=attempt.shared) is not None

    return Waiting(claims, line_for(name, slots), wanted, attempt, watcher, ours, undo=undo, who=who)


def who_waits(claims: Claims, me: Holder, *, shared: bool = False) -> Registration:
    """This process, which waits for `me` from now on: as evidence, and for people (`looop queue`)."""
    found = claims.sessions.evidence.this_process()
    return found._replace(session=me.session, started_at=timestamp(), shared=shared)


def claim_all(
    claims: Claims,
    names: Iterable[str],
    me: Holder,
    timeout: float | None = 0,
    slots: int = 0,
    on_waiting: OnWaiting | None = None,
    settled: Callable[[], object] | None = None,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    *,
    shared: bool = False,
) -> list[Won | Renewed] | Held:
    """Claim all of `names`, or none: then who holds the first that could not be had, within `timeout` seconds for them all.

    What was ours before stays so. Raises as `Claims.claim` does; then, too, nothing more is ours than was.
    `settled` is called when all are ours. What a signal's handler raises before that is undone; afterwards it is not.
    `note` is that of each claim that is won. `cancel` and `cancel_check` are as for `hold`: `WaitCancelled`.
    `shared` is as for `wait_for`.
    """
    timeout, note = limit(timeout), as_note(note)
    refuse_both(slots, shared)
    begun: list[Attempts] = []
    watcher = _stoppable(timeout, cancel_check, cancel)

    end = None if timeout is None else elapsed() + timeout

    def ask(name: str, attempts: Attempts) -> Won | Renewed | Held:
        left = None if end is None else max(end - elapsed(), 0.0)
        return _wait(claims, name, me, slots, attempts, left, on_waiting, watcher)

    def claim() -> list[Won | Renewed] | Held:
        return claim_in_order(claims, in_order(names), me, slots, note, begun, ask, shared=shared)

    outcome = apart(claim, watcher, lambda _: take_back(begun))
    if settled and not isinstance(outcome, Held):
        try:
            settled()
        except BaseException:
            apart(lambda: take_back(begun))
            raise
    return outcome


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
    from looop_portable.waiting.stopping import Cancelled, cancelled
    from looop_portable.waiting.waiter import run

    watcher.wake_by(new_watcher())
    try:
        with contextlib.closing(watcher):
            return run(waiter(claims, name, me, slots, watcher, attempts), watcher, timeout, on_waiting)
    except Cancelled:
        raise cancelled(name, attempts.refused) from None


def _stoppable(
    timeout: float | None, cancel_check: Callable[[], bool] | None, cancel: CancelEvent | None
) -> Stoppable | None:
    """For whoever waits: None, if nobody does."""
    if timeout is not None and timeout <= 0:
        return None
    from looop_portable.waiting.stopping import Cancel, Stoppable

    return Stoppable(Cancel.of(cancel_check, cancel))


def joined_of(claims: Claims, names: Iterable[str], slots: int, *, shared: bool = False) -> dict[str, Lease]:
    """Of `names` those that a session around this process holds, in whatever slot. Raises as `Claims.claim` does."""
    from looop_portable.sessions.inside import surrounding, within

    found: dict[str, Lease] = {}
    for name in names if surrounding() else ():
        for slot in slots_of(name, slots):
            lease = claims.backend.read(slot).lease
            if lease and (inside := within(claims.sessions, lease, shared=shared)):
                found[name] = inside
                break
    return found
