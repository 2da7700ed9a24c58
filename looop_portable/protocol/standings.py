"""The rules: what a claim looks like to one session, and what each verb does about it.

Pure: no clock, no file, no process. `TABLE` is what the verbs go by, and the table in
docs/reference/standings.md; a test compares the two.

Every transition of a claim is one step: be the first to publish generation g+1. A verb reads the head (generation g),
judges it here, and either answers or advances from exactly g. A decision may be out of date. Then another g+1 exists, and
the step fails.
"""

from __future__ import annotations

from enum import Enum

from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.records import Holder, Lease, shared_lease
from looop_portable.typed import NamedTuple

__all__ = ["Standing"]


class Standing(Enum):
    """What a claim looks like to one session."""

    VACANT = "never claimed, or released"
    OURS = "our id and our incarnation"
    HELD = "its holder is alive, or nobody can tell"
    ORPHANED = "its holder is proven dead, an older incarnation of our own id included; or has our id and no incarnation"
    DEBRIS = "it has no readable holder, and nobody lives who may be it"

    __hash__ = object.__hash__
    """Members are compared by identity, and are looked up by it: `Enum` hashes their names, in Python."""


class Verbs(NamedTuple):
    """What each verb does about one standing, and what it answers if that succeeds."""

    claim: str
    unclaim: str
    reap: str


TABLE: dict[Standing, Verbs] = {
    Standing.VACANT: Verbs(claim="advance: Won", unclaim="Released", reap="-"),
    Standing.OURS: Verbs(claim="nothing written: Renewed", unclaim="advance: Released", reap="-"),
    Standing.HELD: Verbs(claim="Held", unclaim="Refused", reap="keep"),
    Standing.ORPHANED: Verbs(claim="advance: Won", unclaim="advance: Released", reap="advance: Reaped"),
    Standing.DEBRIS: Verbs(claim="advance: Won", unclaim="advance: Released", reap="advance: Reaped"),
}


def advances(action: str) -> bool:
    """Whether a verb publishes the next generation; otherwise it answers, and nothing is written."""
    return action.startswith("advance")


NOBODY = Holder("", "")
"""Whose eyes the reaper and `list` see with: no lease is ever theirs."""


def is_ours(lease: Lease | None, me: Holder) -> bool:
    """Whether `lease` is that of exactly this registration of our session, or one that it shares with others.

    A session that re-uses a dead one's id must not adopt its lease by the id alone: a reaper that rightly judged the old
    one dead may be about to release it. A lease that looop wrote has no incarnation to compare, so it is never simply
    ours: it is adopted by publishing a generation.
    """
    if lease is not None and lease.readers:
        return me != NOBODY and any(each[:2] == me for each in lease.readers)
    return lease is not None and not lease.foreign and lease[1:3] == me != NOBODY


def holders_of(lease: Lease) -> list[Holder]:
    """Who holds it: one, or all who share it."""
    return [Holder(*each[:2]) for each in lease.readers] or [Holder(lease.session, lease.incarnation)]


def is_of(lease: Lease | None, holder: tuple[str, str]) -> bool:
    """Whether it is one of those who hold it."""
    return lease is not None and holder in holders_of(lease)


def own(lease: Lease | None, me: Holder) -> Lease | None:
    """The lease, if it is ours; of one that several share, what we have of it (the first, if we have several)."""
    if lease is None or not is_ours(lease, me):
        return None
    mine = [at for at, each in enumerate(lease.readers) if each[:2] == me]
    return shared_lease(lease.name, lease.readers, mine[0]) if mine else lease


def judge(lease: Lease | None, me: Holder, liveness: Liveness) -> Standing:
    """What a claim whose current lease is `lease` looks like to `me`; `liveness` is that of the lease's session.

    Our own id in another incarnation is judged by its liveness. A verb that a dead shell left running would otherwise take
    the claim from the live session that has registered the id since. A later registration proves an older incarnation
    dead.
    """
    if lease is None:
        return Standing.VACANT
    if is_ours(lease, me):
        return Standing.OURS
    if not lease.session:
        return Standing.DEBRIS if lease.settled and liveness is Liveness.DEAD else Standing.HELD
    adopted = lease.session == me.session and not lease.incarnation
    return Standing.ORPHANED if adopted or liveness is Liveness.DEAD else Standing.HELD
