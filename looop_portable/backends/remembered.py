"""A backend that keeps its claims elsewhere, as an engine does, and the data directory that remembers it.

Guarantees: whoever forgets `--backend` there is refused and told, before he claims in files what is claimed elsewhere; and
the other way round. Of a backend for files and one of these that come first at once, one is refused.
Does not guarantee: that where nothing can be written, or read. Whoever can do neither cannot claim in files there.
How: the directory's stamp (see `stamp`) names the backend. It is made before the first claim or session. Its guard is one
that nobody has, so that versions before 0.2, which know of no backends in stamps, refuse the directory too. The backend's
name is all that it says: of an address the scheme, never a credential.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

from looop_portable.backends.base import Backend, SessionStore, Tickets
from looop_portable.errors import Unavailable, WrongBackend
from looop_portable.ledger.stamp import BACKEND, FLOCK, NAME, PROTOCOL, WINDOWS, Format, Policy, Stamp
from looop_portable.protocol.lease import Head, Lease, decode, text
from looop_portable.protocol.liveness import Registration
from looop_portable.system.files import OS, Files


def root_in(data_dir: str) -> str:
    """The directory of the stamp."""
    return f"{data_dir.replace(os.sep, '/')}/claims/.ledger"


class Remembered:
    """`backend`, of this `name`, in `data_dir`. Opening it looks at the stamp, and makes none. Raises `WrongBackend`."""

    def __init__(self, backend: Backend, name: str, data_dir: str, files: Files = OS) -> None:
        self._backend = backend
        self._stamp = _Mark(root_in(data_dir), files, name.partition(":")[0])
        self._is_made = False
        self._answered(self._stamp.known)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def sessions(self) -> SessionStore:
        return cast("SessionStore", _Sessions(self._backend.sessions, self._remember))

    @property
    def tickets(self) -> Tickets | None:
        return self._backend.tickets

    def read(self, claim: str) -> Head:
        return self._backend.read(claim)

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        self._remember()
        return self._backend.advance(claim, expected, lease)

    def claims(self) -> Iterator[str]:
        return self._backend.claims()

    def tidy(self) -> list[tuple[str, str]]:
        return self._backend.tidy()

    def unavailable(self) -> str | None:
        try:
            self._answered(self._stamp.known)
        except WrongBackend as refusal:
            return str(refusal)
        return self._backend.unavailable()

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


class _Sessions:
    """`store`; before anybody is registered there, the directory remembers it."""

    def __init__(self, store: SessionStore, remember: Callable[[], None]) -> None:
        self._store = store
        self._remember = remember

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        self._remember()
        return self._store.advance(session, expected, registration)


class _Mark(Stamp):
    """The stamp of a directory whose claims are in `backend`."""

    def __init__(self, root: str, files: Files, backend: str) -> None:
        super().__init__(root, files, Policy(backend, without_links=WINDOWS if sys.platform == "win32" else FLOCK))

    def _read(self, data: bytes) -> Format:
        ours, theirs = self._policy.backend, text(decode(data), BACKEND)
        if theirs == ours:
            return Format()
        where = f"in the backend '{theirs}'" if theirs else "in files"
        way_out = f"use --backend {theirs}" if theirs else "use it without --backend and LOOOP_BACKEND"
        raise WrongBackend(
            f"{self.root}: the claims of this directory are {where}, not in the backend '{ours}': {way_out}, or another "
            f"directory with --data-dir or LOOOP_DATA_DIR; to move it, end all that use it and remove {self.root}/{NAME}",
            self.root,
        )

    def _aliases(self) -> bool:
        return True  # Nothing is published there.

    def _record(self, stamped: Format) -> dict[str, object]:  # noqa: ARG002 (the same of all ways)
        backend = self._policy.backend
        return {"protocol": PROTOCOL, BACKEND: backend, "guard": f"of the backend {backend}"}
