"""What a backend is: a compare-and-set on the generations of claims, and a place where sessions are registered.

Everything else (judging, takeover, idempotence, reaping, fencing) is written once above it, for files and engines alike.
A backend passes the exam in `looop_portable.testing`.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from looop_portable.lease import Head, Lease
from looop_portable.liveness import Registration, Silence


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

    def silence(self, registration: Registration) -> Silence:
        """For how long there was no heartbeat, by the store's own clock."""

    def lock_is_held(self, registration: Registration) -> bool:
        """Whether the lock of a registration that has one (`locked`) is held."""

    def disk(self) -> str:
        """What tells the local disk that this store is on; empty if other hosts may reach it, or nobody knows."""


class SessionStore(Protocol):
    """The registrations of sessions. Methods raise OSError or `Unavailable` when they cannot answer."""

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


class Backend(Protocol):
    """The generations of claims. Names are canonical (see `names`). Methods raise `Unavailable` when they cannot answer."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def sessions(self) -> SessionStore:
        """Where sessions are registered."""

    def read(self, claim: str) -> Head:
        """The latest generation."""

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        """Publish generation `expected` + 1: held by `lease`, or released (None). False: lost to another.

        True is told to one at most, but for a release that is so late that its number is out of use: it ends nothing.
        """

    def claims(self) -> Iterator[str]:
        """The names that are held."""

    def tidy(self) -> list[tuple[str, str]]:
        """Remove what crashed processes left behind; (claim, reason) for each where that failed."""

    def unavailable(self) -> str | None:
        """Why this backend cannot be used here, and the remedy; None if it can."""
