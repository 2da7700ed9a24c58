"""`wait` and `queue`: until a claim can be had, and who waits to have it."""

from __future__ import annotations

import contextlib

import click

from looop_portable.cli.acting import limit_of, renewing
from looop_portable.cli.ending import endings
from looop_portable.cli.output.ages import age
from looop_portable.cli.output.progress import waiting_for
from looop_portable.cli.output.refusals import refuse, say_inside
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.output.tables import FORM, show_table
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.options import NAME, SESSION, SLOTS
from looop_portable.cli.words import HOW
from looop_portable.cli.words.clicks import Duration
from looop_portable.config import session_id
from looop_portable.errors import InvalidName
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Held
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.shares import line_for
from looop_portable.protocol.standings import Standing, is_ours
from looop_portable.waiting.attempts import joins
from looop_portable.waiting.looking import wait_until_free


@click.command(
    cls=Verb,
    short_help="Wait until a claim can be had, and do not take it.",
    examples={
        "looop wait repo-x": "Until it can be had.",
        "looop wait repo-y --timeout 1s": "For no longer than a second: exit 124, it was still held.",
    },
)
@NAME
@click.option("--timeout", type=Duration(), metavar="DURATION", help=f"No longer than DURATION ({HOW}), then exit 124.")
@SESSION
@SLOTS
@click.pass_obj
def wait(out: Setting, name: str, timeout: float | None, session: str | None, slots: int | None) -> int:
    """Wait until NAME can be had: it is free, or whoever holds it is dead. Nothing is claimed, and no place in line taken.

    Exit 0: it can be had, for whoever claims it first; 124: it was still held when --timeout was over. With --slots N,
    until one of NAME#1 to NAME#N can be had. What our session holds, or one around it, is not waited for: exit 0. A session
    that lives by time is renewed meanwhile.
    """
    claims = out.claims(session)
    limit = None if timeout is None else limit_of(timeout)
    me: Holder | None = None
    if session_id(session):
        with contextlib.suppress(InvalidName):  # Of what our environment names. It cannot hold anything.
            me = claims.sessions.holder(session_id(session))

    def ours(lease: Lease, verdict: Verdict) -> bool:
        return me is not None and (is_ours(lease, me) or joins(claims, me, lease, verdict) is not None)

    with endings(), waiting_for(out) as told, renewing(out, out.renewed):
        found = wait_until_free(claims, name, limit, slots or 0, told, ours)
    if isinstance(found, Held):
        refuse(out, "wait", "held by live session", *found, {}, late=True, claims=claims, slots=slots or 0)
        return 124
    if found.standing is Standing.HELD and found.lease and found.verdict:
        whose = "renewed" if me and is_ours(found.lease, me) else "joined"
        say_inside(out, "wait", found.lease, found.verdict, whose)
        return 0
    out.answer("wait", "free", f"free {found.name}", {"name": found.name, "generation": found.generation})
    return 0


@click.command(
    cls=Verb,
    short_help="List who waits for a claim: which place, since when.",
    examples={
        "looop queue repo-x": "Who is next?",
        "looop queue repo-x -o name": "Only the ids of the sessions, for a script.",
    },
)
@NAME
@SESSION
@SLOTS
@FORM
@click.pass_obj
def queue(out: Setting, name: str, session: str | None, slots: int | None, form: str | None) -> int:
    """List who waits for NAME, the next first: session, process, host, and since when by its own clock.

    Those who wait for any of its slots are in one line: --slots N. -o name prints the sessions. Who waits without a place
    in line (`looop wait`, looop itself) is not listed, nor is one that has ended.
    """
    claims = out.claims(session)
    tickets, line = claims.backend.tickets, line_for(name, slots or 0)
    rows: list[tuple[str, ...]] = []
    for ticket in tickets.line(line) if tickets else ():
        assert tickets
        waiter = tickets.waiter(line, ticket)
        if waiter is None or claims.sessions.evidence.has_left(waiter):
            continue
        place, since = len(rows) + 1, waiter.started_at
        fields = {"name": canonical(name), "place": place, "session": waiter.session or None, "pid": waiter.pid or None}
        more = {"host": waiter.host or None, "since": since or None, "shared": waiter.shared}
        out.answer("queue", "waits", "", {**fields, **more})
        pid = str(waiter.pid or "-")
        rows.append((waiter.session or "-", str(place), pid, age(since), since or "-", waiter.host or "-"))
    if rows:
        show_table(out, ("SESSION", "PLACE", "PID", "WAITS", "SINCE", "HOST"), rows, form, giving=0)
    else:
        ordered = "" if tickets else f": the backend '{claims.backend.name}' keeps no line"
        out.hint(f"nobody waits for {canonical(name)}{ordered}")
    return 0
