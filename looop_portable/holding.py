"""`with hold("repo-x") as lease:` for programs: a claim for as long as a block runs.

Guarantees: nobody else alive holds the claim inside the block, in another process or in another thread of this one.
Does not guarantee: anything after somebody broke the claim or ended this process's session; `Hold.check()` tells.
How: the first `hold` registers this process as a session, once per store. A child made by fork is another process: it
registers its own, and leaving a block that its parent entered does nothing there.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from types import TracebackType
from typing import Self

from looop_portable.claims import Claims
from looop_portable.config import Config, resolve
from looop_portable.errors import ClaimHeld, ClaimLost, LooopError
from looop_portable.lease import Lease
from looop_portable.names import canonical
from looop_portable.outcomes import Held, Refused, Renewed, Won


class _Member:
    """This process as a session of one store."""

    def __init__(self, config: Config) -> None:
        self.claims = Claims.open(config.data_dir, config.backend)
        self.holding: set[str] = set()
        self.register()

    def register(self) -> None:
        """A session of an id made up. What an earlier one holds stays with that one."""
        self.holder = self.claims.sessions.register().holder

    def has_ended(self) -> bool:
        """Whether somebody has ended our session. Without asking, all that it claims later would be anybody's."""
        return self.claims.sessions.verdict(*self.holder).dead

    def leave(self) -> None:
        """End the session, and remove it: its id is made up, so nobody will ask for it again."""
        sessions = self.claims.sessions
        sessions.stop(*self.holder)
        status = sessions.status(self.holder.session)
        if status:
            sessions.forget(status)


class _Process:
    """The memberships of one process, and the guard over them."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.members: dict[Config, _Member] = {}

    def member(self, config: Config) -> _Member:
        """Call with the guard held."""
        if config not in self.members:
            self.members[config] = _Member(config)
        return self.members[config]


_process = _Process()


def _after_fork() -> None:
    """Without this, a child would act for its parent's session, with a guard that another thread may have held."""
    global _process
    _process = _Process()


def _leave_all() -> None:
    with _process.guard:
        members = [_process.members.pop(config) for config, member in list(_process.members.items()) if not member.holding]
    for member in members:  # Where a thread still holds, the session ends with the process.
        try:
            member.leave()
        except LooopError:
            continue  # The process ends now, and that is all the evidence of death that anybody needs.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_leave_all)


class Hold:
    """A claim, held from entering the `with` block until leaving it. Made by `hold`; not to be entered twice at once."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = canonical(name)
        self._config = config
        self._process: _Process | None = None
        self._member: _Member | None = None
        self._lease: Lease | None = None

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
        """Read the claim afresh. Raises `ClaimLost` if it is no longer this one's."""
        lease = self.lease
        assert self._member
        found = self._member.claims.check(self.name, lease.generation)
        if not found.current:
            raise _lost(lease, found.head)

    def __enter__(self) -> Self:
        process = _process
        with process.guard:
            member = process.member(self._config)
            if self.name in member.holding:
                raise ClaimHeld(self.name, member.holder.session, "this process holds it already; hold() is not reentrant")
            member.holding.add(self.name)
        try:
            outcome = self._claim(member)
            self._process, self._member, self._lease = process, member, outcome.lease
        except BaseException:
            member.holding.discard(self.name)
            raise
        return self

    def _claim(self, member: _Member) -> Won | Renewed:
        try:
            if member.has_ended():
                member.register()
            outcome = member.claims.claim(self.name, member.holder)
        except BaseException:
            # Interrupted, it may have been won all the same.
            with contextlib.suppress(LooopError):
                member.claims.release(self.name, member.holder)
            raise
        if isinstance(outcome, Held):
            raise ClaimHeld(self.name, outcome.lease.session, outcome.verdict.evidence)
        if isinstance(outcome, Renewed) and self.name.casefold() in map(str.casefold, member.holding - {self.name}):
            # The directory does not tell case apart: `Repo` and `repo` are one claim, and another thread holds it.
            raise ClaimHeld(self.name, member.holder.session, "this process holds it already, in another spelling")
        return outcome

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        member, lease = self._member, self.lease
        self._lease = None
        if self._process is not _process or member is None:
            return  # A forked child leaves its parent's block: the claim is the parent's.
        try:
            outcome = member.claims.release_lease(lease)
        finally:
            member.holding.discard(self.name)
        if isinstance(outcome, Refused) and error is None:
            raise _lost(lease, outcome.lease.generation)


def hold(name: str, *, data_dir: str | None = None, backend: str | None = None) -> Hold:
    """Claim `name` for this process while a `with` block runs.

    `data_dir` and `backend` default as on the command line. Entering raises `ClaimHeld` at once if another holds the
    claim, `Unavailable` if nobody can tell; leaving raises `ClaimLost` if somebody else was given the claim meanwhile.
    """
    return Hold(name, resolve(data_dir, backend))


def _lost(lease: Lease, head: int) -> ClaimLost:
    return ClaimLost(
        f"claim {lease.name}: generation {lease.generation} was superseded (it is at {head}): broken, or ended"
    )
