"""What a backend is: a compare-and-set on the generations of claims, and a place where sessions are registered.

Everything else (judging, takeover, idempotence, reaping, fencing) is written once above it, for files and engines alike.
A backend passes the exam in `looop_portable.testing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

from looop_portable.backends.lines import Tickets
from looop_portable.errors import LooopError
from looop_portable.protocol.liveness import Lock, Silence
from looop_portable.protocol.outcomes import Sweep
from looop_portable.protocol.records import Head, Holder, Lease, Registration
from looop_portable.protocol.standings import is_ours
from looop_portable.typed import NamedTuple, Protocol

__all__ = ["Backend", "Directory", "Fact", "HolderSigns", "SessionHead", "SessionStore", "Signs", "Tickets"]

Found = tuple[str, Head | None]
"""A claim's name and its head; None: it cannot be read, and `read` says why."""


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


class HolderSigns(NamedTuple):
    """What a look at a claim told of its `holder` as well: its session, and for how long there was no heartbeat of it."""

    holder: Holder
    session: SessionHead
    silence: Callable[[Registration], Silence]


class Fact(NamedTuple):
    """What `looop doctor` says of a store, after it has looked: `persistence`, and what is so there, in one line.

    `excludes`: whether never two win, and no number is given twice, though this is so. `advice`: what to change; one line.
    """

    name: str
    found: str
    excludes: bool = True
    advice: str = ""


class Signs(ABC):
    """Where sessions give signs of life. Methods raise OSError or `Unavailable` when they cannot answer.

    What only directories have, a lock, has a default: there is none.
    """

    @abstractmethod
    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        """Before it is published: begin its heartbeat, if it promises one, and say what tells this store's disk.

        `locked`: also take its own lock, which the kernel holds until this process ends, where there is one.
        """

    @abstractmethod
    def unpromise(self, registration: Registration) -> None:
        """Take back what `promise` made, of a registration that was not published, or whose process goes on without it."""

    @abstractmethod
    def beat(self, session: str, incarnation: str) -> None:
        """A heartbeat. OSError if it could not be given, or there is none to give."""

    @abstractmethod
    def has_beat(self, session: str, incarnation: str) -> bool:
        """Whether there was ever a heartbeat of it, and it has not been forgotten."""

    @abstractmethod
    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        """For how long there was no heartbeat, by the store's own clock. `watched`: it is watched from now on."""

    def lock(self, registration: Registration) -> Lock:  # noqa: ARG002 (the interface)
        """What there is to be seen of the lock of a registration that has one (`locked`)."""
        return Lock.MISSING

    def lock_path(self, registration: Registration) -> str:  # noqa: ARG002 (the interface)
        """The file of that lock, for processes that are to take part in it; empty: there is none."""
        return ""

    def disk(self) -> str:
        """What tells the local disk that this store is on; empty if other hosts may reach it, or nobody knows."""
        return ""


class SessionStore(ABC):
    """The registrations of sessions. Methods raise OSError or `Unavailable` when they cannot answer."""

    signs: Signs
    """Their signs of life."""

    @abstractmethod
    def read(self, session: str) -> SessionHead:
        """What is known of this id now."""

    @abstractmethod
    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        """Publish the registration after `expected`, or lose to another (False)."""

    @abstractmethod
    def forget(self, session: str) -> None:
        """Remove all trace of an id that nobody will use again."""

    @abstractmethod
    def ids(self) -> list[str]:
        """Every id that is or was registered, sorted."""

    def scan(self) -> Iterator[tuple[str, SessionHead | None]]:
        """Each of those ids with what is known of it; None: it cannot be read, and `read` says why."""
        for session in self.ids():
            try:
                head = self.read(session)
            except (OSError, LooopError):
                yield session, None
            else:
                yield session, head

    def survey(self) -> Iterator[tuple[str, SessionHead | None, HolderSigns | None]]:
        """As `scan`, and with each what tells of its heartbeats, if that was learnt on the way."""
        return ((*found, None) for found in self.scan())

    def begin(self, registration: Registration) -> SessionHead:
        """What is known of its id, for who is about to register this.

        A store may give its first heartbeat on the way. Then `promise` gives none, and `unpromise` takes it back.
        """
        return self.read(registration.session)

    def renew(self, session: str, incarnation: str) -> SessionHead | None:
        """A heartbeat, as by `Signs.beat`; and what is known of the session after it, if that was learnt on the way."""
        self.signs.beat(session, incarnation)
        return None

    def recall(self, session: str) -> SessionHead | None:  # noqa: ARG002 (the interface)
        """What this process has published last under this id, told once, without asking; None: it does not know it."""
        return None

    def refuses(self, registration: Registration) -> str:  # noqa: ARG002 (the interface)
        """Why nobody can be registered so here; empty: he can. Raises as `read` does."""
        return ""

    def absent(self, session: str) -> bool:
        """Whether this id certainly has no registration. Asked when `read` found none where there must have been one.

        What `read` tells is the latest, but in a directory on a network mount.
        """
        return not self.read(session).generation

    def stamp(self, session: str, generation: int) -> int:  # noqa: ARG002 (the interface)
        """When that registration was written, by a filesystem's clock, in nanoseconds; 0: nobody knows. See `births`."""
        return 0

    def tidy(self) -> None:
        """Remove what crashed processes left behind."""
        return


class Directory(Protocol):
    """What only claims that are files in a data directory have: see `Backend.directory`."""

    @property
    def stamps(self) -> str:
        """The directory with its `Stamp`."""

    @property
    def is_guarded(self) -> bool:
        """Whether a step may hold a guard, which keeps others out, so that nothing may come in between."""

    def strange(self) -> str:
        """Why nothing may be removed: what is here is another program's. Empty: a store. Raises `Unavailable`."""

    def shown(self, lease: Lease) -> Lease | None:
        """As `lease`, which names nobody, is shown to people: whose it is, or nobody's where that is written over, too.

        None: it was none that counts. Raises OSError or `Unavailable`.
        """

    def keep_young(self, holder: Holder, names: Iterable[str]) -> None:
        """With each heartbeat of `holder`, who holds `names`: see `youth`. Raises `Unavailable`."""


class Backend(ABC):
    """The generations of claims. Names are canonical (see `names`). Methods raise `Unavailable` when they cannot answer.

    A backend inherits this class. What is abstract it has to write. The rest has a default, which is right everywhere, and
    is overridden where a store knows better.
    """

    sessions: SessionStore
    """Where sessions are registered."""

    tickets: Tickets | None = None
    """The lines of those who wait; None where they cannot be ordered."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As on the command line."""

    @property
    def directory(self) -> Directory | None:
        """What only claims in a data directory have. Of others the directory remembers where they are: see `remembered`."""
        return None

    @abstractmethod
    def read(self, claim: str) -> Head:
        """The latest generation."""

    def look(self, claim: str) -> tuple[Head, HolderSigns | None]:
        """The latest generation, and what was learnt of its holder on the way, after that or at once with it."""
        return self.read(claim), None

    @abstractmethod
    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        """Publish generation `expected` + 1: held by `lease`, or released (None). False: lost to another.

        True is told to one at most, but for a release that is so late that its number is out of use: it ends nothing.
        `expected` may be a `lease.Judged`, which says whose it was judged to be: where a store can be restored, or swapped,
        somebody else's of the same number is lost too.
        """

    @abstractmethod
    def scan(self) -> Iterator[Found]:
        """The names that are held, each with its head; None: it cannot be read, and `read` says why."""

    def survey(self) -> Iterator[tuple[str, Head | None, HolderSigns | None]]:
        """As `scan`, and with each what `look` would tell of its holder, if that was learnt on the way.

        It was, after the first claim of that holder.
        """
        return ((*found, None) for found in self.scan())

    def claims(self) -> Iterator[str]:
        """The names that are held: those of `scan`."""
        return (name for name, _ in self.scan())

    def recall(self, claim: str) -> Head | None:  # noqa: ARG002 (the interface)
        """A head that `claim` once had and that holds nobody, known without asking; None if there is none.

        `claim` tries to build upon it, and reads if that is lost.
        """
        return None

    def has_told_end(self, holder: Holder) -> bool | None:  # noqa: ARG002 (the interface)
        """Whether the last claim that `holder` won told that its session had ended. None: it is not told, so ask before."""
        return None

    def held_by(self, holder: Holder, but: Iterable[str], since: int = 0) -> Iterator[str]:  # noqa: ARG002 (the interface)
        """Of the names that are held, all that `holder` may hold, but for those of the list `but`.

        It has held nothing before `since`: see `births`; 0: nobody knows since when there is that session.
        """
        left = frozenset(but)
        return (name for name, head in self.scan() if name not in left and (head is None or is_ours(head.lease, holder)))

    def tidy(self) -> list[tuple[str, str]]:
        """Remove what crashed processes left behind; (claim, reason) for each where that failed."""
        return []

    def prune(self, older_than: float, *, dry_run: bool = False, say: Callable[[str], object] = str) -> Sweep:  # noqa: ARG002
        """Forget the names that are free and were not used for so many seconds. No number of theirs is used again.

        `dry_run`: find them. `say` is told how far it is. What fails, and why it cannot be done at all, is in the result.
        """
        reason = f"the backend '{self.name}' keeps a name's number as long as its store, and has no files to be pruned"
        return Sweep(skipped=reason, dry_run=dry_run)

    def far(self) -> bool:
        """Whether each look goes over a network."""
        return self.tickets is not None and self.tickets.far()

    def unavailable(self) -> str | None:
        """Why this backend cannot be used here, and the remedy; None if it can."""
        return None

    def verify(self) -> list[Fact]:
        """What `looop doctor` is to say of this store, if that is no directory."""
        return []

    def close(self) -> None:
        """Nobody asks anything after this. What the store has open is closed; nothing is sent."""
        return
