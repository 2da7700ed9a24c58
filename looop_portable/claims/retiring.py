"""The end of a session, and of all that it holds: what this process has won for it first, then what others have.

Guarantees: everything that the session holds is released, whichever process won it. Claims of others are not judged.
Does not guarantee: that no record of others is read. Any process that knows a session's id may claim for it (the command of
`looop run`, say), and only the lease shows that. So the latest record of each name is read. Names that were not touched
since the session began (`births`) are left out; that time is known of sessions that this process registered itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from looop_portable.backends.base import Backend
from looop_portable.errors import LooopError, NotEnded, Unavailable
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.names import spelled
from looop_portable.protocol.outcomes import Refused, Released, Retired
from looop_portable.protocol.records import Head, Holder, Lease
from looop_portable.protocol.standings import Standing, is_ours
from looop_portable.sessions.registrar import Sessions
from looop_portable.typed import NamedTuple

Failed = tuple[tuple[str, str], ...]


class Steps(NamedTuple):
    """What is done with one claim. `release_held` answers None where it has moved on since."""

    judge: Callable[[Head, Holder], tuple[Lease | None, Standing, Verdict]]
    release_held: Callable[[Lease], Released | None]
    release: Callable[[Lease], Released | Refused]


def retire(backend: Backend, sessions: Sessions, steps: Steps, holder: Holder, won: Iterable[Lease]) -> Retired:
    """See `Claims.retire`. `won`: what this process has won for `holder`, and not released, as far as it knows."""
    since = sessions.evidence.births.since(holder)
    try:
        stopped = sessions.stop(*holder)
    except Unavailable:
        released, failed = _release_all(backend, steps, holder, won, since)
        try:
            stopped = sessions.stop(*holder)  # There may be room for it now.
        except Unavailable as error:
            raise NotEnded(str(error), failed) from error
        more, failed = _release_all(backend, steps, holder, (), since)  # What it has claimed in between.
        return Retired(stopped, released + more, failed)
    return Retired(stopped, *_release_all(backend, steps, holder, won, since))


def _release_all(
    backend: Backend, steps: Steps, holder: Holder, won: Iterable[Lease], since: int
) -> tuple[tuple[Released, ...], Failed]:
    """What `holder` held; and for what could not be released, why: see `Retired`."""
    released: dict[str, Released] = {}
    failed: dict[str, str] = {}
    for lease in won:
        try:
            if found := steps.release_held(lease):
                released[lease.name] = found
        except LooopError as error:
            failed[lease.name] = str(error)
    try:
        for name in backend.held_by(holder, [*released, *failed], since):
            try:
                mine = _ours(steps, backend.read(name), holder)
                outcome = steps.release(mine) if mine else None
            except LooopError as error:
                failed[name] = str(error)
                continue
            if isinstance(outcome, Released):
                released[name] = outcome
    except LooopError as error:
        failed[""] = str(error)
    return tuple(released[name] for name in sorted(released, key=spelled)), tuple(failed.items())


def _ours(steps: Steps, head: Head, holder: Holder) -> Lease | None:
    """The lease that `holder` has, and that counts. Of another's nobody is asked whether he lives."""
    if not is_ours(head.lease, holder):
        return None
    lease, standing, _ = steps.judge(head, holder)
    return lease if standing is Standing.OURS else None
