"""Waiting until a claim can be had, without claiming it.

Guarantees: nothing is written, and no place in line is taken. Who waits so is woken as those are who claim.
Does not guarantee: that it can still be had when this is known: anybody may claim it first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from looop_portable.claims.gate import Claims
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.outcomes import Held, OnWaiting, Status
from looop_portable.protocol.records import Lease
from looop_portable.protocol.shares import slots_of
from looop_portable.protocol.standings import Standing
from looop_portable.system.threads.apart import apart
from looop_portable.system.watch.waking import Watcher, new_watcher
from looop_portable.waiting.limits import limit
from looop_portable.waiting.pauses import Pauses, chance
from looop_portable.waiting.stopping import Stoppable
from looop_portable.waiting.waiter import run
from looop_portable.waiting.waits import Pending, is_looops


def _nobodys(lease: Lease, verdict: Verdict) -> bool:  # noqa: ARG001 (as `ours` is called)
    return False


def wait_until_free(
    claims: Claims,
    name: str,
    timeout: float | None = None,
    slots: int = 0,
    on_waiting: OnWaiting | None = None,
    ours: Callable[[Lease, Verdict], bool] = _nobodys,
) -> Status | Held:
    """Wait until `name`, or one of its `slots`, can be had: the one that can. `Held`: `timeout` seconds were over.

    `ours`: whether who waits has a claim already: that can be had, and is held.
    None or -1: without end, 0: it does not wait. `on_waiting` is called after each look that finds it held, from 2 s on.
    Raises as `Claims.show` does.
    """
    seconds, wanted, watcher = limit(timeout), slots_of(name, slots), Stoppable()

    def wait() -> Status | Held:
        watcher.wake_by(new_watcher())
        with contextlib.closing(watcher):
            return run(Looking(claims, wanted, watcher, ours=ours), watcher, seconds, on_waiting)

    return apart(wait, watcher)


class Looking:
    """One that waits until any of `wanted` can be had, and takes none."""

    def __init__(
        self,
        claims: Claims,
        wanted: Sequence[str],
        watcher: Watcher,
        chance: Callable[[], float] = chance,
        ours: Callable[[Lease, Verdict], bool] = _nobodys,
    ) -> None:
        self._ours = ours
        self._claims = claims
        self._wanted = wanted
        self._watcher = watcher
        self._tickets = claims.backend.tickets
        self._pauses = Pauses(chance, far=claims.backend.far())

    def look(self) -> Status | Pending:
        """The one that can be had. It subscribes first and looks then."""
        self._watcher.forget()
        self._claims.announcements.expect(self._watcher, self._wanted)
        found = self.last_look()
        if isinstance(found, Status):
            return found
        if self._tickets is None:
            return Pending(found, self._pauses.without_lines())
        foreign = is_looops(found.lease)
        while watched := self._tickets.subscribe(self._watcher, self._wanted, foreign=foreign):
            found = self.last_look()
            if isinstance(found, Status):
                return found
            if foreign or not is_looops(found.lease):
                break
            foreign = True
        return Pending(found, self._pause(found, watched=watched))

    def last_look(self) -> Status | Held:
        """How it stands: the first that can be had, or is ours; or who holds the first."""
        held: Held | None = None
        for name in self._wanted:
            status = self._claims.show(name)
            if status.standing is not Standing.HELD or status.lease is None or status.verdict is None:
                return status
            if self._ours(status.lease, status.verdict):
                return status
            held = held or Held(status.lease, status.verdict)
        assert held
        return held

    def stop(self) -> None:
        """Nothing wakes it any more."""
        self._claims.announcements.expect_no_more(self._watcher, self._wanted)
        if self._tickets:
            self._tickets.subscribe(self._watcher, ())

    def _pause(self, held: Held, *, watched: bool) -> float:
        """Of several claims, another may be the first to be had: then no one process is followed."""
        lease, alone = held.lease, len(self._wanted) == 1
        process = self._claims.sessions.evidence.process_of(lease.session, lease.incarnation) if alone else None
        if not self._watcher.follow(process) and watched:
            return self._pauses.end_unwatched()
        return self._pauses.of(watched)
