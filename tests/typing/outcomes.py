"""A user's program with `Claims`: each answer of a verb, told apart by `match` or `isinstance`, and none forgotten."""

from typing import assert_never, assert_type

from looop_portable import (
    Basis,
    Broken,
    Checked,
    Claims,
    Held,
    Holder,
    Lease,
    Liveness,
    Reaped,
    Refused,
    Registration,
    Released,
    Renewed,
    Retired,
    Sessions,
    SessionStatus,
    Standing,
    Status,
    Superseded,
    Sweep,
    Verdict,
    Won,
    claim_all,
    wait_for,
)

claims = Claims.open("/srv/claims", backend="posix")
assert_type(claims, Claims)
assert_type(Claims.open(), Claims)
assert_type(claims.sessions, Sessions)
registration = claims.sessions.register("w1", lease_seconds=30)
assert_type(registration, Registration)
me = registration.holder
assert_type(me, Holder)
assert_type(claims.acting("w1"), Holder)


def claimed() -> int:
    outcome = claims.claim("repo-x", me)
    assert_type(outcome, Won | Renewed | Held)
    match outcome:
        case Won(lease, previous, verdict):
            assert_type(lease, Lease)
            assert_type(previous, Lease | None)
            assert_type(verdict, Verdict | None)
            return lease.generation
        case Renewed(lease=lease):
            return assert_type(lease, Lease).generation
        case Held(lease, verdict):
            print(lease.session, assert_type(verdict.evidence, str), assert_type(verdict.liveness, Liveness))
            return -1
    assert_never(outcome)


def released(session: str) -> bool:
    outcome = claims.release("repo-x", session)
    if isinstance(outcome, Released):
        assert_type(outcome.previous, Lease | None)
        return True
    assert_type(outcome, Refused)
    return outcome.verdict.dead


def broken() -> str:
    outcome = claims.break_claim("repo-x", 7, "its host is gone")
    match outcome:
        case Broken(previous, generation):
            return f"{assert_type(previous, Lease).session} {assert_type(generation, int)}"
        case Superseded(head=head):
            return str(assert_type(head, int))
    assert_never(outcome)


def waited() -> None:
    def say(held: Held, seconds: float) -> None:
        print(held.lease.session, seconds)

    assert_type(wait_for(claims, "repo-x", me, timeout=3, slots=2, on_waiting=say), Won | Renewed | Held)
    outcome = claim_all(claims, ["repo-x", "repo-y"], me, timeout=None)
    if isinstance(outcome, Held):
        print(outcome.lease.session)
    else:
        assert_type(outcome, list[Won | Renewed])
        print([each.generation for each in outcome])


def looked_at() -> None:
    for status in assert_type(claims.list(), list[Status]):
        assert_type(status.standing, Standing)
        assert_type(status.lease, Lease | None)
        if status.verdict:
            assert_type(status.verdict.basis, Basis)
    sweep = claims.reap(dry_run=True)
    assert_type(sweep, Sweep)
    assert_type(sweep.reaped, tuple[Reaped, ...])
    assert_type(claims.check("repo-x", 7), Checked)
    assert_type(claims.check("repo-x", 7).current, bool)
    assert_type(claims.sessions.statuses(), list[SessionStatus])
    assert_type(claims.retire(me), Retired)


def given_away() -> dict[str, object]:
    status, outcome = claims.show("repo-x"), claims.claim("repo-x", me)
    assert_type(status.as_dict(), dict[str, object])
    assert_type([each.as_dict() for each in claims.sessions.statuses()], list[dict[str, object]])
    assert_type(claims.reap(dry_run=True).as_dict(), dict[str, object])
    return assert_type(outcome.as_dict(), dict[str, object])
