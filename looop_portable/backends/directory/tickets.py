"""Those who wait for a claim, in line: `claims/.queue/NAME/NUMBER-NONCE`, a file for each.

Guarantees: a ticket is a name that was never one before, so its removal takes no later ticket away. It is complete when
it can be seen. A ticket that exists is before every ticket that is taken afterwards.
Does not guarantee: anything about who holds. The ledger alone decides that, and a claimer that does not line up may win.
How: as at a bakery (Lamport, "A New Solution of Dijkstra's Concurrent Programming Problem", 1974): one more than the
highest number that is there; where two come at once to the same number, a random word decides.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence

from looop_portable.backends.base import Tickets
from looop_portable.backends.directory.projection import Projection
from looop_portable.errors import answering
from looop_portable.ledger.ledger import Ledger
from looop_portable.protocol.codec import encode
from looop_portable.protocol.names import unspelled
from looop_portable.protocol.records import Registration, waiter_in
from looop_portable.system.files import Files
from looop_portable.system.files.rooms import clear
from looop_portable.system.mounts.mount import Mount
from looop_portable.system.opening.ours import PRIVATE_TICKET, those
from looop_portable.system.opening.private import named
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.system.watch.waking import Watcher

_DIGITS = 12
_MOST = 10**_DIGITS - 1
"""Whoever comes after such a ticket has that number too: a longer one would be in no line."""


class TicketFiles(Tickets):
    """The `Tickets` of the file backends."""

    def __init__(self, ledger: Ledger, projection: Projection) -> None:
        self.directory = f"{projection.directory}/.queue"
        self._ledger = ledger
        self._projection = projection
        self._files: Files = ledger.files

    def take(self, claim: str, waiter: Registration) -> str:
        with answering(f"claim {claim}"):
            return self._take(claim, waiter)

    def give_back(self, claim: str, ticket: str) -> None:
        with answering(f"claim {claim}"):
            self._files.remove(self._path(claim, ticket))

    def line(self, claim: str) -> list[str]:
        with answering(f"claim {claim}"):
            return self.line_of(self._key(claim))

    def waiter(self, claim: str, ticket: str) -> Registration | None:
        with answering(f"claim {claim}"):
            data = self._files.read(self._path(claim, ticket))
        return None if data is None else waiter_in(data)

    def show(self, claim: str, ticket: str) -> None:
        with answering(f"claim {claim}"):
            self._files.keep_young(self._path(claim, ticket), 0)

    def shown(self, claim: str, ticket: str) -> int | None:
        with answering(f"claim {claim}"):
            return self._files.changed(self._path(claim, ticket))

    def claims(self) -> list[str]:
        with answering():
            return [name for key in self._keys() if (name := unspelled(key, once=True))]

    def subscribe(self, watcher: Watcher, claims: Sequence[str], ticket: str = "", *, foreign: bool = False) -> bool:
        return watcher.watch(path for claim in claims for path in self.paths(claim, ticket, foreign=foreign))

    def paths(self, claim: str, ticket: str = "", *, foreign: bool = False) -> tuple[str, ...]:
        """The paths that change then. None where no kernel tells of every change. `foreign`: see `subscribe`."""
        if not self._is_notified():
            return ()
        if ticket:
            return (self._path(claim, ticket),)
        key = self._key(claim)
        generations = f"{self._ledger.root}/{key}"
        return (generations, self._projection.path(key)) if foreign else (generations,)

    def far(self) -> bool:
        return self._mount is not None and self._mount.network

    def tidy(self) -> None:
        """Remove what crashed waiters left, and empty lines. A waiter that is about to join makes its line anew."""
        with answering():
            for key in self._keys():
                self._sweep(key)

    def _take(self, claim: str, waiter: Registration) -> str:
        key, shared = self._key(claim), self._ledger.ledger_root.shared()
        directory = f"{self.directory}/{key}"

        def private(_: int) -> str:
            last = max((int(ticket[:_DIGITS]) for ticket in self.line_of(key)), default=0)
            return f"{directory}/.{min(last + 1, _MOST):0{_DIGITS}}-{self._files.nonce()}"

        def name(private: str) -> str:
            ticket = private.rpartition("/.")[2]
            self._files.replace(private, f"{directory}/{ticket}")
            return ticket

        def line_up() -> None:
            """It is the first, or a reaper has been here."""
            self._ledger.ledger_root.make_room(self.directory, shared)
            with contextlib.suppress(FileNotFoundError):  # The line of lines has been removed meanwhile: once more.
                self._files.mkdir(directory, shared=shared)

        make = functools.partial(self._files.create, data=encode(waiter._asdict()), shared=shared)
        return named(private, make, name, self._files.remove, make_room=line_up)

    def line_of(self, key: str) -> list[str]:
        """As `line`, of a name whose spelling here is known. Raises OSError."""
        try:
            names = self._files.list(f"{self.directory}/{key}")
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name[:_DIGITS].isdecimal() and name[_DIGITS : _DIGITS + 1] == "-")

    def _keys(self) -> list[str]:
        try:
            return [name for name in self._files.list(self.directory) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def _sweep(self, key: str) -> None:
        try:
            with self._files.room(f"{self.directory}/{key}", 2) as room:
                names = room.names()
                clear(room, those(names, PRIVATE_TICKET))
            if not names:
                with self._files.room(self.directory, 1) as room:
                    room.rmdir(key)
        except OSError:
            return  # Somebody has lined up meanwhile, or it is none of ours: it is in nobody's way.

    def _path(self, claim: str, ticket: str) -> str:
        return f"{self.directory}/{self._key(claim)}/{ticket}"

    def _key(self, claim: str) -> str:
        return self._ledger.spelling.key(claim)

    def _is_notified(self) -> bool:
        """Whether the kernel tells of all that is changed here: where no other can have it mounted."""
        return self._mount is not None and bool(self._mount.disk)

    @functools.cached_property
    def _mount(self) -> Mount | None:
        """The mount of the directory, asked for once: it takes longer than all other steps of a waiter."""
        return self._files.mount_of(self._projection.directory)
