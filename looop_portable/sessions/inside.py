"""Which sessions this process runs inside of: that of $LOOOP_SESSION_ID, and those around it ($LOOOP_OUTER_SESSIONS).

A session that lives by its renewals has one of whoever is inside of it, and finds that its time is nearly over.
Guarantees: a process is inside of no claim whose holder is not alive. Nor of a later one than it was started in, where
`looop run` has told it the generation: what an earlier run of a session of this name has left behind is not inside.
Does not guarantee: that two processes inside of one session exclude each other. They are one holder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from looop_portable.config import OUTER, SESSION_ID
from looop_portable.errors import LooopError
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.names import canonical
from looop_portable.protocol.records import Holder, Lease, Registration, alone, shared_lease
from looop_portable.protocol.standings import holders_of
from looop_portable.sessions.evidence import standing
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.opening.locales import for_children

GENERATION_OF = "LOOOP_GENERATION_"
_BETWEEN = "/"
"""What no id has in it."""


def is_inside(sessions: Sessions, lease: Lease, verdict: Verdict | None = None) -> bool:
    """Whether this process is inside of the session that holds `lease`, which is alive. `verdict`: on that, if known."""
    if lease.readers:
        return within(sessions, lease, shared=True) is not None
    if not lease.session or lease.session not in surrounding():
        return False
    told = os.environ.get(variable(lease.name), "")
    if told and told != str(lease.generation):
        return False
    found = verdict or sessions.verdict(lease.session, lease.incarnation)
    if found.liveness is Liveness.UNKNOWN and found.left is not None:  # It lives by time, which this one gives it.
        with contextlib.suppress(LooopError):
            own = renewed(sessions, lease.session)
            return own is not None and own.incarnation == lease.incarnation
    return found.liveness is Liveness.ALIVE


def within(sessions: Sessions, lease: Lease, verdict: Verdict | None = None, *, shared: bool = False) -> Lease | None:
    """What a session around this process holds of it, which is alive; None: nothing.

    What several share is as good as one's own only to who wants to share it (`shared`), and not to who wants it alone.
    """
    if not lease.readers:
        return lease if is_inside(sessions, lease, verdict) else None
    mine = (at for at, each in enumerate(lease.readers) if shared and is_inside(sessions, alone(lease.name, each)))
    which = next(mine, None)
    return None if which is None else shared_lease(lease.name, lease.readers, which)


def renewed(sessions: Sessions, session: str) -> Registration | None:
    """Renew `session`, if it lives by its renewals. None: it does not, or it is over. Raises `LooopError`."""
    me, head = sessions.look(session)
    found = standing(head, me)
    return found if found and found.timed and sessions.resume(me) else None


def joins(
    sessions: Sessions, me: Holder, lease: Lease, verdict: Verdict | None = None, *, shared: bool = False
) -> Lease | None:
    """What `me` is inside of already, as a session around it holds it, and is alive; None: nothing. `shared`: see `within`.

    `me` is the session that this process acts for ($LOOOP_SESSION_ID). One that somebody has named instead is in none.
    """
    if any(each.session == me.session for each in holders_of(lease)):
        return None
    if me.session != _stored(os.environ.get(SESSION_ID, "")):
        return None
    return within(sessions, lease, verdict, shared=shared)


def surrounding() -> list[str]:
    """The ids of the sessions that this process may be inside of, from the innermost on."""
    given = [os.environ.get(SESSION_ID, ""), *os.environ.get(OUTER, "").split(_BETWEEN)]
    return list(dict.fromkeys(name for each in given if each and (name := _stored(each))))


def around(sessions: Sessions) -> list[str]:
    """Those of them that are alive. Raises `Unavailable`."""
    found = ((name, sessions.status(name)) for name in surrounding())
    return [name for name, status in found if status and status.verdict.liveness is Liveness.ALIVE]


def environment_inside(session: str, joined: str, outer: Iterable[str]) -> dict[str, str]:
    """What a command has to know of the sessions around it. `session`: its own; `joined`: the one it is to act for, if any.

    `outer`: those that whoever starts it is inside of.
    """
    inner = joined or session
    others = [for_children(each) for each in dict.fromkeys((session, *outer)) if each != inner]
    return {SESSION_ID: for_children(inner), **({OUTER: _BETWEEN.join(others)} if others else {})}


def variable(name: str) -> str:
    """Of a claim's generation in the environment of a command that runs while it is held."""
    return GENERATION_OF + "".join(c.upper() if c.isascii() and c.isalnum() else "_" for c in name)


def _stored(session: str) -> str:
    """The id as it is stored; empty: it cannot be one."""
    try:
        return canonical(session, "session id")
    except LooopError:
        return ""
