"""A session's heartbeats from within its own process, and the end of its own trust in them.

Guarantees: `lost` is called after two thirds of the lease without a successful renewal. That is before others may take over
(`liveness`). It is called also while a call of the filesystem hangs, after the process or the machine has slept, and while
this process gets no thread, no memory and no descriptor any more.
Does not guarantee: that what the process does between two looks at `lost` is stopped.
How: one thread renews every third of the lease. Another only watches the clock, so a renewal that never returns does not
delay `lost`. Both are made before the session is registered (`prepare`). A renewal that ends with any error has failed, and
is tried again; so is the call of `lost`. Time counts from before a renewal begins, by a clock that goes on while the
machine sleeps. A process that overslept has not failed to renew: it tries once more, and publishes that it goes on
(`Sessions.resume`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from looop_portable.errors import LooopError
from looop_portable.protocol.liveness import interval, patience, resumes_after
from looop_portable.system.clock import elapsed
from looop_portable.system.threads.standby import started

Renew = Callable[[bool], bool]
"""Renews; True is passed after a long silence, which has to be ended by saying so. False: the session is over."""


class Pulse:
    """The heartbeats of one session, from `start` to `stop`, or until they are lost.

    `lost` is called with the reason: once, and again if it raises. `began`: when the first heartbeat, which is not given
    here, was begun.
    """

    def __init__(
        self,
        renew: Renew,
        lease_seconds: int,
        lost: Callable[[str], None],
        began: float,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self._renew = renew
        self._lease = lease_seconds
        self._report_lost = lost
        self._clock = clock
        self._changed = threading.Condition()
        self._calling = threading.RLock()
        self._renewed_at = began
        self._watched_at = began
        self._over = ""
        self._prepared = self._begun = self._stopped = self._has_called_lost = False
        self._trouble = ""

    def prepare(self) -> None:
        """Make its threads, which wait for `start`. Raises `Unavailable`, and leaves none then."""
        self._prepared = True
        try:
            for look, name in ((self._renew_when_due, "looop heartbeat"), (self._watch, "looop watch")):
                started(partial(self._keep, look), name)
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Raises `Unavailable` if it was not prepared."""
        if not self._prepared:
            self.prepare()
        with self._changed:
            self._watched_at = self._clock()
            self._begun = True
            self._changed.notify_all()

    def begins(self, began: float) -> None:
        """When the first heartbeat was begun, which was not known when this was made. Before `start`."""
        self._renewed_at = began

    def stop(self) -> None:
        """No heartbeat is begun from here on, and nothing is lost any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def over(self) -> str:
        """Why it was lost; empty while it was not."""
        return self._over

    @property
    def is_stopped(self) -> bool:
        return self._stopped

    @property
    def renewed_at(self) -> float:
        """When the last renewal that succeeded was begun, by the clock of this pulse."""
        return self._renewed_at

    def check(self) -> str:
        """As `over`, at this moment: after a sleep, it is found out before this returns."""
        if not self._over and not self._stopped and self._overdue():
            self._try_to_renew()
            if self._overdue():
                self._lose(self._silent())
        return self._over

    def _keep(self, look: Callable[[], float | None]) -> None:
        """A thread's work: call `look`, wait for as many seconds as it says, and repeat until it says None.

        A thread that gets no memory for a step tries again: to end would leave the work to the other thread, or to none.
        """
        while True:
            try:
                with self._changed:
                    self._changed.wait_for(lambda: self._begun or self._stopped)
                pause = look()
                if pause is None:
                    return
                with self._changed:
                    if not self._ended():
                        self._changed.wait(pause)
            except Exception:  # noqa: BLE001 (whatever it is: nobody else does what this thread does)
                time.sleep(self._step)

    def _renew_when_due(self) -> float | None:
        if self._ended():
            return None
        renewed = self._try_to_renew() if self._clock() >= self._renewed_at + interval(self._lease) else True
        due = self._renewed_at + interval(self._lease) - self._clock()
        return min(max(due, 0.0), self._step) if renewed else self._step

    def _watch(self) -> float | None:
        if self._stopped or self._has_called_lost:
            return None
        if self._over:
            self._call_lost()
            return None
        now = self._clock()
        if self._overdue():
            slept = now - self._watched_at > 3 * self._step
            if not (slept and self._may_still_renew(now)) and self._overdue():
                self._lose(self._silent())
        self._watched_at = last = self._clock()
        return min(max(self._renewed_at + patience(self._lease) - last, 0.0), self._step)

    def _may_still_renew(self, now: float) -> bool:
        """Whether the other thread, which has slept as well, may still renew now."""
        with self._changed:
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._renewed_at >= now or self._ended(), interval(self._lease))

    def _try_to_renew(self) -> bool:
        began = self._clock()
        try:
            goes_on = self._renew(began > self._renewed_at + resumes_after(self._lease))
        except LooopError as error:
            self._trouble = str(error)
            return False
        except Exception as error:  # noqa: BLE001 (no memory, no descriptor: whatever it is, nothing was renewed)
            self._trouble = f"{type(error).__name__}: {error}"
            return False
        if not goes_on:
            self._lose("its session has ended")
            return False
        with self._changed:
            self._renewed_at = max(began, self._renewed_at)
            self._trouble = ""
            self._changed.notify_all()
        return True

    def _lose(self, reason: str) -> None:
        with self._changed:
            if self._over or self._stopped:
                return
            self._over = reason
            self._changed.notify_all()
        try:
            self._call_lost()
        except Exception:  # noqa: BLE001 (the thread that watches tries again, until it is told)
            return

    def _call_lost(self) -> None:
        """Call `lost`: one thread at a time, and no other once it has returned."""
        with self._calling:
            if not self._has_called_lost and not self._stopped:
                self._report_lost(self._over)
                self._has_called_lost = True

    def _silent(self) -> str:
        silent = self._clock() - self._renewed_at
        because = self._trouble or "the store does not answer"
        return f"no heartbeat could be given for {silent:.0f} s of a lease of {self._lease} s: {because}"

    def _overdue(self) -> bool:
        return self._clock() > self._renewed_at + patience(self._lease)

    def _ended(self) -> bool:
        return self._stopped or bool(self._over)

    @property
    def _step(self) -> float:
        """Seconds for which a thread waits at most: a condition's own clock stands still while the machine sleeps."""
        return interval(self._lease) / 5
