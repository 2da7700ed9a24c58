"""How a refusal is told: who holds the claim and since when, on what evidence, who waits for it, and the way out.

Guarantees: nothing that is asked here for people alone changes an answer: what cannot be read is left out.
Does not guarantee: that it is still so when it is read. Of a command the name of the program is told, never an argument:
there may be passwords among them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from looop_portable.claims.gate import Claims
from looop_portable.cli.output import Fields, Output, lease_fields, verdict_fields
from looop_portable.errors import LooopError
from looop_portable.protocol.codec import is_word
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.protocol.slots import line_for

_MOST, _MOST_FAR = 100, 8
"""Of so many tickets it is looked whether who has them still waits; over a network each look takes its time.

Those behind them count as waiting.
"""


class Line(NamedTuple):
    """How many wait, and who is next; None: nobody is known to be."""

    number: int
    next: Registration | None = None


def refuse(
    out: Output,
    verb: str,
    because: str,
    lease: Lease,
    verdict: Verdict,
    more: Fields,
    *,
    claims: Claims,
    late: bool = False,
    slots: int = 0,
) -> None:
    """`late`: it was still so when the time for waiting was over. `slots`: of the name of which `lease` is a slot.

    `claims`: where it is asked who that is, and who waits.
    """
    if out.quiet:
        return
    holder, line = _registered(claims, lease), _waiting(claims, lease, slots)
    outcome = "timeout" if late else "refused" if verb in ("unclaim", "transfer") else "held"
    fields = {"name": lease.name, "generation": lease.generation, **lease_fields(lease), **more, **verdict_fields(verdict)}
    fields |= {
        "user": (holder and holder.user) or None,
        "command": (holder and holder.command) or None,
        "waiting": line.number if line else None,
        "next": _who(line.next) if line and line.next else None,
        "end": _end(lease),
    }
    out.refusal(verb, outcome, f"{verb} {lease.name}: {because} '{lease.session}'", fields)
    for key, value in _facts(lease, verdict, holder, line, late=late):
        if value:
            out.hint(f"  {key:<10}{value}")


def _facts(
    lease: Lease, verdict: Verdict, holder: Registration | None, line: Line | None, *, late: bool
) -> Iterator[tuple[str, str]]:
    from looop_portable.cli.output.ages import age  # Who is not refused needs no calendar.

    yield "host", lease.host
    yield "user", holder.user if holder else ""
    yield "command", holder.command if holder else ""
    if lease.claimed_at:
        yield (
            "since",
            f"{lease.claimed_at} ({age(lease.claimed_at)} ago by this host's clock), generation {lease.generation}",
        )
    yield "note", lease.note
    over = f", until {verdict.until} unless it is renewed" if verdict.left is not None else ""
    yield "evidence", f"{verdict.description}{over}"
    if line:
        yield "waiting", f"{line.number}, next: {_who(line.next)}" if line.next else str(line.number or "nobody")
    when = "if it is gone for good" if verdict.liveness is Liveness.UNKNOWN else "if it is stuck, and does nothing more"
    yield "end", f"{when}: {_end(lease)}"
    yield "outcome", "waited in vain" if late else ""


def _end(lease: Lease) -> str:
    name = lease.name
    if not is_word(name):
        import shlex

        name = shlex.quote(name)
    return f"looop break {name} --generation {lease.generation} --reason TEXT"


def _registered(claims: Claims, lease: Lease) -> Registration | None:
    """What the holder has registered: mostly what has just been read to judge it."""
    examined, holder = claims.sessions.evidence.examined, Holder(lease.session, lease.incarnation)
    if examined and examined.holder == holder:
        return examined
    with contextlib.suppress(LooopError):
        return claims.sessions.registration(holder)
    return None


def _waiting(claims: Claims, lease: Lease, slots: int) -> Line | None:
    """None: it cannot be told, or nobody lines up on this backend."""
    tickets, evidence = claims.backend.tickets, claims.sessions.evidence
    if tickets is None:
        return None
    try:
        line = line_for(lease.name.rpartition("#")[0], slots) if slots else lease.name
        found = tickets.line(line)
        most = _MOST_FAR if found and tickets.far() else _MOST
        known = [tickets.waiter(line, ticket) for ticket in found[:most]]
        waiters = [waiter for waiter in known if waiter and not evidence.has_left(waiter)]
    except LooopError:
        return None
    return Line(len(waiters) + len(found[most:]), waiters[0] if waiters else None)


def _who(waiter: Registration) -> str:
    whose = f" of {waiter.user}" if waiter.user else ""
    where = f" on {waiter.host}" if waiter.host else ""
    return f"pid {waiter.pid}{whose}{where}"
