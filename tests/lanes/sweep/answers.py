"""Whether an answer is true: each kind of them, beside the ledger as a clean process reads it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from looop_portable import Claims
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import (
    Broken,
    Checked,
    Held,
    Refused,
    Released,
    Renewed,
    Retired,
    SessionStatus,
    Status,
    Superseded,
    Sweep,
    Won,
)
from looop_portable.protocol.records import Lease, Registration

from .commands import TOLD_KEPT, ran
from .oracle import Seen, lives, not_held, not_left
from .points import Failed
from .stores import Store
from .verbs import Entered, Left, Ran, Said, Verb

_SURE = (Liveness.ALIVE, Liveness.DEAD)
_MAY_SAY_NO = ("conclude", "forget")
"""No: nobody can tell that it is dead; or it is not gone yet."""


class Case(NamedTuple):
    """What an answer is judged by. `clean` is the answer without a fault; `again`: it was the second."""

    verb: Verb
    store: Store
    claims: Claims
    clean: object
    rival: Lease | None
    again: bool = False
    fails_on: bool = False
    """The disk fails from some call on: nothing can be taken back then."""


def kind(answer: object) -> str:
    return answer.kind if isinstance(answer, Failed) else type(answer).__name__


def held_by(answer: object) -> list[Lease]:
    """The leases that whoever got this answer believes in."""
    if isinstance(answer, Won | Renewed):
        return [answer.lease]
    if isinstance(answer, Entered):
        return list(answer.leases)
    return [lease for each in answer for lease in held_by(each)] if isinstance(answer, list) else []


def untrue(answer: object, after: Seen, case: Case) -> Iterator[str]:
    """What of it is not true."""
    if isinstance(answer, Failed):
        yield from _failed(answer, after, case)
        return
    yield from not_held(iter(held_by(answer)), after, case.rival)
    if case.rival is None:
        yield from _unexpected(answer, case)
        yield from _alone(answer, after, case)
    if isinstance(answer, Left):
        yield from not_left(iter(answer.leases), after)
    if isinstance(answer, Released):
        head = after.heads[answer.name]
        if head.lease and head.lease[1:3] == tuple(case.store.me):
            yield f"untrue: released, and {answer.name} is ours"


def _unexpected(answer: object, case: Case) -> Iterator[str]:
    """A kind of answer that there is no reason for. Not able to tell means alive: so that one is always allowed."""
    right = {kind(case.clean), *case.verb.right}
    if not case.again:
        right = {kind(case.clean)} | ({"Won", "Renewed"} if kind(case.clean) in ("Won", "Renewed") else set())
    unknown = isinstance(answer, Held) and answer.verdict.liveness is Liveness.UNKNOWN and not case.again
    unknown |= kind(answer) == "Waits"
    unknown |= isinstance(answer, Refused) and answer.verdict.liveness is Liveness.UNKNOWN and not case.again
    if kind(answer) not in right and not (unknown and case.store.me.session != answer.lease.session):  # type: ignore[attr-defined]
        yield f"untrue: {kind(answer)}, where {kind(case.clean)} is right: {answer}"


@functools.singledispatch
def _alone(answer: object, after: Seen, case: Case) -> Iterator[str]:
    """What is true as long as nobody else comes. Nothing can be said of most answers."""
    return iter(())


@_alone.register(Held)
@_alone.register(Refused)
def _(answer: Held | Refused, after: Seen, case: Case) -> Iterator[str]:
    lease = after.heads[answer.lease.name].lease
    if lease is None or lease.session != answer.lease.session:
        yield f"untrue: {kind(answer)} by {answer.lease.session!r}; the ledger says {lease}"


@_alone.register
def _(answer: Broken, after: Seen, case: Case) -> Iterator[str]:
    yield from not_left(iter([answer.previous]), after)


@_alone.register
def _(answer: Superseded, after: Seen, case: Case) -> Iterator[str]:
    head = after.heads[answer.name]
    if (answer.head, answer.lease) != head[:2]:
        yield f"untrue: {answer}; the ledger says {head}"


@_alone.register
def _(answer: Checked, after: Seen, case: Case) -> Iterator[str]:
    if answer != case.claims.check(answer.name, answer.generation):
        yield f"untrue: {answer}"


@_alone.register
def _(answer: Status, after: Seen, case: Case) -> Iterator[str]:
    truth = case.claims.show(answer.name)
    unread = answer.verdict is not None and answer.verdict.liveness is Liveness.UNKNOWN
    if not unread and (answer.generation, answer.lease, answer.standing) != (truth.generation, truth.lease, truth.standing):
        yield f"untrue: {answer}, and not {truth}"
    if answer.verdict and truth.lease:
        yield from _verdict(answer.name, answer.verdict, truth.verdict)


@_alone.register
def _(answer: SessionStatus, after: Seen, case: Case) -> Iterator[str]:
    found = case.claims.sessions.status(answer.registration.session)
    yield from _verdict(answer.registration.session, answer.verdict, found.verdict if found else None)


@_alone.register
def _(answer: Said, after: Seen, case: Case) -> Iterator[str]:
    if not answer.yes and case.verb.name not in _MAY_SAY_NO and not (case.again and case.verb.name.startswith("stop")):
        yield "untrue: no, where yes is right"


@_alone.register
def _(answer: Registration, after: Seen, case: Case) -> Iterator[str]:
    if case.claims.sessions.registration(answer.holder) is None:
        yield f"untrue: {answer.session} is not registered"


@_alone.register
def _(answer: Retired, after: Seen, case: Case) -> Iterator[str]:
    failed = {name for name, _ in answer.failed}
    session = case.store.me.session if case.verb.ends else "new"
    for name, head in after.heads.items():
        if head.lease and head.lease.session == session and not failed & {"", name}:
            yield f"untrue: all is released, and {name} is not"
    if lives(case.claims, session):
        yield "untrue: retired, and the session goes on"


@_alone.register
def _(answer: Sweep, after: Seen, case: Case) -> Iterator[str]:
    if answer.dry_run:
        return
    yield from not_left((each.lease for each in answer.reaped), after)
    if case.again and (answer.failed or answer.skipped):
        yield f"wedged: a sweep without faults fails: {answer}"
    for name in case.verb.names if case.again else ():
        lease = after.heads[name].lease
        if lease and lease.session not in case.store.live:
            yield f"wedged: a sweep does not release {name}: {lease}"


@_alone.register
def _(answer: Ran, after: Seen, case: Case) -> Iterator[str]:
    assert isinstance(case.clean, Ran)
    return ran(answer, case.clean, after, case.claims, case.verb, again=case.again, fails_on=case.fails_on)


@_alone.register
def _(answer: list, after: Seen, case: Case) -> Iterator[str]:  # type: ignore[type-arg]
    for each in answer:
        yield from _alone(each, after, case)
    missing = {_name(each) for each in _list(case.clean)} - {_name(each) for each in answer}
    if missing:
        yield f"untrue: nothing was said of {sorted(missing)}"


def _list(answer: object) -> list[Any]:
    return answer if isinstance(answer, list) else []


def _name(each: Any) -> str:
    if isinstance(each, SessionStatus):
        return each.registration.session
    return str(each.name if isinstance(each, Status) else each.lease.name)


def _verdict(about: str, told: Verdict, truth: Verdict | None) -> Iterator[str]:
    if truth and told.liveness in _SURE and truth.liveness in _SURE and told.liveness is not truth.liveness:
        yield f"untrue: {about} is {told}, and not {truth}"


def _failed(answer: Failed, after: Seen, case: Case) -> Iterator[str]:
    if not answer.looops:
        yield f"raw: {answer.kind}: {answer.text}"
    if "\n" in answer.text:
        yield f"more than one line: {answer.text}"
    if case.rival is not None:
        return
    if answer.kind == "ClaimLost":
        yield f"untrue: nobody has taken it: {answer.text}"
    heads = [after.heads[name].lease for name in case.verb.names]
    if answer.holder and not any(lease and lease.session == answer.holder for lease in heads):
        yield f"untrue: {answer.text}; the ledger says {heads}"
    if case.again and answer.kind not in {kind(case.clean), *case.verb.right}:
        yield f"wedged: without a fault: {answer.kind}: {answer.text}"
    if answer.kind == "SessionAlive" and not case.again:
        yield f"untrue: {answer.text}"
    if case.verb.name == "claim all" and not case.again and not case.fails_on:
        yield from _kept(answer, after, case)


def _kept(answer: Failed, after: Seen, case: Case) -> Iterator[str]:
    """What the error does not tell of."""
    if TOLD_KEPT in answer.text:
        return
    kept = [name for name in case.verb.names if (lease := after.heads[name].lease) and lease[1:3] == tuple(case.store.me)]
    if kept:
        yield f"kept: all or none, and {kept} are ours after an error"
