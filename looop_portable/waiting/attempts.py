"""Attempts to claim any of several names, and taking back what they have won.

Guarantees: what an interrupted attempt may have won is released; where that fails, it is tried again.
Does not guarantee: a release where the store does not answer: then the error says so, or is raised, or returned.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence

from looop_portable.claims.gate import Claims
from looop_portable.config import OUTER
from looop_portable.errors import LooopError, Unavailable
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.outcomes import Held, Renewed, Won
from looop_portable.protocol.records import Head, Holder, Lease
from looop_portable.protocol.shares import slots_of
from looop_portable.protocol.standings import is_ours, own
from looop_portable.typed import Any

_TRIES = 3


def joins(
    claims: Claims, me: Holder, lease: Lease, verdict: Verdict | None = None, *, shared: bool = False
) -> Lease | None:
    """What a session around `me` holds of `lease`; None: nothing. See `inside.joins`."""
    if not os.environ.get(OUTER):
        return None
    from looop_portable.sessions.inside import joins  # Few are within two sessions.

    return joins(claims.sessions, me, lease, verdict, shared=shared)


def claim_any(
    claims: Claims, wanted: Sequence[str], me: Holder, note: str = "", *, shared: bool = False
) -> Won | Renewed | Held:
    """The first of `wanted` that can be had; one that is ours already, if there is one. Raises as `Claims.claim` does.

    What a session around ours holds (`inside`) is as good as ours: that is never waited for. Then its lease is the answer.
    Of several each is read once, and one that can be had once more by `claim`.
    """
    # A `Claims` of somebody else's, from before there were notes and shared claims, does without.
    more: dict[str, Any] = {what: value for what, value in (("note", note), ("shared", shared)) if value}
    if len(wanted) == 1:
        outcome = claims.claim(wanted[0], me, **more)
        inside = joins(claims, me, *outcome, shared=shared) if isinstance(outcome, Held) else None
        return Renewed(inside) if inside else outcome
    heads: list[tuple[str, Head]] = []
    for name in wanted:
        head = claims.backend.read(name)
        if head.lease and (is_ours(head.lease, me) or joins(claims, me, head.lease)):
            return Renewed(head.lease)
        heads.append((name, head))
    first: Held | None = None
    verdicts: dict[Holder, Verdict] = {}  # One who holds several is judged once: all leases have been read by now.
    for name, head in heads:
        outcome = claims.refused(head, me, verdicts) or claims.claim(name, me, **more)
        if not isinstance(outcome, Held):
            return outcome
        first = first or outcome
    assert first
    return first


class Attempts:
    """Attempts to claim any of `wanted` for `me`, one after the other, and taking back what they have won.

    Does not guarantee: to tell its own win from one of another thread or process, of the same session at the same moment.
    """

    def __init__(self, claims: Claims, wanted: Sequence[str], me: Holder, note: str = "", *, shared: bool = False) -> None:
        self._claims = claims
        self._wanted = wanted
        self._me = me
        self._note = note
        self.shared = shared
        self._won: Won | None = None
        self.refused: Held | None = None
        """Who held it when it was last asked for."""

    def __call__(self) -> Won | Renewed | Held:
        """Interrupted, it has not won. Raises as `Claims.claim` does."""
        before = self._had()
        try:
            outcome = claim_any(self._claims, self._wanted, self._me, self._note, shared=self.shared)
            self._won = outcome if isinstance(outcome, Won) else None
            self.refused = outcome if isinstance(outcome, Held) else None
        except BaseException as error:  # It may have been won all the same.
            for lease in self._had():
                refused = None if lease in before else _again_and_again(functools.partial(self._undo, lease))
                if refused and isinstance(error, Unavailable):
                    error.args = (f"{error}; {lease.name} may be held all the same, by session '{self._me.session}'",)
            raise
        return outcome

    def take_back(self, _: object = None) -> None:
        """Release what has been won, if anything has. Raises as `Claims.release_lease` does; repeated, it does no harm."""
        if self._won:
            self._claims.release_lease(self._won.lease)
            self._won = None

    def _had(self) -> list[Lease]:
        """What this process has won before, or may have."""
        known, keys = (self._claims.won, self._claims.tried), [(name, self._me) for name in self._wanted]
        return [lease for leases in known for key in keys if (lease := leases.get(key))]

    def _undo(self, won: Lease) -> None:
        lease = own(self._claims.backend.read(won.name).lease, self._me)
        if lease and lease.generation == won.generation:
            self._claims.release_lease(lease)


def claim_in_order(
    claims: Claims,
    names: Iterable[str],
    me: Holder,
    slots: int,
    note: str,
    begun: list[Attempts],
    ask: Callable[[str, Attempts], Won | Renewed | Held] | None = None,
    *,
    shared: bool = False,
) -> list[Won | Renewed] | Held:
    """Claim all of `names`, or none, one after the other. Interrupted, or where one cannot be had, none was won.

    `begun`: the attempts that were made. `ask`: makes those at one name; by default one, at once.
    """
    had: list[Won | Renewed] = []
    try:
        for name in names:
            begun.append(Attempts(claims, slots_of(name, slots), me, note, shared=shared))
            outcome = ask(name, begun[-1]) if ask else begun[-1]()
            if isinstance(outcome, Held):
                refused = take_back(begun)
                if refused:
                    raise refused
                return outcome
            had.append(outcome)
    except BaseException as error:
        refused = take_back(begun)
        if refused and isinstance(error, LooopError):
            raise Unavailable(f"{error}; what was won before could not all be released: {refused}") from error
        raise
    return had


def take_back(begun: Iterable[Attempts]) -> LooopError | None:
    """Take back all that can be, the last first, as `hold_all` does. Returns what prevented the others, twice."""
    found = [_again_and_again(attempts.take_back) for attempts in reversed(list(begun))]
    return next((error for error in reversed(found) if error), None)


def _again_and_again(deed: Callable[[], object]) -> LooopError | None:
    """Take something back, and try once more where that failed: nobody else would do it. Returns why it failed."""
    refused: LooopError | None = None
    for _ in range(_TRIES):
        try:
            deed()
        except LooopError as error:
            refused = error
        else:
            return None
    return refused


def ours_of(claims: Claims, names: Iterable[str], slots: int, session: str | Holder | None) -> list[str]:
    """Of the slots of `names` those that `session` holds. Raises as `Claims.claim` does."""
    me = claims.acting(session)
    found = [(slot, claims.backend.read(slot).lease) for name in names for slot in slots_of(name, slots)]
    return [slot for slot, lease in found if lease and is_ours(lease, me)]
