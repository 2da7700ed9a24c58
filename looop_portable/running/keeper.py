"""The keeper of a session: a small process that gives its heartbeats while another process, a shell say, lives.

Guarantees: heartbeats every third of the lease while the process lives; when it ends, however it ends, its session is ended
and what it holds released, so that hosts which cannot see the process need not wait for its silence.
Does not guarantee: that the process stops when nothing was heard of it for longer than the lease, and others have taken
over: a shell cannot be told. Nor anything while the keeper itself is gone (`keepers`): then its session is judged by its
process on this host, and by its silence elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from looop_portable.claims.gate import Claims
from looop_portable.claims.own import OwnSession
from looop_portable.errors import LooopError, NoSession, because
from looop_portable.protocol.liveness import interval, resumes_after
from looop_portable.protocol.records import Registration
from looop_portable.running.keepers import Keepers
from looop_portable.sessions.log import End
from looop_portable.system.clock import elapsed
from looop_portable.system.processes.handle import Watch

_SHORTEST, _LONGEST = 0.1, 10.0
"""Seconds from an attempt that failed to the next."""


class Rhythm:
    """When the next heartbeat is due. Pure: the time is passed in, in seconds by a clock that counts suspended time.

    Whoever begins does not know for how long nothing was heard.
    """

    def __init__(self, lease_seconds: int) -> None:
        self._lease = lease_seconds
        self._renewed_at: float | None = None
        self._failed_at: float | None = None

    def due_in(self, now: float) -> float:
        """Seconds; 0: now."""
        if self._failed_at is not None:
            return max(self._failed_at + self.pause - now, 0.0)
        return 0.0 if self._renewed_at is None else max(self._renewed_at + interval(self._lease) - now, 0.0)

    def is_silent(self, now: float) -> bool:
        """Whether nothing was heard for so long that it has to be said that the session goes on."""
        return self._renewed_at is None or now - self._renewed_at > resumes_after(self._lease)

    def renewed(self, began: float) -> None:
        """An attempt that was begun then has succeeded."""
        self._renewed_at, self._failed_at = began, None

    def failed(self, now: float) -> None:
        self._failed_at = now

    @property
    def pause(self) -> float:
        """Seconds from a failure to the next attempt: a tenth of the interval, within bounds."""
        return min(max(interval(self._lease) / 10, _SHORTEST), _LONGEST)


class Keeper:
    """The keeper of `registration`, in this process. `run` returns when there is nothing to be kept any more."""

    def __init__(
        self,
        claims: Claims,
        registration: Registration,
        log: Callable[[str], None],
        watch: Watch,
        clock: Callable[[], float] = elapsed,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._claims = claims
        self._lease = registration.lease_seconds
        self._gone = End("died", f"pid {registration.pid} is gone")
        self._rhythm = Rhythm(self._lease)
        self._own = OwnSession(claims, registration.holder, looks=True)
        self._log = log
        self._watch = watch
        self._clock = clock
        self._sleep = sleep
        self._trouble = ""
        self.troubled = False
        """Whether anything went wrong since it began: then its log is worth keeping."""

    def run(self) -> None:
        while not self._watch.ended(self._rhythm.due_in(self._clock())):
            if self._rhythm.due_in(self._clock()) > 0:
                continue  # A wait is bounded.
            if not self._beat():
                self._log("end: the session is over: it was ended, or its id registered anew")
                return
        self._log("its process has ended")
        self._claims.sessions.log.ends[self._own.holder] = self._gone
        self._retire()

    def _beat(self) -> bool:
        """Whether the session goes on, as far as anybody can tell."""
        began = self._clock()
        silent = self._rhythm.is_silent(began)
        try:
            goes_on = self._own.renew(silent)
        except (LooopError, OSError, MemoryError) as error:  # A shell cannot be told to stop, so the keeper stays.
            self._rhythm.failed(self._clock())
            self._warn_of_trouble(str(error) or type(error).__name__)
            return True
        if goes_on:
            self._rhythm.renewed(began)
            if self._trouble:
                self._log("recovered" + (", after a silence that others may have taken for its end" if silent else ""))
                self._trouble = ""
        return goes_on

    def _retire(self) -> None:
        """Tried again while anybody else may wait for it: after that, they know by its silence."""
        began = self._clock()
        while True:
            reason = self._try_to_retire()
            if not reason:
                return
            self._warn_of_trouble(reason)
            if self._clock() - began > 2 * self._lease:
                self._log("end: given up; its silence says it too")
                return
            self._sleep(self._rhythm.pause)

    def _try_to_retire(self) -> str:
        """Why it did not succeed; empty if it did."""
        try:
            retired = self._claims.retire(self._own.holder)
        except NoSession:
            self._log("end: the session is not there any more")
            return ""
        except (LooopError, OSError, MemoryError) as error:
            return str(error) or type(error).__name__
        for each in retired.released:
            self._log(f"released {each.name}: generation {each.generation}")
        if retired.failed:
            return "; ".join(f"{name or 'its claims'}: {reason}" for name, reason in retired.failed)
        self._log("end: the session has ended, and holds nothing any more")
        return ""

    def _warn_of_trouble(self, reason: str) -> None:
        """Once per trouble, however often it is met."""
        self.troubled = True
        if not self._trouble:
            self._log(f"trouble: {reason}")
        self._trouble = reason


class _Signalled(BaseException):
    """Somebody has asked this process to end."""


def keep(claims: Claims, keepers: Keepers, registration: Registration, there: Callable[[int], None]) -> None:
    """Be the keeper of `registration`, until there is nothing to keep. Raises OSError where its files cannot be made.

    `there` is called as soon as there is one, with its process id. If that is another than this process, there is nothing
    to be done.
    """
    holder = registration.holder
    taken = keepers.begin(holder)
    if taken is None:
        there(keepers.wait_for_pid(holder))
        return
    watch = Watch(registration.pid, registration.start)

    def log(line: str) -> None:
        keepers.log(holder, line)

    keeper = Keeper(claims, registration, log, watch)
    signal.signal(signal.SIGTERM, _note_signal)
    try:
        lease = f"heartbeats every {interval(registration.lease_seconds):.0f} s"
        log(f"start: pid {os.getpid()} for session '{holder.session}', process {registration.pid}: {lease}")
        there(os.getpid())
        with contextlib.suppress(OSError):  # Another time.
            keepers.sweep()
        keeper.run()
    except _Signalled:
        log("end: told to")  # Its session may live: whoever acts for it next starts another.
    except Exception as error:
        log(f"end: a fault: {type(error).__name__}: {because(error) if isinstance(error, OSError) else error}")
        raise
    else:
        with contextlib.suppress(OSError):  # Swept some day.
            keepers.remove(holder, log=not keeper.troubled)
    watch.close()


def _note_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (what a handler is given)
    raise _Signalled
