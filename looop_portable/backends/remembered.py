"""A backend that keeps its claims elsewhere, as an engine does, and the data directory that remembers it.

Guarantees: a user who forgets `--backend` there is refused, before he claims in files what is claimed elsewhere; and
the other way round. Of a backend for files and one of these that come first at once, one is refused.
Does not guarantee: that two names of one host are known for that: then the refusal names the way out. Nor any of it where
nothing can be written, or read. Whoever can do neither cannot claim in files there.
How: the directory's stamp (see `stamp`) names the backend. It is made before the first claim or session. Its guard is one
that nobody has, so that versions before 0.2, which know of no backends in stamps, refuse the directory too. An address is
there without what is secret. Its scheme counts, and which store that is (`addresses.may_be_one`): another one of the same
scheme is refused, and another spelling of the same one is not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator

from looop_portable.backends.base import Backend, Directory, Fact, Found, HolderSigns, SessionHead, SessionStore
from looop_portable.config import Chosen, recognized
from looop_portable.errors import Unavailable, WrongBackend
from looop_portable.ledger.stamp import (
    ADDRESS,
    BACKEND,
    FLOCK,
    NAME,
    PROTOCOL,
    WINDOWS,
    Format,
    Policy,
    Stamp,
    describe,
    elsewhere,
)
from looop_portable.protocol.addresses import may_be_one
from looop_portable.protocol.codec import decode
from looop_portable.protocol.records import Head, Holder, Lease, Registration
from looop_portable.system.files import OS, Files


def root_in(data_dir: str) -> str:
    """The directory of the stamp."""
    return f"{data_dir.replace(os.sep, '/')}/claims/.ledger"


def is_remembered(name: Chosen, data_dir: str, files: Files = OS) -> bool:
    """Whether the stamp of `data_dir` says that its claims are in the backend of this name or address. Raises `OSError`."""
    try:
        return _Mark(root_in(data_dir), files, recognized(name)).known() is not None
    except WrongBackend:
        return False


class Remembered(Backend):
    """`backend`, of this name or address, in `data_dir`. Opening it looks at the stamp, and makes none.

    Raises `WrongBackend`.
    """

    def __init__(self, backend: Backend, name: Chosen, data_dir: str, files: Files = OS) -> None:
        self._backend = backend
        self._stamp = _Mark(root_in(data_dir), files, recognized(name))
        self._is_made = False
        self.sessions = _Sessions(backend.sessions, self._remember)
        self.tickets = backend.tickets
        self._answered(self._stamp.known)

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def directory(self) -> Directory | None:
        return self._backend.directory

    def read(self, claim: str) -> Head:
        return self._backend.read(claim)

    def look(self, claim: str) -> tuple[Head, HolderSigns | None]:
        return self._backend.look(claim)

    def verify(self) -> list[Fact]:
        return self._backend.verify()

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        self._remember()
        return self._backend.advance(claim, expected, lease)

    def scan(self) -> Iterator[Found]:
        return self._backend.scan()

    def survey(self) -> Iterator[tuple[str, Head | None, HolderSigns | None]]:
        return self._backend.survey()

    def recall(self, claim: str) -> Head | None:
        return self._backend.recall(claim)

    def has_told_end(self, holder: Holder) -> bool | None:
        return self._backend.has_told_end(holder)

    def held_by(self, holder: Holder, but: Iterable[str], since: int = 0) -> Iterator[str]:
        return self._backend.held_by(holder, but, since)

    def tidy(self) -> list[tuple[str, str]]:
        return self._backend.tidy()

    def far(self) -> bool:
        return self._backend.far()

    def unavailable(self) -> str | None:
        try:
            self._answered(self._stamp.known)
        except WrongBackend as refusal:
            return str(refusal)
        return self._backend.unavailable()

    def close(self) -> None:
        self._backend.close()

    def _remember(self) -> None:
        if not self._is_made:
            self._is_made = self._answered(self._stamp.make)

    def _answered(self, ask: Callable[[], object]) -> bool:
        try:
            ask()
        except WrongBackend:
            raise
        except (OSError, Unavailable):
            return False
        return True


class _Sessions(SessionStore):
    """`store`; before anybody is registered there, the directory remembers it."""

    def __init__(self, store: SessionStore, remember: Callable[[], None]) -> None:
        self._store = store
        self._remember = remember
        self.signs = store.signs

    def read(self, session: str) -> SessionHead:
        return self._store.read(session)

    def forget(self, session: str) -> None:
        self._store.forget(session)

    def ids(self) -> list[str]:
        return self._store.ids()

    def scan(self) -> Iterator[tuple[str, SessionHead | None]]:
        return self._store.scan()

    def survey(self) -> Iterator[tuple[str, SessionHead | None, HolderSigns | None]]:
        return self._store.survey()

    def begin(self, registration: Registration) -> SessionHead:
        self._remember()
        return self._store.begin(registration)

    def renew(self, session: str, incarnation: str) -> SessionHead | None:
        return self._store.renew(session, incarnation)

    def recall(self, session: str) -> SessionHead | None:
        return self._store.recall(session)

    def refuses(self, registration: Registration) -> str:
        return self._store.refuses(registration)

    def absent(self, session: str) -> bool:
        return self._store.absent(session)

    def stamp(self, session: str, generation: int) -> int:
        return self._store.stamp(session, generation)

    def tidy(self) -> None:
        self._store.tidy()

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        self._remember()
        return self._store.advance(session, expected, registration)


class _Mark(Stamp):
    """The stamp of a directory whose claims are in `backend`."""

    def __init__(self, root: str, files: Files, backend: Chosen) -> None:
        scheme, self._address = (backend, "") if isinstance(backend, str) else (backend.scheme, str(backend))
        super().__init__(root, files, Policy(scheme, without_links=WINDOWS if sys.platform == "win32" else FLOCK))

    def _read(self, data: bytes) -> Format:
        ours, (theirs, address) = self._policy.backend, elsewhere(decode(data))
        if theirs == ours and (not address or self._address.startswith(address) or self._may_be_at(address)):
            return Format()
        if theirs == ours:
            raise WrongBackend(
                f"{self.root}: the claims of this directory are in the backend {describe(theirs, address)}, not at "
                f"{self._address}: use --backend {address}, or another directory with --data-dir or LOOOP_DATA_DIR; if "
                f"both are names of one store, or it has moved, end all that use it and remove {self.root}/{NAME}",
                self.root,
            )
        where = f"in the backend {describe(theirs, address)}" if theirs else "in files"
        way_out = f"use --backend {address or theirs}" if theirs else "use it without --backend and LOOOP_BACKEND"
        raise WrongBackend(
            f"{self.root}: the claims of this directory are {where}, not in the backend '{ours}': {way_out}, or another "
            f"directory with --data-dir or LOOOP_DATA_DIR; to move it, end all that use it and remove {self.root}/{NAME}",
            self.root,
        )

    def _may_be_at(self, address: str) -> bool:
        """Whoever has chosen the backend by its name does not say where."""
        return not self._address or may_be_one(address, self._address)

    def _aliases(self) -> bool:
        return True  # Nothing is published there.

    def _record(self, stamped: Format) -> dict[str, object]:  # noqa: ARG002 (the same of all ways)
        backend = self._policy.backend
        found: dict[str, object] = {"protocol": PROTOCOL, BACKEND: backend, "guard": f"of the backend {backend}"}
        return {**found, ADDRESS: self._address} if self._address else found
