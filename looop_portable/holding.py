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
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from looop_portable.bells import Bell, new_bell
from looop_portable.config import Config, resolve
from looop_portable.errors import ClaimHeld, ClaimLost, LooopError, UsageError, WaitedTooLong
from looop_portable.lease import Lease
from looop_portable.liveness import LEASE_SECONDS, SHORTEST_LEASE, Liveness, Verdict
from looop_portable.membership import Member, Process, Session, this_process
from looop_portable.names import canonical
from looop_portable.outcomes import Held, Refused, Renewed, Won
from looop_portable.several import slots_of
from looop_portable.waiting import Waiting, run

_HERE = "this process holds it already"


class Options(NamedTuple):
    """What `hold` was told: see there."""

    config: Config
    lease_seconds: int = LEASE_SECONDS
    on_lost: Callable[[Hold], object] | None = None
    timeout: float | None = 0
    slots: int = 0


class Hold:
    """A claim, held from entering the `with` block until leaving it. Made by `hold`; not to be entered twice at once.

    Methods without an underscore that are called by nobody who uses a block are for `aio`, which enters in steps.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name = canonical(name)
        self.lost = threading.Event()
        """Set as soon as the claim is known to be lost."""
        self.options = options
        self._wanted = slots_of(name, options.slots)
        self._process: Process | None = None
        self._member: Member | None = None
        self._owner: object = None
        self._session: Session | None = None
        self._lease: Lease | None = None
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
    def generation(self) -> int:
        """The fencing token: every later holder's is greater."""
        return self.lease.generation

    @property
    def session(self) -> str:
        return self.lease.session

    def check(self) -> None:
        """Read the claim afresh. Raises `ClaimLost` if it is no longer this one's, or was lost."""
        lease = self.lease
        assert self._member
        assert self._session
        if self._process is this_process():
            self._session.pulse.check()
        if not self.lost.is_set():
            self.look_again()
        if self.lost.is_set():
            raise ClaimLost(f"claim {lease.name}: generation {lease.generation} {self._why_lost}")

    def look_again(self) -> None:
        """Read the claim afresh; it is lost if it is no longer this one's. Raises `Unavailable` if nobody can tell."""
        lease, member = self._lease, self._member
        if lease is None or member is None:
            return
        found = member.claims.check(lease.name, lease.generation)
        if not found.current and self._lease is lease:  # Else the block has been left meanwhile.
            self._lose(_superseded(found.head))

    def lose(self, reason: str) -> None:
        """The session has lost all that it held."""
        if self._lease:
            self._lose(f"is lost: {reason}")

    def _lose(self, why: str) -> None:
        if self.lost.is_set():
            return
        self._why_lost = why
        self.lost.set()
        on_lost = self.options.on_lost
        if on_lost and self._process is this_process():
            threading.Thread(target=on_lost, args=(self,), name=f"looop lost {self.name}", daemon=True).start()

    def __enter__(self) -> Self:
        timeout, member = self.options.timeout, self.prepare(threading.get_ident())
        if timeout is not None and timeout <= 0:
            return self.enter(self.attempt())
        bell = new_bell()
        with contextlib.closing(bell), member.ringing(bell):
            return self.enter(run(self.waiting(bell), bell, timeout))

    def prepare(self, owner: object) -> Member:
        """The membership to enter by, for a block of `owner`'s: a thread or a task, which never waits for itself."""
        process = this_process()
        with process.guard:
            member = process.member(self.options.config, self.options.lease_seconds)
        if all(member.owner(name) == owner for name in self._wanted):
            holder = member.current.holder.session
            raise ClaimHeld(self.name, holder, "this process holds it already; hold() is not reentrant")
        self._process, self._member, self._owner = process, member, owner
        return member

    def waiting(self, bell: Bell) -> Waiting:
        """One that waits for what this block wants."""
        assert self._member
        return Waiting(self._member.claims, self.name, self._wanted, self.attempt, bell, undo=self.undo)

    def attempt(self) -> Won | Renewed | Held:
        """Claim what this block wants, or one of it, if no other block of this process has it."""
        member = self._member
        assert member
        held: Held | None = None
        for name in self._wanted:
            if not member.take(name, self._owner):
                continue
            outcome: Won | Renewed | Held | None = None
            try:
                outcome = self._claim(member, name)
            finally:
                if outcome is None or isinstance(outcome, Held):
                    member.let_go(name)
            if not isinstance(outcome, Held):
                return outcome
            held = held or outcome
        return held or self._held_here(member, self._wanted[0], _HERE)

    def _claim(self, member: Member, name: str) -> Won | Renewed | Held:
        self._session = session = member.session()
        try:
            outcome = member.claims.claim(name, session.holder)
        except BaseException:
            # Interrupted, it may have been won all the same.
            with contextlib.suppress(LooopError):
                member.claims.release(name, session.holder)
            raise
        others = [other.casefold() for other in member.holding if other != name]
        if isinstance(outcome, Renewed) and name.casefold() in others:
            # The directory does not tell case apart: `Repo` and `repo` are one claim, and another thread holds it.
            return self._held_here(member, name, f"{_HERE}, in another spelling")
        return outcome

    def undo(self, outcome: Won | Renewed | Held) -> None:
        """Nobody enters, after all: what `attempt` has won is let go."""
        if not isinstance(outcome, Held):
            assert self._member
            try:
                self._member.claims.release_lease(outcome.lease)
            finally:
                self._member.let_go(outcome.lease.name)

    def _held_here(self, member: Member, name: str, evidence: str) -> Held:
        lease = Lease(name, member.current.holder.session, member.current.holder.incarnation)
        return Held(lease, Verdict(Liveness.ALIVE, evidence))

    def enter(self, outcome: Won | Renewed | Held) -> Self:
        """What came of it all. Raises `ClaimHeld`."""
        if isinstance(outcome, Held):
            holder, evidence, timeout = outcome.lease.session, outcome.verdict.evidence, self.options.timeout
            if timeout:
                raise WaitedTooLong(self.name, holder, evidence, timeout)
            raise ClaimHeld(self.name, holder, evidence)
        session = self._session
        assert session
        self.lost.clear()
        self._why_lost = ""
        self._lease = outcome.lease
        session.blocks[outcome.lease.name] = self
        if session.pulse.over:
            self.lose(session.pulse.over)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        member, session, lease = self._member, self._session, self.lease
        self._lease = None
        if self._process is not this_process() or member is None or session is None:
            return  # A forked child leaves its parent's block: the claim is the parent's.
        session.blocks.pop(lease.name, None)
        try:
            if session.pulse.check():
                # Not released here: the filesystem may not answer, and nobody is to wait for it.
                if not session.blocks:
                    session.leave_when_possible()
                why = f"is lost: {session.pulse.over}"
            else:
                outcome = member.claims.release_lease(lease)
                why = _superseded(outcome.lease.generation) if isinstance(outcome, Refused) else ""
        finally:
            member.let_go(lease.name)
        why = self._why_lost or why
        if why and error is None:
            raise ClaimLost(f"claim {lease.name}: generation {lease.generation} {why}")


def hold(
    name: str,
    *,
    data_dir: str | None = None,
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
    data_dir: str | None,
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


def _superseded(head: int) -> str:
    return f"was superseded (it is at {head}): broken, or ended"
