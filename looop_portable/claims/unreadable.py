"""Who holds where no holder can be read: a generation that is empty, or none of ours, since somebody has saved over it.

Guarantees: every live session that may be the holder counts as the holder. On POSIX a projection is one more name of its
record: an editor that saves in place destroys the record, and must not give a live holder's claim away.
Does not guarantee: that the claim is free as soon as its holder is dead. Where the holder is unknown, each live session may
be it, except the one that asks: the claim is held until all of them have ended, or an operator breaks it. Nor anything of a
holder that was never registered, or was never shown.
How: if the projection is a copy of that very generation, it names the holder. If it has the same bytes as the damaged
record, somebody has saved over both; unless that is what a power cut leaves on a local disk: nothing or zeros, from before
this kernel's boot. If the projection is missing, or is another, the generation was no lease that counts.
"""

from __future__ import annotations

from looop_portable.backends.base import Backend
from looop_portable.errors import Unavailable, because
from looop_portable.protocol.codec import is_word
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.records import Holder, Lease
from looop_portable.sessions.registrar import Sessions

_NOBODY = Verdict(Liveness.DEAD, "no holder can be read from its lease")
_BEING_WRITTEN = Verdict(Liveness.UNKNOWN, "its lease is still being written")


def breaking(lease: Lease) -> str:
    """The command that ends it, to be pasted into a shell."""
    name = lease.name
    if not is_word(name):
        import shlex

        name = shlex.quote(name)
    return f"looop break {name} --generation {lease.generation} --reason TEXT"


def verdict(backend: Backend, sessions: Sessions, lease: Lease, me: Holder) -> Verdict:
    """Whether a live session may hold `lease`, which names no holder; `me` asks. Raises `Unavailable`."""
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
    """End all sessions whose death is not fully proven, before anybody acts on it. False: one has not ended."""
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
    return Verdict(Liveness.UNKNOWN, f"{evidence}; if nobody holds it: {breaking(lease)}", first.verdict.basis)


def _written_over(lease: Lease) -> str:
    return f"no holder can be read from generation {lease.generation}, which has been written over"
