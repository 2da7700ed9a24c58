"""What `looop run` is asked for, what it answers, and who is told meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.outcomes import Held
from looop_portable.protocol.records import Lease

__all__ = ["Ended", "Listener", "Request"]


class Request(NamedTuple):
    """What is to be run, and for what. `names`: of claims; `session`: its id, made up if empty; seconds.

    `timeout`: for how long the claims are waited for; None: without end. `slots`: of each claim; 0: it has none.
    `until_all_end`: what the command leaves behind holds too. `note`: on each claim, for people.
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


class Listener(Protocol):
    """Who is told of what happens meanwhile, from whatever thread."""

    def waits(self, held: Held, seconds: float) -> None:
        """For so long a claim has been waited for that another holds."""

    def won(self, lease: Lease) -> None: ...
    def lost(self, names: Sequence[str], reason: str, ends: bool) -> None:
        """`ends`: the command is being ended for it."""

    def left(self, name: str, reason: str) -> None:
        """`name` (empty: all that was held) could not be released; its session has ended, as far as anybody can tell."""


class Ended(NamedTuple):
    """The command has run, or could not be run: then `failure` says why. `left`: what it has left behind, for people."""

    code: int
    failure: str = ""
    left: Sequence[str] = ()
