"""What a backend is: a compare-and-set on the generations of claims, and a place where sessions are registered.

Everything else (judging, takeover, idempotence, reaping, fencing) is written once above it, for files and engines alike.
A backend passes the exam in `looop_portable.testing`.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from looop_portable.protocol.lease import Head, Lease
from looop_portable.protocol.liveness import Lock, Registration, Silence

__all__ = ["Backend", "SessionHead", "SessionStore", "Signs", "Tickets"]


class SessionHead(NamedTuple):
    """What is known of a session id.

    `generation` numbers its registrations; `own` is the latest (None: never registered, or damaged); `foreign` is a
    session that looop itself started under this id. `damaged`: there is a registration of ours that cannot be read.
    `torn`: there is something that may be a session of looop's, and cannot be read.
    """

    generation: int
    own: Registration | None
    foreign: Registration | None = None
    damaged: bool = False
    torn: bool = False


class Signs(Protocol):
    """Where sessions give signs of life. Methods raise OSError or `Unavailable` when they cannot answer."""

    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        """Before it is published: begin its heartbeat, if it promises one, and say what tells this store's disk.

        `locked`: also take its own lock, which the kernel holds until this process ends, where there is one.
        """

    def unpromise(self, registration: Registration) -> None:
        """Take back what `promise` made, of a registration that was not published, or whose process goes on without it."""

    def beat(self, session: str, incarnation: str) -> None:
        """A heartbeat. OSError if it could not be given, or there is none to give."""

    def has_beat(self, session: str, incarnation: str) -> bool:
        """Whether there was ever a heartbeat of it, and it has not been forgotten."""

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        """For how long there was no heartbeat, by the store's own clock. `watched`: it is watched from now on."""

    def lock(self, registration: Registration) -> Lock:
        """What there is to be seen of the lock of a registration that has one (`locked`)."""

    def lock_path(self, registration: Registration) -> str:
        """The file of that lock, for processes that are to take part in it."""

    def disk(self) -> str:
        """What tells the local disk that this store is on; empty if other hosts may reach it, or nobody knows."""


class SessionStore(Protocol):
    """The registrations of sessions. Methods raise OSError or `Unavailable` when they cannot answer.

    A store of files may have `stamp(session, generation) -> int`: see `births`.
    """

    @property
    def signs(self) -> Signs:
        """Their signs of life."""

    def read(self, session: str) -> SessionHead:
        """What is known of this id now."""

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        """Publish the registration after `expected`, or lose to another (False)."""

    def absent(self, session: str) -> bool:
        """Whether this id certainly has no registration. Asked when `read` found none where there must have been one."""

    def forget(self, session: str) -> None:
        """Remove all trace of an id that nobody will use again."""

    def tidy(self) -> None:
        """Remove what crashed processes left behind."""

    def ids(self) -> list[str]:
        """Every id that is or was registered, sorted."""


class Tickets(Protocol):
    """Where those who wait for a claim line up, first come, first served. Only the order depends on it, and nobody's claim.

    A *ticket* is a word that was never one before. A waiter that has ended, or does not take its turn, loses its
    ticket: the waiter behind it gives it back. If it lives, it lines up anew. Methods raise `Unavailable` when they cannot
    answer.
    """

    def take(self, claim: str, waiter: Registration) -> str:
        """A ticket at the end of the line. `waiter` is the process that waits: it need not be a session."""

    def give_back(self, claim: str, ticket: str) -> None:
        """Leave the line, or have somebody leave it. A ticket that is gone is no error."""

    def line(self, claim: str) -> list[str]:
        """The tickets, the first to be served first."""

    def waiter(self, claim: str, ticket: str) -> Registration | None:
        """Who waits with this ticket; None: it has been given back."""

    def show(self, claim: str, ticket: str) -> None:
        """Who has it lives, and waits: `shown` says something else from then on. Nothing if it is gone."""

    def shown(self, claim: str, ticket: str) -> int | None:
        """What tells one `show` from the one before."""

    def claims(self) -> list[str]:
        """The claims that there may be a line for."""

    def paths(self, claim: str, ticket: str = "", *, foreign: bool = False) -> tuple[str, ...]:
        """The paths that change when a ticket is given back or, without one, when a claim is released.

        Empty where no kernel tells of every change, as on a network mount. `foreign`: looop itself holds the claim.
        """

    def far(self) -> bool:
        """Whether each look goes over a network."""

    def tidy(self) -> None:
        """Remove what crashed processes left half-made."""


class Backend(Protocol):
    """The generations of claims. Names are canonical (see `names`). Methods raise `Unavailable` when they cannot answer.

    A backend may have four methods more. `recall(claim) -> Head | None`: a head that it once was and that holds nobody,
    known without asking; None if there is none. `claim` tries to build upon it, and reads if that is lost. And
    `keep_young(holder, names)`, called with each heartbeat of `holder`, who holds `names`: see `youth`. And two of claims:
    `heads() -> Iterator[tuple[str, Head | None]]`: as `claims`, each with its head; None: it cannot be read. And
    `held_by(holder, but, since) -> Iterator[str]`: of the names that are held, all that `holder` may hold, but for those of
    the list `but`. It has held nothing before `since`: see `births`; 0: nobody knows since when there is that session.
    One whose claims are files in a data directory has `stamps`, the path of the directory with its `Stamp`. Of any other
    the data directory remembers that its claims are elsewhere: see `remembered`.
    """

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def sessions(self) -> SessionStore:
        """Where sessions are registered."""

    @property
    def tickets(self) -> Tickets | None:
        """The lines of those who wait; None where they cannot be ordered."""

    def read(self, claim: str) -> Head:
        """The latest generation."""

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        """Publish generation `expected` + 1: held by `lease`, or released (None). False: lost to another.

        True is told to one at most, but for a release that is so late that its number is out of use: it ends nothing.
        `expected` may be a `lease.Judged`, which says whose it was judged to be: where a store can be restored, or swapped,
        somebody else's of the same number is lost too.
        """

    def claims(self) -> Iterator[str]:
        """The names that are held."""

    def tidy(self) -> list[tuple[str, str]]:
        """Remove what crashed processes left behind; (claim, reason) for each where that failed."""

    def unavailable(self) -> str | None:
        """Why this backend cannot be used here, and the remedy; None if it can."""
