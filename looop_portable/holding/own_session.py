"""This process as one session of a store: registered, with heartbeats, until it is ended, lost, or idle for some leases.

Guarantees: the threads that detect a loss, report it and leave are started before the registration. A session that is idle
for some leases leaves, with its threads and descriptors.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from looop_portable.claims.gate import Claims
from looop_portable.claims.own import OwnSession, retire
from looop_portable.errors import LooopError, NoSession
from looop_portable.holding.blocks import Block, log, parts_of
from looop_portable.protocol.liveness import interval
from looop_portable.protocol.outcomes import Renewed, Won
from looop_portable.protocol.records import Holder
from looop_portable.sessions.heartbeats import Pulse
from looop_portable.sessions.idleness import Idleness
from looop_portable.system.clock import elapsed
from looop_portable.system.threads.standby import Call, Standby


class Session:
    """This process as one session of a store, its heartbeats, and the blocks that run in its name."""

    def __init__(self, claims: Claims, lease_seconds: int, may_go: Callable[[Session], bool]) -> None:
        """`may_go` is asked when it is idle for long; True: nobody claims for it from then on."""
        self._claims = claims
        self.lease_seconds = lease_seconds
        self._may_go = may_go
        self.idleness = Idleness(lease_seconds)
        self.is_over = False
        """Nobody claims for it any more: it was idle, and leaves, or has left."""
        self.blocks: dict[str, Block] = {}
        """By the claim's name, or what tells a share of it: see `key_of`."""
        self._turned_out = False
        self.left: dict[str, None] = {}
        """The names of what a block could not let go: see `leftovers`."""
        self._own = OwnSession(claims)
        self._heartbeats = log.Heartbeats()
        self.pulse = Pulse(self._renew, lease_seconds, self._lose, elapsed())
        self._leaver = Standby("looop leave")
        try:
            self.pulse.prepare()
            self.holder = self._register()
        except BaseException:
            self.pulse.stop()
            self._leaver.dismiss()
            raise

    def _register(self) -> Holder:
        """Until one lives. Others may have ended what was registered slowly: then another one is."""
        while not (found := self._own.register(self.pulse, self.lease_seconds)):
            continue
        return found.holder

    def has_ended(self) -> bool:
        """Whether it is lost, or somebody has ended it. Without asking, all that it claims later would be anybody's.

        Where the store tells that with each claim it is not asked before: see `turns_out_ended`.
        """
        if self.pulse.check() or self._turned_out:
            return True
        return self._claims.backend.has_told_end(self.holder) is None and self._claims.sessions.has_ended(self.holder)

    def turns_out_ended(self, outcome: Won | Renewed) -> bool:
        """After it has claimed: whether it had ended before, so that what it has won is anybody's."""
        told = self._claims.backend.has_told_end(self.holder)
        if told is False and (isinstance(outcome, Renewed) or outcome.lease.readers):  # Then nothing was told.
            told = self._claims.sessions.has_ended(self.holder)
        self._turned_out = self._turned_out or bool(told)
        return bool(told)

    @property
    def has_gone(self) -> bool:
        """Whether what it held needs no release any more: it is left, or lost."""
        return self.is_over or self.pulse.is_stopped or bool(self.pulse.over)

    def later(self, call: Call) -> None:
        """Done by its own thread, which leaves after that if it is to leave. Returns at once."""
        self._leaver.do(call)

    def leave(self) -> None:
        """End the session, and remove it: its id is made up, so nobody will ask for it again."""
        self.pulse.stop()
        self._leaver.dismiss()
        self._own.stop()

    def leave_when_possible(self) -> None:
        """The same, of one that is lost. Without this, to this host it would live, and hold, while this process does."""
        self._leaver.do(self._keep_leaving)
        self._leaver.dismiss()

    def _keep_leaving(self) -> None:
        """Until it has ended. What it holds is released as soon as that is possible, which may be before."""
        self.pulse.stop()
        while True:
            try:
                retire(self._claims, self.holder)
                return
            except NoSession:
                return  # Somebody has removed it.
            except Exception:  # noqa: BLE001 (no memory, no descriptor: whatever it is, it may be over the next time)
                time.sleep(interval(self.lease_seconds))

    def _leaves(self) -> bool:
        """Whether it leaves because nobody uses it. What fails is tried again when the next heartbeat is due."""
        is_long = self.idleness.is_long(in_use=bool(self.blocks))
        if not (self.is_over or (is_long and self._may_go(self))):
            return False
        with contextlib.suppress(LooopError):
            self._own.stop()
            self.pulse.stop()
            self._leaver.dismiss()
        return True

    def _renew(self, after_long_silence: bool) -> bool:
        """A heartbeat, and then a look at each claim: to be able to write does not prove that others still count on us."""
        if self._leaves():
            return True
        try:
            goes_on = self._own.renew(after_long_silence, self._look)
        except Exception as error:
            self._heartbeats.fail(self._own.holder.session, error)
            raise
        self._heartbeats.succeed(self._own.holder.session)
        return goes_on

    def _look(self) -> list[str]:
        for block in list(self.blocks.values()):
            block.look_again()
        return [parts_of(key)[0] for key in list(self.blocks)]

    def _lose(self, reason: str) -> None:
        failed: Exception | None = None
        names = [parts_of(key)[0] for key in list(self.blocks)]
        for block in list(self.blocks.values()):
            try:
                block.lose(reason)
            except Exception as error:  # noqa: BLE001 (the others are told all the same, and this one again)
                failed = error
        if failed:
            raise failed
        log.lost(names, reason)  # Last: a handler that blocks keeps none of them from being told.
