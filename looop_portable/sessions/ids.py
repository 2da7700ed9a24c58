"""What somebody may ask for who registers a session: its id, which may be made up, and its lease."""

from __future__ import annotations

import os

from looop_portable.config import session_id
from looop_portable.errors import InvalidName, NoSession, UsageError
from looop_portable.protocol.names import canonical, excerpt
from looop_portable.protocol.records import LONGEST_LEASE, Registration
from looop_portable.system.opening.nonces import nonce
from looop_portable.system.processes import Processes, host, start_of

_MADE_UP = "auto-"
NOBODYS = Registration("", "", 0)
"""What is known of the process of a session that has none."""


def its_process(processes: Processes, pid: int) -> Registration:
    """What tells the process `pid` from others. Raises `NoSuchProcess`."""
    start, here = start_of(processes, pid), processes.here()
    return Registration("", "", pid, start, here.boot, here.namespace, own=pid == os.getpid())


def made_up(pid: int) -> str:
    """An id that nobody else has, nor had: it says on which host, and for which process, it was made."""
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in host())[:30].strip("-") or "host"
    return f"{_MADE_UP}{name}-{pid}-{nonce()[-8:]}"


def is_made_up(session: str) -> bool:
    """Whether nobody registers this id a second time, so that it can be forgotten."""
    return session.startswith(_MADE_UP)


def chosen(session: str) -> str:
    """The id that somebody has chosen, as it is stored. Raises `InvalidName`."""
    session = canonical(session, "session id")
    if not session.isprintable():
        raise InvalidName(f"invalid session id {excerpt(session)}: it has characters that cannot be printed")
    if is_made_up(session):
        raise InvalidName(
            f"invalid session id {excerpt(session)}: ids that begin with {_MADE_UP} are made up, and used once"
        )
    return session


def refuse_lease(lease_seconds: int) -> None:
    """Raises `UsageError` for a lease that no record can say."""
    if type(lease_seconds) is not int or not 0 <= lease_seconds <= LONGEST_LEASE:
        raise UsageError(f"a lease is a whole number of seconds, up to {LONGEST_LEASE}, not {excerpt(lease_seconds)}")


def named(session: str | None) -> str:
    """The id that somebody acts for: `session`, else $LOOOP_SESSION_ID. Raises `NoSession`."""
    found = session_id(session)
    if not found:
        raise NoSession("no session: pass --session ID, or set LOOOP_SESSION_ID (see `looop session start --help`)")
    return found
