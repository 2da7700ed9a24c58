"""One claim of this process, as a block enters, holds and leaves it: what `hold`, `hold_all` and `aio` have in common.

Guarantees: see `hold`, which is the same with less to see.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from looop_portable.errors import ClaimHeld, ClaimLost, LooopError
from looop_portable.holding.blocks import log
from looop_portable.holding.entrance import Entrance, refused
from looop_portable.holding.leftovers import release_later
from looop_portable.holding.member import Member, Process, this_process
from looop_portable.holding.options import Options
from looop_portable.holding.own_session import Session
from looop_portable.holding.visits import Visit
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Held, Refused, Renewed, Won
from looop_portable.protocol.records import Lease
from looop_portable.system.threads.standby import Standby
from looop_portable.system.watch.waking import new_watcher


class OneClaim:
    """A claim, from entering a block until leaving it. Entered once at a time. `on_lost` has no argument here."""

    def __init__(self, name: str, options: Options, on_lost: Callable[[], object] | None) -> None:
        self.name = canonical(name)
        self.lost = threading.Event()
        """Set as soon as the claim is known to be lost."""
        self.options = options
        self.entrance = Entrance(
            self.name, options.slots, options.config, options.lease_seconds, options.note, options.cancel
        )
        self._on_lost = on_lost
        self._lease: Lease | None = None
        self._by_hand: threading.Thread | None = None
        """Which thread has entered without a statement that would leave it."""
        self._calling = threading.RLock()  # A signal's handler that comes in between goes on in the same thread.
        self._teller: tuple[Process, Standby] | None = None
        """The thread that `on_lost` is called in. It is there before anything is claimed."""
        self._has_called = False
        self._why_lost = ""

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
        """Read the claim afresh; it is lost if it is no longer this one's. Raises `Unavailable` if nobody can tell."""
        lease = self._lease
        if lease is None:
            return
        member = self._member
        found = member.whole(lambda: member.claims.check(lease.name, lease.generation))
        if not found.is_still(lease) and self._lease is lease:  # Else the block has been left meanwhile.
            why = _superseded(found.head)
            if self._lose(why):
                log.lost([lease.name], why)

    def forget(self) -> None:
        """It has been left, by somebody else."""
        self._lease = self._teller = None

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
            self._call_on_lost()
            self._has_called = True  # Only then. Whoever could not call it comes again.
            return is_new

    def _call_on_lost(self) -> None:
        on_lost = self._on_lost
        if not on_lost or not self._is_here():
            return
        if self.options.calls_at_once:
            on_lost()
        elif self._teller:
            self._teller[1].do(on_lost)

    def _take_teller(self) -> tuple[Process, Standby] | None:
        """Raises `Unavailable`."""
        if not self._on_lost or self.options.calls_at_once:
            return None
        process = this_process()
        return process, process.standbys.take()

    def _spare(self) -> None:
        """It can be entered again."""
        with self._calling:
            _give_back(self._teller, used=self._has_called)
            self._teller = None
        self.entrance.spare()

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
        teller = self._take_teller()
        try:
            entrance.prepare(threading.get_ident(), visit)
        except LooopError:
            _give_back(teller, used=False)
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
        session = self._session
        self.lost.clear()
        self._has_called = False
        self._why_lost = ""
        self._by_hand = threading.current_thread() if by_hand else None
        session.blocks[outcome.lease.name] = self
        self._lease = outcome.lease
        if session.pulse.over:
            self.lose(session.pulse.over)
            log.lost([outcome.lease.name], session.pulse.over)
        log.claimed(outcome.lease, outcome)

    def leave(self, error: BaseException | None = None) -> None:
        """The claim is released. Raises `ClaimLost`, unless the block has ended with an `error` of its own."""
        visit = self.entrance.visit
        try:
            why = self._left()
        except BaseException as raised:
            if visit and _is_interruption(raised):
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
        session.blocks.pop(lease.name, None)
        try:
            why = self._release(member, session, lease)
        except LooopError:  # It stays with this process, whose next block has it, until it is out.
            member.free(lease.name)
            self._spare()
            release_later(member, session, lease.name)
            raise
        member.free(lease.name)
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
        outcome = member.whole(lambda: member.claims.release_lease(lease))
        return _superseded(outcome.lease.generation) if isinstance(outcome, Refused) else ""


def _give_back(teller: tuple[Process, Standby] | None, *, used: bool) -> None:
    if teller and teller[0] is this_process():  # Else it is that of a parent, and no thread of ours.
        teller[0].standbys.give_back(teller[1], used=used)


def _is_interruption(error: BaseException) -> bool:
    """Whether a signal's handler may have raised it: whatever we do not raise, also where it was taken for the system's."""
    if not isinstance(error, LooopError):
        return True
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno is None  # `TimeoutError("...")`: the system's have a number.


def _superseded(head: int) -> str:
    return f"was superseded (it is at {head}): broken, or ended" if head else "is gone: the claim's directory was removed"
