"""The reaper: releases the claims of sessions that are gone, so that nobody ever cleans up after a crash by hand.

Guarantees: only a claim whose session is proven dead is released, and only the generation that was judged. Sessions that
cannot be enumerated stop the sweep: an unreadable fleet is not a dead one. Nothing is removed from a directory in which
nothing says that it is a store: neither a stamp nor a session.
Does not guarantee: that it runs. Nothing depends on it: whoever claims a dead session's claim takes it over anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from looop_portable.backends.base import Backend, Tickets
from looop_portable.errors import LooopError
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.outcomes import Reaped, SessionStatus, Sweep
from looop_portable.protocol.records import Head, Holder
from looop_portable.sessions.registrar import Sessions

ReapClaim = Callable[[str, dict[Holder, Verdict], bool, Head | None], tuple[Reaped, ...]]


def sweep(
    backend: Backend,
    sessions: Sessions,
    reap_claim: ReapClaim,
    dry_run: bool = False,
    say: Callable[[str], object] | None = None,
) -> Sweep:
    """One sweep. Each session is judged once; `dry_run` changes nothing. Never raises: what fails is in the result.

    The sessions are judged first. A session may register during the sweep, so one that is missing there is not proven dead:
    `reap_claim` asks for it again after it has read the lease.
    """
    say = say or _silently
    try:
        say("looking at the sessions")
        if backend.directory and (strange := backend.directory.strange()):
            return Sweep(skipped=strange, dry_run=dry_run)
        statuses = sessions.statuses()
        say("listing the claims")
        claims = list(backend.scan())
    except LooopError as error:
        return Sweep(skipped=str(error), dry_run=dry_run)
    verdicts = {s.registration.holder: s.verdict for s in statuses}
    reaped: list[Reaped] = []
    kept = 0
    failed: list[tuple[str, str]] = []
    for number, (name, head) in enumerate(claims, 1):
        say(f"looking at claim {number} of {len(claims)}: {name}")
        try:
            found = reap_claim(name, verdicts, dry_run, head)
        except LooopError as error:
            failed.append((name, str(error)))
            continue
        reaped += found
        kept += not found
    if not dry_run:
        say("removing what crashes have left behind")
        known = {name for name, _ in failed}
        failed += [found for found in _tidy(backend, sessions, statuses) if found[0] not in known]
    return Sweep(tuple(reaped), kept, tuple(failed), dry_run=dry_run)


def users(backend: Backend, sessions: Sessions) -> Iterator[str]:
    """Who uses the store, as far as can be seen: sessions that may live, claims that are held, by the dead too, waiters."""
    for status in sessions.statuses():
        if not status.verdict.dead:
            yield f"session {status.registration.session}: {status.verdict.description}"
    for name, head in backend.scan():
        session = head.lease.session if head and head.lease else ""
        yield f"claim {name}: held by session '{session}'" if session else f"claim {name}: its holder cannot be read"
    for name in backend.tickets.claims() if backend.tickets else ():
        if backend.tickets and backend.tickets.line(name):
            yield f"claim {name}: somebody waits for it"


def _silently(_: str) -> None:
    return


def _tidy(backend: Backend, sessions: Sessions, statuses: list[SessionStatus]) -> list[tuple[str, str]]:
    """Remove what crashes left. A step that fails does not prevent the others."""
    for status in statuses:
        sessions.forget(status)
    failed: list[tuple[str, str]] = []
    tickets = backend.tickets
    _try("", sessions.tidy, failed)
    if tickets:
        _try("", lambda: _clear_the_lines(tickets, sessions, failed), failed)
        _try("", tickets.tidy, failed)
    _try("", lambda: failed.extend(backend.tidy()), failed)
    return failed


def _try(about: str, step: Callable[[], object], failed: list[tuple[str, str]]) -> None:
    try:
        step()
    except LooopError as error:
        failed.append((about, str(error)))


def _clear_the_lines(tickets: Tickets, sessions: Sessions, failed: list[tuple[str, str]]) -> None:
    """Remove the tickets of waiters that have ended. The waiters behind would, but perhaps nobody waits there."""
    for claim in tickets.claims():
        _try(claim, lambda claim=claim: _clear_the_line(claim, tickets, sessions), failed)  # type: ignore[misc]


def _clear_the_line(claim: str, tickets: Tickets, sessions: Sessions) -> None:
    for ticket in tickets.line(claim):
        waiter = tickets.waiter(claim, ticket)
        if waiter is not None and sessions.evidence.has_left(waiter):
            tickets.give_back(claim, ticket)


def watch(once: Callable[[], Sweep], seconds: float, wait: Callable[[float], object]) -> Iterator[Sweep]:
    """Sweep, `wait(seconds)`, and again, for as long as somebody takes the results."""
    while True:
        yield once()
        wait(seconds)
