"""How a refusal is told: who holds the claim and since when, on what evidence, who waits for it, and the way out.

What there is to be told of a holder (`Told`) is what `show` and `claims` tell, too.
Guarantees: nothing that is asked here for people alone changes an answer: what cannot be read is left out.
Does not guarantee: that it is still so when it is read. Of a command the name of the program is told, never an argument:
there may be passwords among them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from looop_portable.claims.gate import Claims
from looop_portable.cli.output import Fields, Output, lease_fields, verdict_fields
from looop_portable.errors import LooopError, describe_holder
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.protocol.shares import line_for
from looop_portable.typed import NamedTuple

_MOST, _MOST_FAR = 100, 8
"""Of so many tickets it is looked whether who has them still waits; over a network each look takes its time.

Those behind them count as waiting.
"""


class Line(NamedTuple):
    """How many wait, and who is next; None: nobody is known to be."""

    number: int
    next: Registration | None = None


class Told(NamedTuple):
    """`holder`: what it has registered; `line`: who waits. None: it is not known."""

    lease: Lease
    verdict: Verdict
    holder: Registration | None
    line: Line | None

    @property
    def user(self) -> str:
        return self.holder.user if self.holder else ""

    @property
    def command(self) -> str:
        return self.holder.command if self.holder else ""

    @property
    def since(self) -> str:
        from looop_portable.cli.output.ages import age  # Who is not refused needs no calendar.

        at = self.lease.claimed_at
        return f"{at} ({age(at)} ago by this host's clock)" if at else ""

    @property
    def waiting(self) -> str:
        if self.line is None:
            return ""
        number, first = self.line
        return f"{number}, next: {_who(first)}" if first else str(number or "nobody")

    @property
    def end(self) -> str:
        when = (
            "if it is gone for good"
            if self.verdict.liveness is Liveness.UNKNOWN
            else "if it is stuck, and does nothing more"
        )
        return f"{when}: {_end(self.lease)}"

    def fields(self) -> dict[str, object]:
        """What --json says of it, besides what it says of every lease and verdict."""
        return {
            "user": self.user or None,
            "command": self.command or None,
            "waiting": self.line.number if self.line else None,
            "next": _who(self.line.next) if self.line and self.line.next else None,
            "end": _end(self.lease),
        }


def of_nobody() -> dict[str, object]:
    """What `Told.fields` would say of a claim that is free."""
    return dict.fromkeys(("user", "command", "waiting", "next", "end"))


def told_of(claims: Claims, lease: Lease, verdict: Verdict, slots: int = 0) -> Told:
    """`slots`: of the name of which `lease` is a slot; 0: that is not known."""
    return Told(lease, verdict, _registered(claims, lease), _waiting(claims, lease, slots))


def describe_readers(lease: Lease) -> str:
    """Who share it, each with his generation; empty: it is not shared."""
    listed = [f"{each.session} (generation {each.generation})" for each in lease.readers]
    more = f", and {len(listed) - _MOST_FAR} more" if len(listed) > _MOST_FAR else ""
    return ", ".join(listed[:_MOST_FAR]) + more


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
    told = told_of(claims, lease, verdict, slots)
    outcome = "timeout" if late else "refused" if verb in ("unclaim", "transfer") else "held"
    fields = {"name": lease.name, "generation": lease.generation, **lease_fields(lease), **more, **verdict_fields(verdict)}
    whom = f"{because} '{lease.session}'" if lease.session else f"held by {describe_holder('')}"
    out.refusal(verb, outcome, f"{verb} {lease.name}: {whom}", fields | told.fields())
    for key, value in _facts(told, late=late):
        if value:
            out.hint(f"  {key:<10}{value}")


def say_inside(out: Output, verb: str, lease: Lease, verdict: Verdict, outcome: str = "joined") -> None:
    """Of a claim that a session around ours holds (`inside.joins`): that is no refusal, and it is not released here."""
    fields = {"name": lease.name, "generation": lease.generation, **lease_fields(lease), **verdict_fields(verdict)}
    if verb == "claim":
        fields |= {"previous": None, "protected": not verdict.dead}
    out.answer(verb, outcome, "", fields)
    whose = f"session '{lease.session}'{' around this one' if outcome == 'joined' else ''} holds it"
    goes = "" if verb == "wait" else ", and goes on holding it"
    out.hint(f"looop: {verb} {lease.name}: inside already: {whose}{goes} (generation {lease.generation})")


def _facts(told: Told, *, late: bool) -> Iterator[tuple[str, str]]:
    lease, verdict = told.lease, told.verdict
    yield "host", lease.host
    yield "user", told.user
    yield "command", told.command
    yield "since", told.since and f"{told.since}, generation {lease.generation}"
    yield "note", lease.note
    yield "shared by", describe_readers(lease)
    over = f", until {verdict.until} unless it is renewed" if verdict.left is not None else ""
    yield "evidence", f"{verdict.description}{over}"
    yield "waiting", told.waiting
    yield "end", told.end
    yield "outcome", "waited in vain" if late else ""


def _end(lease: Lease) -> str:
    from looop_portable.claims.unreadable import breaking  # Who is not refused needs none of it.

    return breaking(lease)


def _registered(claims: Claims, lease: Lease) -> Registration | None:
    """What the holder has registered: mostly what has just been read to judge it."""
    if not lease.session:
        return None
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
    waiters: list[Registration] = []
    more = 0
    try:
        for line in _lines(lease.name, slots):
            found = tickets.line(line)
            most = _MOST_FAR if found and tickets.far() else _MOST
            known = [tickets.waiter(line, ticket) for ticket in found[:most]]
            waiters += [waiter for waiter in known if waiter and not evidence.has_left(waiter)]
            more += len(found[most:])
    except LooopError:
        return None
    return Line(len(waiters) + more, waiters[0] if waiters else None)


def _lines(name: str, slots: int) -> Iterator[str]:
    """Where those wait who may want it. What may be a slot of some name, or one claim, has two."""
    base, between, number = name.rpartition("#")
    if not slots:
        yield name
    if base and between and number.isdecimal():
        yield line_for(base, slots or 1)


def _who(waiter: Registration) -> str:
    whose = f" of {waiter.user}" if waiter.user else ""
    where = f" on {waiter.host}" if waiter.host else ""
    return f"pid {waiter.pid}{whose}{where}"
