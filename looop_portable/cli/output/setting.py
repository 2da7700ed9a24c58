"""What a verb is given: how to speak, and where the claims are."""

from __future__ import annotations

import functools
from collections.abc import Callable

from looop_portable.claims.gate import Claims
from looop_portable.cli.output import Output
from looop_portable.cli.words.declared import Misuse
from looop_portable.config import Chosen, Config, backend_name, given, located, resolve, session_id
from looop_portable.errors import InvalidName, LooopError, UsageError
from looop_portable.protocol.records import Registration


class Setting(Output):
    """What a verb is given: how to speak, and where the claims are."""

    def __init__(self, as_json: bool = False) -> None:
        super().__init__(as_json)
        self._data_dir: str | None = None
        self._backend: str | None = None
        self.renewed: Registration | None = None
        """The session that lives by its renewals, and had one when the claims were opened."""

    def begin(
        self, verb: str | None, *, data_dir: str | None, backend: str | None, as_json: bool, quiet: bool, verbose: int
    ) -> None:
        """What stands before the verb. Raises `UsageError`."""
        self.aside = verb == "run"  # Its stdout is the command's that it runs.
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.place(data_dir, backend)

    def go_on(
        self,
        *,
        data_dir: str | None = None,
        backend: str | None = None,
        as_json: bool = False,
        quiet: bool = False,
        verbose: int = 0,
    ) -> None:
        """What stands behind it counts."""
        self.as_json, self.quiet, self.verbose = self.as_json or as_json, self.quiet or quiet, self.verbose + verbose
        if data_dir is not None:
            self.replace("data_dir", data_dir)
        if backend is not None:
            self.replace("backend", backend)

    def replace(self, option: str, value: str) -> None:
        if option == "data_dir":
            self.place(value, self._backend)
        else:
            self.place(self._data_dir, value)

    def place(self, data_dir: str | None, backend: str | None) -> None:
        """Where the claims are, as far as the command line tells. Raises `UsageError`."""
        self._data_dir = data_dir
        self._backend = backend
        self.hide = _hiding(backend)

    @functools.cached_property
    def config(self) -> Config:
        """Raises `UsageError` where it cannot be told: a page of help needs no store."""
        return resolve(self._data_dir, self._backend)

    def claims(self, session: str | None = None, *, renews: bool = True) -> Claims:
        """The claims of the configured store. The store in this process's memory is empty for each command: refused.

        `session`, else $LOOOP_SESSION_ID, is renewed if it lives by its renewals: so each verb renews it. Not `renews`: the
        verb acts for it, reads it, and renews it then.
        """
        self.backend()
        claims = Claims.open(self.config.data_dir, given(self.config.backend))
        self.detail(f"backend {claims.backend.name} in {self.config.data_dir}")
        if renews and (name := session_id(session)):
            self._renew(claims, name, chosen=bool(session))
        return claims

    def _renew(self, claims: Claims, session: str, *, chosen: bool) -> None:
        """What is asked for is answered whether that can be done or not. `chosen`: whoever has named it wants to know."""
        from looop_portable.sessions.inside import renewed

        try:
            self.renewed = renewed(claims.sessions, session)
        except InvalidName as error:
            if chosen:
                raise
            self.detail(str(error))
        except LooopError as error:
            self.detail(str(error))

    def backend(self) -> Chosen:
        """The configured backend's name or address, that of one which several processes can share."""
        found = located("", backend_name(self._backend))[1]
        if found == "memory":
            raise Misuse("the backend 'memory' lives in one process: for programs, not for the command line")
        return found

    def describe_trouble(self, claims: Claims) -> None:
        """With -v, say what went wrong on the side."""
        if claims.events and claims.events.trouble:
            self.detail(claims.events.trouble)


def _hiding(typed: str | None) -> Callable[[str], str]:
    """What takes the password of the backend's address out of a message. One that was typed leaves our command line too.

    Without this, what we fork would have it there for as long as a command runs.
    """
    try:
        chosen = backend_name(typed)
    except UsageError:  # It is told when it is needed: a page of help needs none.
        return str
    if isinstance(chosen, str) or not chosen.has_secrets:
        return str
    if typed:
        from looop_portable.system.opening.arguments import overwrite

        overwrite(typed, str(chosen))
    return chosen.hide
