"""Which claims somebody means: by a pattern, by who holds them, and for how long; and in which order."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

import click

from looop_portable.cli.completion.offers import claim_names, session_ids
from looop_portable.cli.output.ages import seconds_since
from looop_portable.cli.words import HOW
from looop_portable.cli.words.clicks import Duration
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Lease
from looop_portable.typed import Any, NamedTuple

_NO_AGE = -1.0


def fits(name: str, pattern: str) -> bool:
    """Whether it is that name, or one of those that the pattern (`*`, `?`, `[abc]`) stands for."""
    return name == pattern or fnmatchcase(name, pattern)


class Selection(NamedTuple):
    """What is None, or False, selects nothing. `dead` and `held` together select all."""

    pattern: str | None = None
    session: str | None = None
    host: str | None = None
    dead: bool = False
    held: bool = False
    older_than: float | None = None
    sort: str = "name"

    def of(self, found: list[Status]) -> list[Status]:
        """Those that are meant, in order. Of one that cannot be read nothing is known but its name."""
        return sorted(filter(self._has, found), key=_ORDERS[self.sort])

    def names(self, name: str) -> bool:
        return self.pattern is None or fits(name, self.pattern)

    def _has(self, status: Status) -> bool:
        lease, verdict = status.lease, status.verdict
        if lease is None or verdict is None or not self.names(status.name):
            return False
        by_life = self.dead in (self.held, verdict.dead)
        by_age = self.older_than is None or _age_of(status) >= self.older_than
        those = lease.readers or (lease,)
        by_session = self.session is None or any(fits(each.session, self.session) for each in those)
        by_host = self.host is None or any(fits(each.host, self.host) for each in those)
        return by_life and by_age and by_session and by_host


def is_unreadable(status: Status) -> bool:
    return status.lease == Lease(status.name, "")


def _age_of(status: Status) -> float:
    age = seconds_since(status.lease.claimed_at) if status.lease else None
    return _NO_AGE if age is None else age


def _by_name(status: Status) -> tuple[Any, ...]:
    return (status.name,)


def _by_age(status: Status) -> tuple[Any, ...]:
    return -_age_of(status), status.name


def _by_session(status: Status) -> tuple[Any, ...]:
    return status.lease.session if status.lease else "", status.name


_ORDERS = {"name": _by_name, "age": _by_age, "session": _by_session}


def selecting(verb: Callable[..., int]) -> Callable[..., int]:
    """The argument and the options of which a `Selection` is made."""
    for option in reversed(_OPTIONS):
        verb = option(verb)
    return verb


_OPTIONS = (
    click.argument("pattern", required=False, shell_complete=claim_names),
    click.option("--session", metavar="PATTERN", shell_complete=session_ids, help="Only what such sessions hold."),
    click.option("--host", metavar="PATTERN", help="Only what was claimed on such hosts."),
    click.option("--dead", is_flag=True, help="Only those whose holder is dead: whoever claims one takes it over."),
    click.option("--held", is_flag=True, help="Only those whose holder is alive, or may be."),
    click.option("--older-than", type=Duration(), metavar="DURATION", help=f"Only those held for so long ({HOW})."),
    click.option("--sort", type=click.Choice(list(_ORDERS)), default="name", help="By age: the oldest first.  [name]"),
)
