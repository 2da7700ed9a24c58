"""For whom a verb acts: a session that is alive, or one that nobody has registered; what has ended is refused.

A session that lives by its renewals (`session start --ttl`) is renewed by each verb that acts for it, and goes on being
renewed while the verb waits.
Does not guarantee: that a session is alive when the verb is done. One that is not registered has nothing that protects its
claims: whoever asks next takes them over. That is how looop has it, and is said (`--strict` refuses it).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from looop_portable.backends.base import SessionHead
from looop_portable.claims.gate import Claims
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.words.table import STRICT
from looop_portable.errors import SessionEnded, UsageError
from looop_portable.protocol.liveness import Verdict, lease_of, time_to_live
from looop_portable.protocol.records import Holder, Registration
from looop_portable.sessions.evidence import standing
from looop_portable.sessions.ids import named
from looop_portable.typed import NamedTuple


class Acting(NamedTuple):
    """`known`: what was read of the session; None: it has changed since. `verdict`: whether it was alive then."""

    me: Holder
    known: SessionHead | None
    registration: Registration | None
    verdict: Verdict


def acting(out: Setting, claims: Claims, session: str | None, *, ttl: float | None = None, strict: bool = False) -> Acting:
    """Who claims: `session`, else $LOOOP_SESSION_ID. With `ttl` one that nobody has registered, or that has ended, begins.

    Raises `SessionEnded`, `NoSession`, `UsageError`, or `Unavailable`.
    """
    name = named(session)
    me, head = claims.sessions.look(name)
    found = standing(head, me)
    if ttl is not None:
        return _by_time(out, claims, me, found, int(ttl))
    if not me.incarnation:
        if strict or _is_set(STRICT):
            how = f"`looop session start {name}` registers it, or `--ttl 30m` for one without a process"
            raise UsageError(f"session '{name}' is not registered, so nothing would protect what it holds: {how}")
        return Acting(me, head, None, claims.sessions.verdict(*me, head))
    if found and found.timed:
        return _renewed(claims, found, found.lease_seconds)
    verdict = claims.sessions.verdict(*me, head)
    if verdict.dead:
        raise ended(me, verdict.evidence, head.own)
    return Acting(me, head, found, verdict)


def holder(claims: Claims, session: str | None) -> Holder:
    """Who acts, and claims nothing: `session`, else $LOOOP_SESSION_ID. If it lives by its renewals, this is one.

    Raises `NoSession`.
    """
    me, head = claims.sessions.look(named(session))
    found = standing(head, me)
    if found and found.timed:
        claims.sessions.resume(me)
    return me


def ended(me: Holder, why: str, own: Registration | None = None) -> SessionEnded:
    """`own`: what it had registered, if that is known."""
    if own and own.timed:
        from looop_portable.cli.words.durations import written  # Who is not refused needs no patterns.

        how = f"claim with `--ttl {written(time_to_live(own.lease_seconds))}`, and it begins again"
    else:
        how = f"start it again: `looop session start {me.session}` (with --ttl DURATION if it has no process)"
    over = "has ended" if why == "the session has ended" else f"is over ({why})"
    return SessionEnded(f"session '{me.session}' {over}: nothing would protect what it holds; {how}")


def _by_time(out: Setting, claims: Claims, me: Holder, found: Registration | None, ttl: int) -> Acting:
    if found and found.timed:
        with contextlib.suppress(SessionEnded):
            return _renewed(claims, found, lease_of(ttl))
    elif found and not claims.sessions.verdict(*me).dead:
        raise UsageError(f"session '{me.session}' lives by its process ({found.pid}): --ttl is for one that has none")
    found = claims.sessions.register(me.session, lease_seconds=lease_of(ttl), timed=True)
    out.detail(f"session '{me.session}' begins: it lives for {ttl} s after each renewal")
    return Acting(found.holder, None, found, claims.sessions.verdict(*found.holder))


def _renewed(claims: Claims, found: Registration, lease: int) -> Acting:
    if not claims.sessions.resume(found.holder, lease):
        raise ended(found.holder, "it was not renewed in time, and somebody has ended it", found)
    return Acting(found.holder, None, found._replace(lease_seconds=lease), claims.sessions.verdict(*found.holder))


@contextlib.contextmanager
def renewing(out: Setting, found: Registration | None) -> Iterator[None]:
    """While a verb waits, a session that lives by its renewals has them. What cannot be renewed is tried again."""
    if not (found and found.timed):
        yield
        return
    from looop_portable.sessions.renewals import Renewals  # Who does not wait needs no thread.

    renewals = Renewals(lambda: out.claims(renews=False).sessions, [found], out.detail)
    try:
        yield
    finally:
        renewals.end()


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def limit_of(*limits: float | None) -> float | None:
    """For how many seconds to wait; None: without end. The shortest of `limits` counts."""
    given = [each for each in limits if each is not None]
    return (min(given) if min(given) < float("inf") else None) if given else 0
