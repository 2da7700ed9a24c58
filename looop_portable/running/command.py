"""`looop run`: a command that runs while its claims are held, for as long as it runs, and not without them.

Guarantees: the session is the command's: it lives by the command's process, so a claim is not free while that lives on this
host. Who loses a claim is told, and by default ended, so that it is dead when the whole lease has passed since the last
heartbeat that got through: before another host may take over, which is after 4/3. What the command has started ends with it
where a signal has ended it, it has lost, or this process is killed: then the command is too.
Does not guarantee: the end of what the command leaves behind when it exits by itself: that is told. Nor anything on other
hosts while this process is stopped, or the machine sleeps: then nothing ends the command, and when they go on it goes on
until this process has looked.
How: see `child/posix` and `child/windows` for the process, `heartbeats` for those, which look at the claims too. The
threads that end the command, and leave, are there before anything is claimed (`standby`).
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from functools import partial

from looop_portable.claims.gate import Claims
from looop_portable.claims.own import OwnSession
from looop_portable.config import Config
from looop_portable.errors import Interrupted, Unavailable, because
from looop_portable.protocol.liveness import DEFAULT_TTL, interval
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Held
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.shares import in_order
from looop_portable.running.child.environment import environment_of
from looop_portable.running.leaving import leave_session
from looop_portable.running.request import Ended, Listener, Request
from looop_portable.sessions.heartbeats import Pulse
from looop_portable.sessions.inside import around, variable
from looop_portable.sessions.renewals import Renewals
from looop_portable.system.clock import elapsed
from looop_portable.system.threads.standby import Standby

if sys.platform == "win32":
    from looop_portable.running.child.windows import Child
else:
    from looop_portable.running.child.posix import Child

__all__ = ["run", "variable"]

EXPIRED = 123
"""The exit code of a command that was ended because it had held for as long as it may."""
_GRACE = 5.0
"""Seconds that it has then to end when it is asked to."""
_LONGEST_LOOK, _LOOKS = 1.0, 20
"""Seconds; into how many parts the time is cut that a lost command has left: a condition's clock stands still in sleep."""


def run(config: Config, claims: Claims, request: Request, listener: Listener) -> Ended | Held:
    """Run a command as a session of its own that holds all of its claims; `Held`: another holds one, and nothing was run.

    Call it in the main thread while there is no other: it forks, and takes the signals of this process meanwhile, of which
    other threads would get some. Raises `Interrupted` if one has asked for its end before the command ran, and as
    `Sessions.register` and `Claims.claim` do.
    """
    return _Run(config, claims, request, listener).run()


class _Run:
    def __init__(self, config: Config, claims: Claims, request: Request, listener: Listener) -> None:
        self._config = config
        self._claims = claims
        self._request = request
        self._names = in_order(request.names)
        self._listener = listener
        self._child = Child(request.command, holds=request.until_all_end)
        self._lock = ""
        self._own = OwnSession(claims, looks=True)
        self._pulse: Pulse | None = None
        self._standby: Standby | None = None
        self._left = threading.Event()
        self._saying = 0
        self._leases: dict[str, Lease] = {}
        self._joined: dict[str, Lease] = {}
        """What a session around this process holds already, by the names that were asked for."""
        self._changed = threading.Condition()
        self._began = self._ended = False
        self._lost: set[str] = set()
        self._why_lost = ""
        self._deadline: float | None = None
        self._limiter: Standby | None = None
        self._renewals: Renewals | None = None
        self._has_expired = False

    def run(self) -> Ended | Held:
        try:
            return self._run()
        finally:
            self._child.close()

    def _run(self) -> Ended | Held:
        try:
            held = self._start()
            code = 0 if held else self._child.wait()
        except BaseException:
            self._child.discard()
            self._leave(report=False)
            raise
        if held:
            self._child.discard()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._leave()
        failed, why = (0, "") if held else self._child.failure()
        return held or Ended(failed or (EXPIRED if self._has_expired else code), why, self._child.left)

    def _start(self) -> Held | None:
        """Until the command runs, or is not to run."""
        try:
            pid = self._child.prepare()
        except OSError as error:
            raise Unavailable(f"the command's process could not be made: {because(error)}") from error
        self._stand_by()
        holder = self._register(pid)
        with self._child.interruptible():
            if isinstance(found := self._claim(holder) if self._names else {}, Held):
                return found
        if self._claims.sessions.has_ended(holder):  # With all of the store, say: what it has claimed is anybody's.
            raise Unavailable(f"session {holder.session}: it was ended, or removed, before the command began; try again")
        self._leases = {name: self._joined.get(name) or found[name] for name in self._names}
        for name, lease in self._leases.items():
            (self._listener.joined if name in self._joined else self._listener.won)(lease)
        if self._pulse:
            self._pulse.check()
        with self._child.interruptible():
            environment = self._environment(holder)
        with self._changed:
            if self._why_lost:
                raise Unavailable(f"session {holder.session}: lost before the command began: {self._why_lost}")
            self._child.begin(environment, lambda pid: self._hand_over(holder, pid), self._lock)
            self._began = True
            gc.freeze()  # To look through what is there by now would take as long as a start.
            gc.enable()  # It may stay for long.
            if self._limiter:
                self._limiter.do(partial(self._limit, elapsed(), self._request.max_hold or 0.0))
        return None

    def _stand_by(self) -> None:
        """The threads that find a loss out, end the command, and leave. After the fork, which takes no threads along."""
        self._standby = Standby("looop end")
        self._limiter = Standby("looop limit") if self._request.max_hold is not None else None
        if self._request.lease_seconds:
            renew = partial(self._own.renew, look=self._look)
            self._pulse = Pulse(renew, self._request.lease_seconds, self._lose_all, elapsed())
            self._pulse.prepare()
        self._renewals = Renewals.of_those_around(self._claims.sessions)

    def _register(self, pid: int) -> Holder:
        request = self._request
        found = self._own.register(self._pulse, request.lease_seconds, request.session, pid, request.program)
        if found is None:
            session = self._own.holder.session
            raise Unavailable(f"session {session}: registered so slowly that others have ended it; try again")
        self._lock = self._claims.sessions.lock_path(found)
        return found.holder

    def _claim(self, holder: Holder) -> dict[str, Lease] | Held:
        """What is won, by the names that were asked for; what is joined is noted."""
        from looop_portable.waiting.claiming import claim_all, joined_of  # Who claims nothing needs none of it.

        self._joined = joined_of(self._claims, self._names, self._request.slots, shared=self._request.shared)
        names = [name for name in self._names if name not in self._joined]
        asked, claims, waits = self._request, self._claims, self._listener.waits
        found = claim_all(claims, names, holder, asked.timeout, asked.slots, waits, note=asked.note, shared=asked.shared)
        return found if isinstance(found, Held) else dict(zip(names, (each.lease for each in found), strict=True))

    def _hand_over(self, holder: Holder, pid: int) -> None:
        if not self._claims.sessions.hand_over(holder, pid):
            raise Unavailable(f"session {holder.session}: it was ended before the command began")

    def _environment(self, holder: Holder) -> dict[str, str]:
        first = canonical(self._request.names[0]) if self._request.names else ""
        joined = next((lease.session for lease in self._joined.values()), "") if not self._request.session else ""
        return environment_of(self._config, holder.session, self._leases, first, joined, around(self._claims.sessions))

    def _look(self) -> list[str]:
        """With each heartbeat, at each claim: somebody may have broken it."""
        for name, lease in list(self._leases.items()):
            found = None if name in self._lost else self._claims.check(lease.name, lease.generation, Holder(*lease[1:3]))
            if found and not found.is_still(lease):
                self._lose([name], f"generation {lease.generation} was superseded (it is at {found.head})")
        return [lease.name for lease in list(self._leases.values())]

    def _lose_all(self, reason: str) -> None:
        self._lose([name for name in self._leases if name not in self._lost], reason)

    def _lose(self, names: list[str], reason: str) -> None:
        """They are lost, and the command with them, if it is to be."""
        with self._changed:
            self._why_lost = self._why_lost or reason
            if self._ended or not self._began:
                return
            ends = self._request.ends_when_lost
            if ends and self._deadline is None:  # Before anything is said: whoever should hear it may keep us waiting.
                assert self._standby
                deadline = self._last_moment()
                self._standby.do(self._end)
                self._deadline = deadline  # Only then. What raises in between is done again.
            self._lost |= set(names)
            self._saying += 1
        try:
            with contextlib.suppress(OSError):  # A full disk, say. Nobody hears it, and that is no reason to lose more.
                self._listener.lost(names, reason, ends)
        finally:
            with self._changed:
                self._saying -= 1
                self._changed.notify_all()

    def _last_moment(self) -> float:
        """When the command must be dead: at the whole lease; a third of it from now, if others may take over already."""
        assert self._pulse
        return min(elapsed() + interval(self._request.lease_seconds), self._pulse.renewed_at + self._request.lease_seconds)

    def _end(self) -> None:
        """Ask the command to end, and end it if it does not."""
        try:
            self._child.terminate()
            with self._changed:
                assert self._deadline is not None
                while not self._ended and (left := self._deadline - elapsed()) > 0:
                    self._changed.wait(min(left, self._request.lease_seconds / _LOOKS))
        finally:
            self._child.kill()

    def _limit(self, began: float, seconds: float) -> None:
        """End the command when it has run for so long. By a clock that goes on while the machine sleeps."""
        assert self._standby
        with self._changed:
            while not self._ended and (left := began + seconds - elapsed()) > 0:
                self._changed.wait(min(left, _LONGEST_LOOK))
            if self._ended:
                return
            self._has_expired = True
            self._saying += 1
            self._standby.do(self._end_soon)
        try:
            with contextlib.suppress(OSError):  # A full disk, say.
                self._listener.expired(list(self._leases), seconds)
            for name, lease in self._leases.items():
                if name not in self._joined:
                    self._claims.note("expired", lease, max_hold=f"{seconds:g}")
        finally:
            with self._changed:
                self._saying -= 1
                self._changed.notify_all()

    def _end_soon(self) -> None:
        """As `_end`, of one that holds its claims still, so that there is time."""
        try:
            self._child.terminate()
            with self._changed:
                self._changed.wait_for(lambda: self._ended, _GRACE)
        finally:
            self._child.kill()

    def _leave(self, *, report: bool = True) -> None:
        """End the session, and release all that it holds, what the command has claimed too.

        Waits no longer for that than a lease: after that everybody knows by the silence.
        """
        if self._pulse:
            self._pulse.stop()
        if self._renewals:
            self._renewals.end(0)
        if self._limiter:
            self._limiter.dismiss()
        if not self._own.holder.session or self._standby is None:
            if self._standby:
                self._standby.dismiss()
            return
        seconds = self._request.lease_seconds or DEFAULT_TTL
        trouble = [("", f"the store has not answered for {seconds} s")]

        def leave() -> None:
            has_lost_all = self._lost and self._lost >= set(self._leases)
            why = self._why_lost if has_lost_all else ""
            by = "" if self._has_expired else self._child.ended_by
            trouble[:] = leave_session(self._claims, self._own.holder, why, by)
            self._left.set()

        self._standby.do(leave)
        self._standby.dismiss()
        try:
            with self._child.interruptible(patiently=True):
                began = elapsed()
                self._left.wait(seconds)
                with self._changed:  # Without this, the process could end before it has said why.
                    self._changed.wait_for(lambda: not self._saying, max(began + seconds - elapsed(), 0.0))
        except Interrupted:
            if not self._left.is_set():
                trouble = [("", "interrupted")]
        for name, reason in list(trouble) if report else []:
            self._listener.left(name, reason)
