"""What a block raises that is not entered: who has the claim, since when, where, and why."""

from __future__ import annotations

from looop_portable.errors import ClaimHeld, WaitedTooLong
from looop_portable.protocol.outcomes import Held


def refused(name: str, held: Held, waited: float = 0) -> ClaimHeld:
    """What `hold` raises for the claim `name`, after so many seconds of waiting."""
    lease, evidence = held.lease, held.verdict.evidence
    known = lease.claimed_at, lease.host, lease.note
    if waited > 0:
        return WaitedTooLong(name, lease.session, evidence, waited, *known)
    return ClaimHeld(name, lease.session, evidence, *known)
