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
from typing import Self

from looop_portable.config import Config, resolve
from looop_portable.errors import ClaimHeld, ClaimLost, LooopError, UsageError
from looop_portable.lease import Lease
from looop_portable.liveness import LEASE_SECONDS, SHORTEST_LEASE
from looop_portable.membership import Member, Process, Session, this_process
from looop_portable.names import canonical
from looop_portable.outcomes import Held, Refused, Renewed, Won


class Hold:
    """A claim, held from entering the `with` block until leaving it. Made by `hold`; not to be entered twice at once."""

    def __init__(
        self, name: str, config: Config, lease_seconds: int = LEASE_SECONDS, on_lost: Callable[[Hold], object] | None = None
    ) -> None:
        self.name = canonical(name)
        self.lost = threading.Event()
        """Set as soon as the claim is known to be lost."""
        self._config = config
        self._lease_seconds = lease_seconds
        self._on_lost = on_lost
        self._process: Process | None = None
        self._member: Member | None = None
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
        found = member.claims.check(self.name, lease.generation)
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
        if self._on_lost and self._process is this_process():
            threading.Thread(target=self._on_lost, args=(self,), name=f"looop lost {self.name}", daemon=True).start()

    def __enter__(self) -> Self:
        process = this_process()
        with process.guard:
            member = process.member(self._config, self._lease_seconds)
            if self.name in member.holding:
                holder = member.current.holder.session
                raise ClaimHeld(self.name, holder, "this process holds it already; hold() is not reentrant")
            member.holding.add(self.name)
        try:
            session = member.session()
            outcome = self._claim(member, session)
            self.lost.clear()
            self._why_lost = ""
            self._process, self._member, self._session, self._lease = process, member, session, outcome.lease
            session.blocks[self.name] = self
        except BaseException:
            member.holding.discard(self.name)
            raise
        if session.pulse.over:
            self.lose(session.pulse.over)
        return self

    def _claim(self, member: Member, session: Session) -> Won | Renewed:
        try:
            outcome = member.claims.claim(self.name, session.holder)
        except BaseException:
            # Interrupted, it may have been won all the same.
            with contextlib.suppress(LooopError):
                member.claims.release(self.name, session.holder)
            raise
        if isinstance(outcome, Held):
            raise ClaimHeld(self.name, outcome.lease.session, outcome.verdict.evidence)
        if isinstance(outcome, Renewed) and self.name.casefold() in map(str.casefold, member.holding - {self.name}):
            # The directory does not tell case apart: `Repo` and `repo` are one claim, and another thread holds it.
            holder = session.holder.session
            raise ClaimHeld(self.name, holder, "this process holds it already, in another spelling")
        return outcome

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        member, session, lease = self._member, self._session, self.lease
        self._lease = None
        if self._process is not this_process() or member is None or session is None:
            return  # A forked child leaves its parent's block: the claim is the parent's.
        session.blocks.pop(self.name, None)
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
            member.holding.discard(self.name)
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
) -> Hold:
    """Claim `name` for this process while a `with` block runs.

    `data_dir` and `backend` default as on the command line. `lease_seconds`: for how long other hosts wait for a sign of
    life of this one before they may take the claim over; after two thirds of it without being heard this one counts itself
    as lost. `on_lost` is then called with the `Hold`, once, in a thread of its own.
    Entering raises `ClaimHeld` at once if another holds the claim, `Unavailable` if nobody can tell; leaving raises
    `ClaimLost` if it was lost, or somebody else was given the claim meanwhile.
    """
    if lease_seconds < SHORTEST_LEASE:
        raise UsageError(
            f"a lease of {lease_seconds} s is too short to be kept on a slow filesystem: {SHORTEST_LEASE} s or more"
        )
    return Hold(name, resolve(data_dir, backend), lease_seconds, on_lost)


def _superseded(head: int) -> str:
    return f"was superseded (it is at {head}): broken, or ended"
