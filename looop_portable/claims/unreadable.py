"""Who holds where no holder can be read: a generation that is empty, or none of ours, since somebody has saved over it.

Guarantees: whoever may be its holder, and lives, holds. Without this, whoever writes over a projection in place, which on
POSIX is one more name of the record, would give a live holder's claim to the next who asks.
Does not guarantee: that it is free as soon as its holder is dead, where nobody can tell who that is. Then each session that
lives may be it, but for the one that asks: it is held until all of them have ended, or an operator breaks it. Nor anything
of a holder that was never registered, or was never shown.
How: what is shown of that very generation, if it is a copy, tells the holder. If it is the same as the generation, it has
been written over; unless that is what a power cut leaves on a local disk: nothing or zeros, from before this kernel's boot.
If nothing is shown, or something else, it was no lease that counts.
"""

from __future__ import annotations

from looop_portable.backends.base import Backend
from looop_portable.errors import Unavailable, because
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.records import Holder, Lease
from looop_portable.sessions.registrar import Sessions

_NOBODY = Verdict(Liveness.DEAD, "no holder can be read from its lease")
_BEING_WRITTEN = Verdict(Liveness.UNKNOWN, "its lease is still being written")


def verdict(backend: Backend, sessions: Sessions, lease: Lease, me: Holder) -> Verdict:
    """Whether somebody may live who holds `lease`, which names nobody; `me` is who asks. Raises `Unavailable`."""
    if not lease.settled:
        return _BEING_WRITTEN
    directory = backend.directory
    if lease.foreign or directory is None:
        return _NOBODY
    try:
        known = directory.shown(lease)
    except (OSError, Unavailable) as error:
        why = because(error) if isinstance(error, OSError) else str(error)
        return Verdict(Liveness.UNKNOWN, f"{_written_over(lease)}, and nobody can tell who that is: {why}")
    if known is None:
        return _NOBODY
    return _of_whom_is_shown(sessions, known, me) if known.session else _of_all(sessions, lease, me)


def conclude(sessions: Sessions) -> bool:
    """End all sessions that are dead by no whole proof, before anybody acts on that. False: one of them is not."""
    silent = [found.registration.holder for found in sessions.statuses() if found.verdict.dead and found.verdict.inferred]
    return all(sessions.conclude(holder) for holder in silent)


def _of_whom_is_shown(sessions: Sessions, known: Lease, me: Holder) -> Verdict:
    holder = Holder(known.session, known.incarnation)
    if holder == me:
        return _NOBODY
    found = sessions.verdict(*holder)
    return found._replace(
        evidence=f"its record is damaged, and shown as that of session '{known.session}': {found.evidence}"
    )


def _of_all(sessions: Sessions, lease: Lease, me: Holder) -> Verdict:
    others = [found for found in sessions.statuses() if found.registration.session != me.session]
    living = [found for found in others if not found.verdict.dead]
    if not living:
        return _NOBODY._replace(inferred=any(found.verdict.inferred for found in others))
    first = living[0]
    evidence = f"{_written_over(lease)}, and session '{first.registration.session}' may be it: {first.verdict.evidence}"
    way_out = f"if nobody holds it: looop break {lease.name} --generation {lease.generation}"
    return Verdict(Liveness.UNKNOWN, f"{evidence}; {way_out}", first.verdict.basis)


def _written_over(lease: Lease) -> str:
    return f"no holder can be read from generation {lease.generation}, which has been written over"
