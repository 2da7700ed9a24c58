"""What has happened to claims between two looks.

Does not guarantee: everything that has. A claim that was released and claimed again in between is told as claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from looop_portable.cli.verbs.show.selecting import is_unreadable
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.standings import holders_of
from looop_portable.typed import NamedTuple

_LIVES = {Liveness.DEAD: "died", Liveness.UNKNOWN: "unknown", Liveness.ALIVE: "alive"}


class Change(NamedTuple):
    """`status`: as the claim is now; of one that was released, as it was. `previous`: who has held it before, if others."""

    event: str
    status: Status
    previous: str = ""


def changes(before: Mapping[str, Status], after: Mapping[str, Status]) -> Iterator[tuple[Change, Status | None]]:
    """Each change, and how the claim was before it. In the order of their names."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if new is None:
            assert old
            yield Change("released", old), old
        elif (found := _change(old, new)) is not None:
            yield found, old


def _change(old: Status | None, new: Status) -> Change | None:
    assert new.lease
    assert new.verdict
    if is_unreadable(new):
        return None if old and is_unreadable(old) else Change("unreadable", new)
    if old is None or old.lease is None or old.verdict is None:
        return Change("claimed", new)
    if is_unreadable(old):
        return Change("readable", new)
    holders, before = holders_of(new.lease), holders_of(old.lease)
    if (new.generation, holders) != (old.generation, before):
        return Change("claimed", new, old.lease.session if set(holders).isdisjoint(before) else "")
    if new.verdict.liveness is not old.verdict.liveness:
        return Change(_LIVES[new.verdict.liveness], new)
    return None
