"""One claim of this process, as a block enters, holds and leaves it: what `hold`, `hold_all` and `aio` have in common.

Guarantees: see `hold`, which is the same with less to see.
"""

from __future__ import annotations

import contextlib
import functools
import threading

from looop_portable.errors import ClaimHeld, ClaimLost, LooopError
from looop_portable.holding.blocks import log, superseded
from looop_portable.holding.blocks.refusals import refused
from looop_portable.holding.entrance import Entrance
from looop_portable.holding.leftovers import give_up, release_later
from looop_portable.holding.member import Member, Teller, call_on_lost, give_back, take_teller, this_process
from looop_portable.holding.options import Options
from looop_portable.holding.own_session import Session
from looop_portable.holding.visits import Visit, is_interruption
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Held, Refused, Renewed, Won
from looop_portable.protocol.records import Holder, Lease
from looop_portable.system.threads.limit import Limit
from looop_portable.system.watch.waking import new_watcher


class OneClaim:
    """A claim, from entering a block until leaving it. Entered once at a time.

    What `options.on_lost` is given means nothing.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name = canonical(name)
        self.lost = threading.Event()
        """Set as soon as the claim is known to be lost."""
        self.options = options
        self.entrance = Entrance(
            self.name,
            options.slots,
            options.config,
            options.lease_seconds,
            options.note,
            options.cancel,
            shared=options.shared,
        )
        self.joined = False
        """Whether the session of $LOOOP_SESSION_ID holds the claim, or one around that. Then leaving releases nothing."""
        self._lease: Lease | None = None
        self._by_hand: threading.Thread | None = None
        """Which thread has entered without a statement that would leave it."""
        self._calling = threading.RLock()  # A signal's handler that comes in between goes on in the same thread.
        self._teller: Teller | None = None
        """The thread that `on_lost` is called in. It is there before anything is claimed."""
        self._has_called = False
        self._why_lost = ""
        self._limit: Limit | None = None

    def __str__(self) -> str:
        if self._lease is None:
            return "not held"
        joined = f", joined: held by session {self._lease.session!r}" if self.joined else ""
        return f"generation {self._lease.generation}{joined}"

    @property
    def lease(self) -> Lease:
        """What is published. Raises `ClaimLost` outside of the block."""
        if self._lease is None:
            raise ClaimLost(f"claim {self.name}: not held: the block has not been entered, or it has been left")
        return self._lease

    @property
    def entered(self) -> bool:
        return self._lease is not None

    def check(self) -> None:
        """Read the claim afresh. Raises `ClaimLost` if it is lost, or another's: in a forked child, always."""
        lease = self.lease
        if not self._is_here():
            raise ClaimLost(f"claim {lease.name}: not held: it is the parent's, of which this process is a child")
        self._session.pulse.check()
        if not self.lost.is_set():
            self.look_again()
        if self.lost.is_set():
            raise ClaimLost(f"claim {lease.name}: generation {lease.generation} {self._why_lost}")

    def look_again(self) -> None:
        """Read the claim afresh; it is lost if it is no longer this one's. Raises `Unavailable` if nobody can tell.

        A session that it has joined, and that lives by its renewals, is renewed: somebody acts for it.
        """
        lease = self._lease
        if lease is None:
            return
        member = self._member
        if self.joined:
            from looop_portable.sessions.inside import renewed

            with contextlib.suppress(LooopError):  # The next look may get through.
                member.whole(lambda: renewed(member.claims.sessions, lease.session))
        found = member.whole(lambda: member.claims.check(lease.name, lease.generation, Holder(*lease[1:3])))
        if not found.is_still(lease) and self._lease is lease:  # Else the block has been left meanwhile.
            why = superseded(found.head)
            if self._lose(why):
                log.lost([lease.name], why)

    def forget(self) -> None:
        """It has been left, by somebody else."""
        self._lease = self._teller = None
        self._call_off()

    def lose(self, reason: str) -> None:
        """The session has lost all that it held."""
        if self._lease:
            self._lose(f"is lost: {reason}")

    def _lose(self, why: str) -> bool:
        """Whether nobody has known it before."""
        with self._calling:  # Without this, two that find it out at once would both tell.
            if self._has_called:
                return False
            is_new = not self.lost.is_set()
            if not self.lost.is_set():
                self._why_lost = why
                self.lost.set()
            if self._is_here():
                call_on_lost(self.options, self._teller, self)
            self._has_called = True  # Only then. Whoever could not call it comes again.
            return is_new

    def _spare(self) -> None:
        """It can be entered again."""
        with self._calling:
            give_back(self._teller, used=self._has_called)
            self._teller = None
        self._call_off()
        self.entrance.spare()

    def _call_off(self) -> None:
        self.joined = False
        if self._limit:
            self._limit.call_off()

    def _expire(self, lease: Lease) -> None:
        """It has held for as long as it may: others may have the claim, but no other block of this process."""
        joined, seconds = self.joined, self.options.max_hold
        if self._lease is lease and self._is_here():
            why = f"was given up: it was held for longer than max_hold ({seconds:g} s)"
            if self._lose(why):
                log.lost([lease.name], why)
            give_up(self._member, lease, f"{seconds:g}", joined=joined)

    def _is_here(self) -> bool:
        """Whether this is the process that has entered, and no child of it."""
        return self.entrance.process is this_process()

    @property
    def _member(self) -> Member:
        member = self.entrance.member
        assert member
        return member

    @property
    def _session(self) -> Session:
        session = self.entrance.session
        assert session
        return session

    def enter_within(self, timeout: float | None, visit: Visit, *, by_hand: bool = False) -> None:
        """Enter, and wait for so long: for less than `options.timeout`, where something else has taken of that."""
        entrance = self.entrance
        teller = take_teller(self.options)
        try:
            entrance.prepare(threading.get_ident(), visit)
        except LooopError:
            give_back(teller, used=False)
            raise
        except BaseException:
            entrance.abandon(visit)
            raise
        try:
            self._teller, self._has_called = teller, False
            at_once = timeout is not None and timeout <= 0
            self.enter(entrance.attempt() if at_once else entrance.wait(timeout, new_watcher), by_hand=by_hand)
        except ClaimHeld:
            self._spare()
            raise
        except BaseException:  # Interrupted, it may have been won all the same.
            entrance.abandon(visit)
            raise

    def enter(self, outcome: Won | Renewed | Held, *, by_hand: bool = False) -> None:
        """What came of it all. Raises `ClaimHeld`. `by_hand`: no statement leaves it when it is over."""
        if isinstance(outcome, Held):
            raise refused(self.name, outcome, self.options.timeout or 0)
        session, seconds = self._session, self.options.max_hold
        self.lost.clear()
        self._has_called = False
        self._why_lost = ""
        self._by_hand = threading.current_thread() if by_hand else None
        lease, own = outcome.lease, session.holder
        self.joined = lease.session != own.session or lease.incarnation != own.incarnation
        session.blocks[self.entrance.key(lease.name)] = self
        self._lease = lease
        if session.pulse.over:
            self.lose(session.pulse.over)
            log.lost([lease.name], session.pulse.over)
        if seconds:
            self._limit = Limit(seconds, functools.partial(self._expire, lease))
        log.claimed(lease, outcome)

    def leave(self, error: BaseException | None = None) -> None:
        """The claim is released. Raises `ClaimLost`, unless the block has ended with an `error` of its own."""
        visit = self.entrance.visit
        try:
            why = self._left()
        except BaseException as raised:
            if visit and is_interruption(raised):
                self.entrance.abandon(visit)
            raise
        if why and error is None:
            raise ClaimLost(why)

    def end_with_process(self) -> None:
        """The process ends. What was entered by hand is left, unless a thread that still runs may be about to."""
        thread = self._by_hand
        if thread and (thread is threading.main_thread() or not thread.is_alive()):
            with contextlib.suppress(LooopError):  # Else the end of the process tells that it is free.
                self.leave()

    def _left(self) -> str:
        """The claim is released. Why it was lost; empty, if it was not."""
        lease, is_here = self.lease, self._is_here()
        member, session = self._member, self._session
        if not is_here:
            self._lease = None
            self._spare()
            return ""  # A forked child leaves its parent's block: the claim is the parent's.
        with self._calling:  # Without this, whoever leaves as soon as it is lost would keep `on_lost` from being called.
            self._lease = None
        key = self.entrance.key(lease.name)
        session.blocks.pop(key, None)
        if self.joined:
            self.entrance.free_beside(lease.name)
        try:
            why = self._release(member, session, lease)
        except LooopError:  # It stays with this process, whose next block has it, until it is out.
            member.free(key)
            self._spare()
            release_later(member, session, key)
            raise
        member.free(key)
        self._spare()
        why = self._why_lost or why
        if not why:
            log.released(lease)
        return why and f"claim {lease.name}: generation {lease.generation} {why}"

    def _release(self, member: Member, session: Session, lease: Lease) -> str:
        if session.pulse.check():
            # Not released here: the filesystem may not answer, and nobody is to wait for it.
            if not session.blocks:
                session.leave_when_possible()
            return f"is lost: {session.pulse.over}"
        if self.joined:
            member.claims.announcements.announce(lease.name)
            found = member.whole(lambda: member.claims.check(lease.name, lease.generation, Holder(*lease[1:3])))
            return "" if found.is_still(lease) else superseded(found.head)
        outcome = member.whole(lambda: member.claims.release_lease(lease))
        return superseded(outcome.lease.generation) if isinstance(outcome, Refused) else ""
