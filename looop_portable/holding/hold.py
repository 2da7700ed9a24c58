"""`with hold("repo-x") as lease:` for programs: a claim for as long as a block runs.

Guarantees: nobody else alive holds the claim inside the block, in another process or in another thread of this one. Where
the claim is lost all the same (this host is cut off, or slept; somebody broke it), `Hold.lost` is set before others may
take over for this host's silence, and `on_lost` is called.
Does not guarantee: that the block stops by itself. It looks at `lost`, or calls `check`, as often as it matters; and it
hands the generation to what it writes to.
How: the first `hold` registers this process as a session, once per store, which gives heartbeats from threads of its own
(`heartbeats`). A child made by fork is another process: it registers its own, and leaving a block that its parent entered
does nothing there.
Interrupted: a signal's handler may raise at any step. Entering, waiting or leaving then ends with its exception, and the
claim is released. Repeated signals only delay the release: `visits` says which thread settles it then.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from looop_portable.config import PathLike
from looop_portable.errors import ClaimHeld, ClaimLost, LooopError
from looop_portable.holding.blocks import superseded
from looop_portable.holding.entrance import Entrance, refused
from looop_portable.holding.leftovers import give_up, release_later
from looop_portable.holding.member import Member, Teller, call_on_lost, give_back, take_teller, this_process
from looop_portable.holding.options import Options, options_of
from looop_portable.holding.own_session import Session
from looop_portable.holding.visits import Exit, Visit, is_interruption, visit_of
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Held, Refused, Renewed, Won
from looop_portable.protocol.records import Lease
from looop_portable.system.threads.limit import Limit
from looop_portable.system.watch.waking import new_watcher

__all__ = ["Hold", "hold"]


class Hold:
    """A claim, held from entering the `with` block until leaving it. Made by `hold`, and entered once at a time.

    Methods that users of a block do not need are public for `aio` and `hold_all`, which enter in their own ways.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name = canonical(name)
        self.lost = threading.Event()
        """Set as soon as the claim is known to be lost."""
        self.joined = False
        """Whether the session of $LOOOP_SESSION_ID holds the claim, or one around that. Then leaving releases nothing."""
        self.options = options
        self.entrance = Entrance(self.name, options.slots, options.config, options.lease_seconds, options.note)
        self._lease: Lease | None = None
        self.visits: dict[int, Visit] = {}
        self._calling = threading.RLock()  # A signal's handler that comes in between goes on in the same thread.
        self._teller: Teller | None = None
        """The thread that `on_lost` is called in. It is there before anything is claimed."""
        self._has_called = False
        self._why_lost = ""
        self._limit: Limit | None = None

    def __repr__(self) -> str:
        joined = f", joined: held by session {self.session!r}" if self.joined and self._lease else ""
        return f"<Hold {self.name!r} {f'generation {self._lease.generation}' if self._lease else 'not held'}{joined}>"

    @property
    def lease(self) -> Lease:
        """What is published. Raises `ClaimLost` outside of the block."""
        if self._lease is None:
            raise ClaimLost(f"claim {self.name}: not held: the block has not been entered, or it has been left")
        return self._lease

    @property
    def entered(self) -> bool:
        return self._lease is not None

    @property
    def generation(self) -> int:
        """The fencing token: every later holder's is greater."""
        return self.lease.generation

    @property
    def session(self) -> str:
        return self.lease.session

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
            self._lose(superseded(found.head))

    def forget(self) -> None:
        """It has been left, by somebody else."""
        self._lease = self._teller = None
        self.joined = False
        if self._limit:
            self._limit.call_off()

    def lose(self, reason: str) -> None:
        """The session has lost all that it held."""
        if self._lease:
            self._lose(f"is lost: {reason}")

    def _expire(self, lease: Lease) -> None:
        """It has held for as long as it may: others may have the claim, but no other block of this process."""
        joined, seconds = self.joined, self.options.max_hold
        if self._lease is lease and self._is_here():
            self._lose(f"was given up: it was held for longer than max_hold ({seconds:g} s)")
            give_up(self._member, lease, f"{seconds:g}", joined=joined)

    def _lose(self, why: str) -> None:
        with self._calling:  # Without this, two that find it out at once would both tell.
            if self._has_called:
                return
            if not self.lost.is_set():
                self._why_lost = why
                self.lost.set()
            if self._is_here():
                call_on_lost(self.options, self._teller, self)
            self._has_called = True  # Only then. Whoever could not call it comes again.

    def _spare(self) -> None:
        """It can be entered again."""
        with self._calling:
            give_back(self._teller, used=self._has_called)
            self._teller = None
        self.joined = False
        if self._limit:
            self._limit.call_off()
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

    def __enter__(self) -> Self:
        return self.enter_within(self.options.timeout)

    def enter_within(self, timeout: float | None) -> Self:
        """Enter, and wait for at most so long: `options.timeout`, less what other claims have used of it."""
        entrance, visit = self.entrance, visit_of(self)
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
            return self.enter(
                entrance.attempt() if timeout is not None and timeout <= 0 else entrance.wait(timeout, new_watcher)
            )
        except ClaimHeld:
            self._spare()
            raise
        except BaseException:  # Interrupted, it may have been won all the same.
            entrance.abandon(visit)
            raise

    def enter(self, outcome: Won | Renewed | Held) -> Self:
        """What came of it all. Raises `ClaimHeld`."""
        if isinstance(outcome, Held):
            raise refused(self.name, outcome, self.options.timeout or 0)
        session, seconds = self._session, self.options.max_hold
        self.lost.clear()
        self._has_called = False
        self._why_lost = ""
        lease, own = outcome.lease, session.holder
        self.joined = lease.session != own.session or lease.incarnation != own.incarnation
        session.blocks[lease.name] = self
        self._lease = lease
        if session.pulse.over:
            self.lose(session.pulse.over)
        if seconds:
            self._limit = Limit(seconds, functools.partial(self._expire, lease))
        return self

    def _leave(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        visit = self.entrance.visit
        try:
            why = self._left()
        except BaseException as raised:
            if visit and is_interruption(raised):
                self.entrance.abandon(visit)
            raise
        if why and error is None:
            raise ClaimLost(why)

    if TYPE_CHECKING:

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...

    else:
        __exit__ = Exit(_leave)

    def _left(self) -> str:
        """Release the claim. Returns why it was lost; empty if it was not."""
        lease, is_here = self.lease, self._is_here()
        member, session = self._member, self._session
        if not is_here:
            self._lease = None
            self._spare()
            return ""  # A forked child leaves its parent's block: the claim is the parent's.
        with self._calling:  # Without this, whoever leaves as soon as it is lost would keep `on_lost` from being called.
            self._lease = None
        session.blocks.pop(lease.name, None)
        if self.joined:
            self.entrance.free_beside(lease.name)
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
        return why and f"claim {lease.name}: generation {lease.generation} {why}"

    def _release(self, member: Member, session: Session, lease: Lease) -> str:
        if session.pulse.check():
            # Not released here: the filesystem may not answer, and nobody is to wait for it.
            if not session.blocks:
                session.leave_when_possible()
            return f"is lost: {session.pulse.over}"
        if self.joined:
            member.claims.announcements.announce(lease.name)
            found = member.whole(lambda: member.claims.check(lease.name, lease.generation))
            return "" if found.is_still(lease) else superseded(found.head)
        outcome = member.whole(lambda: member.claims.release_lease(lease))
        return superseded(outcome.lease.generation) if isinstance(outcome, Refused) else ""


def hold(
    name: str,
    *,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = DEFAULT_TTL,
    on_lost: Callable[[Hold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    note: str = "",
    max_hold: float | None = None,
) -> Hold:
    """Claim `name` for this process while a `with` block runs.

    `data_dir` and `backend` default as on the command line. `lease_seconds`: for how long other hosts wait for a sign of
    life of this one before they may take the claim over; after two thirds of it without being heard this one counts itself
    as lost. `on_lost` is then called with the `Hold`, once, in a thread of its own.
    `timeout`: for how many seconds entering waits if another holds the claim, another thread of this process included;
    None or -1: without end. First come, first served. `slots`: how many may hold it at once; `lease.name` is then our slot.
    `note`: what others are to know who are refused, or list what is held.
    `max_hold`: seconds, after which the block is lost, and the claim released, though the block may go on: `lost` tells it.
    Entering raises `ClaimHeld` if another holds the claim (`WaitedTooLong` if it did so until `timeout` was over),
    `Unavailable` if nobody can tell; leaving raises `ClaimLost` if it was lost, or somebody else was given the claim
    meanwhile.
    """
    return Hold(name, options_of(data_dir, backend, lease_seconds, on_lost, timeout, slots, note, max_hold))
