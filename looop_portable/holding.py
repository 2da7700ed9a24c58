"""`with hold("repo-x") as lease:` for programs: a claim for as long as a block runs.

Guarantees: nobody else alive holds the claim inside the block, in another process or in another thread of this one. Where
the claim is lost all the same (this host is cut off, or slept; somebody broke it), `Hold.lost` is set before others may
take over for this host's silence, and `on_lost` is called.
Does not guarantee: that the block stops by itself. It looks at `lost`, or calls `check`, as often as it matters; and it
hands the generation to what it writes to.
How: the first `hold` registers this process as a session, once per store, which gives heartbeats from threads of its own
(`pulse`). A child made by fork is another process: it registers its own, and leaving a block that its parent entered does
nothing there.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from looop_portable.bells import new_bell
from looop_portable.config import Config, PathLike, resolve
from looop_portable.entering import Entrance
from looop_portable.errors import ClaimHeld, ClaimLost, LooopError, UsageError, WaitedTooLong
from looop_portable.lease import Lease
from looop_portable.liveness import LEASE_SECONDS, SHORTEST_LEASE
from looop_portable.membership import Member, Process, Session, this_process
from looop_portable.names import canonical
from looop_portable.outcomes import Held, Refused, Released, Renewed, Won
from looop_portable.standby import Standby
from looop_portable.waiting import run


class Options(NamedTuple):
    """What `hold` was told: see there."""

    config: Config
    lease_seconds: int = LEASE_SECONDS
    on_lost: Callable[[Hold], object] | None = None
    timeout: float | None = 0
    slots: int = 0
    tells_at_once: bool = False
    """`on_lost` keeps nobody waiting, and needs no thread of its own."""


class Hold:
    """A claim, held from entering the `with` block until leaving it. Made by `hold`, and entered once at a time.

    What is public, but for nobody who uses a block, is for `aio` and `holding_all`, which enter in their own ways.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name = canonical(name)
        self.lost = threading.Event()
        """Set as soon as the claim is known to be lost."""
        self.options = options
        self.entrance = Entrance(self.name, options.slots, options.config, options.lease_seconds)
        self._lease: Lease | None = None
        self._telling = threading.Lock()
        self._teller: tuple[Process, Standby] | None = None
        """The thread that `on_lost` is called in. It is there before anything is claimed."""
        self._has_told = False
        self._why_lost = ""

    def __repr__(self) -> str:
        return f"<Hold {self.name!r} {f'generation {self._lease.generation}' if self._lease else 'not held'}>"

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
        found = self._member.claims.check(lease.name, lease.generation)
        if not found.is_still(lease) and self._lease is lease:  # Else the block has been left meanwhile.
            self._lose(_superseded(found.head))

    def lose(self, reason: str) -> None:
        """The session has lost all that it held."""
        if self._lease:
            self._lose(f"is lost: {reason}")

    def _lose(self, why: str) -> None:
        with self._telling:  # Without this, two that find it out at once would both tell.
            if self._has_told:
                return
            if not self.lost.is_set():
                self._why_lost = why
                self.lost.set()
            self._call_on_lost()
            self._has_told = True  # Only then. Whoever could not call it comes again.

    def _call_on_lost(self) -> None:
        on_lost = self.options.on_lost
        if not on_lost or not self._is_here():
            return
        if self.options.tells_at_once:
            on_lost(self)
        elif self._teller:
            self._teller[1].do(functools.partial(on_lost, self))

    def _take_teller(self) -> tuple[Process, Standby] | None:
        """Raises `Unavailable`."""
        if not self.options.on_lost or self.options.tells_at_once:
            return None
        process = this_process()
        return process, process.standbys.take()

    def _spare(self) -> None:
        """It can be entered again."""
        with self._telling:
            _give_back(self._teller, used=self._has_told)
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

    def __enter__(self) -> Self:
        return self.enter_within(self.options.timeout)

    def enter_within(self, timeout: float | None) -> Self:
        """Enter, and wait for so long: for less than `options.timeout`, where something else has taken of that."""
        entrance = self.entrance
        teller = self._take_teller()
        try:
            member = entrance.prepare(threading.get_ident())
        except BaseException:
            _give_back(teller, used=False)
            raise
        self._teller, self._has_told = teller, False
        try:
            if timeout is not None and timeout <= 0:
                return self.enter(entrance.attempt())
            bell = new_bell()
            with contextlib.closing(bell), member.ringing(bell):
                return self.enter(run(entrance.waiting(bell), bell, timeout))
        except BaseException:  # Interrupted, it may have been won all the same.
            self._lease = None
            entrance.undo()
            self._spare()
            raise

    def enter(self, outcome: Won | Renewed | Held) -> Self:
        """What came of it all. Raises `ClaimHeld`."""
        if isinstance(outcome, Held):
            holder, evidence, timeout = outcome.lease.session, outcome.verdict.evidence, self.options.timeout
            if timeout is not None and timeout > 0:
                raise WaitedTooLong(self.name, holder, evidence, timeout)
            raise ClaimHeld(self.name, holder, evidence)
        session = self._session
        self.lost.clear()
        self._has_told = False
        self._why_lost = ""
        self._lease = outcome.lease
        session.blocks[outcome.lease.name] = self
        if session.pulse.over:
            self.lose(session.pulse.over)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        lease, is_here = self.lease, self._is_here()
        member, session = self._member, self._session
        if not is_here:
            self._lease = None
            self._spare()
            return  # A forked child leaves its parent's block: the claim is the parent's.
        with self._telling:  # Without this, whoever leaves as soon as it is lost would keep `on_lost` from being called.
            self._lease = None
        session.blocks.pop(lease.name, None)
        try:
            if session.pulse.check():
                # Not released here: the filesystem may not answer, and nobody is to wait for it.
                if not session.blocks:
                    session.leave_when_possible()
                why = f"is lost: {session.pulse.over}"
            else:
                outcome = _release(member, lease)
                why = _superseded(outcome.lease.generation) if isinstance(outcome, Refused) else ""
        finally:
            member.let_go(lease.name)
            self._spare()
        why = self._why_lost or why
        if why and error is None:
            raise ClaimLost(f"claim {lease.name}: generation {lease.generation} {why}")


def hold(
    name: str,
    *,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = LEASE_SECONDS,
    on_lost: Callable[[Hold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
) -> Hold:
    """Claim `name` for this process while a `with` block runs.

    `data_dir` and `backend` default as on the command line. `lease_seconds`: for how long other hosts wait for a sign of
    life of this one before they may take the claim over; after two thirds of it without being heard this one counts itself
    as lost. `on_lost` is then called with the `Hold`, once, in a thread of its own.
    `timeout`: for how many seconds entering waits if another holds the claim, another thread of this process included;
    None: without end. First come, first served. `slots`: how many may hold it at once; `lease.name` is then our slot.
    Entering raises `ClaimHeld` if another holds the claim (`WaitedTooLong` if it did so until `timeout` was over),
    `Unavailable` if nobody can tell; leaving raises `ClaimLost` if it was lost, or somebody else was given the claim
    meanwhile.
    """
    return Hold(name, options_of(data_dir, backend, lease_seconds, on_lost, timeout, slots))


def options_of(
    data_dir: PathLike | None,
    backend: str | None,
    lease_seconds: int,
    on_lost: Callable[[Hold], object] | None,
    timeout: float | None,
    slots: int,
) -> Options:
    """The same, as they apply here. Raises `UsageError`."""
    if lease_seconds < SHORTEST_LEASE:
        raise UsageError(
            f"a lease of {lease_seconds} s is too short to be kept on a slow filesystem: {SHORTEST_LEASE} s or more"
        )
    return Options(resolve(data_dir, backend), lease_seconds, on_lost, timeout, slots)


def _give_back(teller: tuple[Process, Standby] | None, *, used: bool) -> None:
    if teller and teller[0] is this_process():  # Else it is that of a parent, and no thread of ours.
        teller[0].standbys.give_back(teller[1], used=used)


def _release(member: Member, lease: Lease) -> Released | Refused:
    try:
        return member.claims.release_lease(lease)
    except Exception:
        raise
    except BaseException:  # Interrupted. Without this, others would be kept out for as long as this process lives.
        with contextlib.suppress(LooopError):
            member.claims.release_lease(lease)
        raise


def _superseded(head: int) -> str:
    return f"was superseded (it is at {head}): broken, or ended" if head else "is gone: the claim's directory was removed"
