"""What `looop run` is asked for, what it answers, and who is told meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence

from looop_portable.protocol.codec import LONGEST_TEXT
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.names import printable
from looop_portable.protocol.outcomes import Held
from looop_portable.protocol.records import Lease
from looop_portable.system.opening.locales import for_people
from looop_portable.typed import NamedTuple, Protocol

__all__ = ["Ended", "Listener", "Request"]


class Request(NamedTuple):
    """What is to be run, and for what. `names`: of claims; `session`: its id, made up if empty; seconds.

    `timeout`: for how long the claims are waited for; None: without end. `slots`: of each claim; 0: it has none.
    `until_all_end`: what the command leaves behind holds too. `note`: on each claim, for people. `max_hold`: for how
    long it runs, before it is ended. `shared`: the claims, beside all who share them.
    """

    command: Sequence[str]
    names: Sequence[str] = ()
    session: str = ""
    lease_seconds: int = DEFAULT_TTL
    timeout: float | None = 0
    slots: int = 0
    ends_when_lost: bool = True
    until_all_end: bool = False
    note: str = ""
    max_hold: float | None = None
    shared: bool = False

    @property
    def program(self) -> str:
        """The name of the program, for all to see who are refused; never its arguments, which may have passwords.

        Who has put a whole line in quotes, and means a shell's, has not told it from its arguments: it is the first word.
        """
        path = self.command[0] if self.command else ""
        if not os.path.isabs(path):
            path = next(iter(path.split()), "")
        return printable(for_people(os.path.basename(path)))[:LONGEST_TEXT]


class Listener(Protocol):
    """Who is told of what happens meanwhile, from whatever thread."""

    def waits(self, held: Held, seconds: float) -> None:
        """For so long a claim has been waited for that another holds."""

    def won(self, lease: Lease) -> None: ...
    def joined(self, lease: Lease) -> None:
        """A session around this process holds it already: it is used, and not released."""

    def lost(self, names: Sequence[str], reason: str, ends: bool) -> None:
        """`ends`: the command is being ended for it."""

    def expired(self, names: Sequence[str], seconds: float) -> None:
        """The command is being ended: it has held them for as long as it may."""

    def left(self, name: str, reason: str) -> None:
        """`name` (empty: all that was held) could not be released; its session has ended, as far as anybody can tell."""


class Ended(NamedTuple):
    """The command has run, or could not be run: then `failure` says why. `left`: what it has left behind, for people."""

    code: int
    failure: str = ""
    left: Sequence[str] = ()
