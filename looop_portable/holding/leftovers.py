"""A release that failed is tried again by a thread of the session, until it succeeds.

Guarantees: a claim whose release failed does not stay with this process for the rest of its life. (A program may have had a
file of the store open for a moment.) Nothing that a block of this process has is released.
Does not guarantee: that it happens soon: the store may not answer. A block that asks for just that claim meanwhile may be
refused. It is woken by the release, as by that of another block.
How: the thread takes the name as a block does (`Member.take`). A lease of this session under it is then no block's.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial

from looop_portable.errors import LooopError
from looop_portable.holding.member import Member
from looop_portable.holding.own_session import Session
from looop_portable.protocol.liveness import interval
from looop_portable.protocol.records import Lease
from looop_portable.system.watch.waking import Watcher

_FIRST = 0.1
"""Seconds until it is tried again; twice as long each time, up to the interval of heartbeats."""


class _Leftover:
    """Has the name meanwhile: see `blocks.Taker`."""

    def __init__(self) -> None:
        self.owner: object = self
        self.watcher: Watcher | None = None

    def settle_if_over(self) -> None:
        """It is over soon."""


def release_later(member: Member, session: Session, key: str) -> None:
    """Returns at once."""
    session.left[key] = None
    session.later(partial(_release_all, member, session))


def give_up(member: Member, lease: Lease, seconds: str, *, joined: bool) -> None:
    """Release what a block has held for longer than it may. It keeps the name in this process, until it is left.

    What cannot be released is tried again then. Nothing else is released, whatever has become of the block meanwhile.
    What it has `joined` stays as it is.
    """
    if joined:
        return
    member.claims.note("expired", lease, max_hold=seconds)
    with contextlib.suppress(LooopError):
        member.claims.release_lease(lease)


def _release_all(member: Member, session: Session) -> None:
    pause = _FIRST
    while session.left and not session.has_gone:
        time.sleep(pause)
        for key in list(session.left):
            if _is_out(member, session, key):
                session.left.pop(key, None)
        pause = min(2 * pause, interval(session.lease_seconds))


def _is_out(member: Member, session: Session, key: str) -> bool:
    if session.has_gone or not member.take(key, _Leftover()):
        return False  # A block has it, which lets it go itself.
    try:
        member.give_back(key, session.holder)
    except Exception:  # noqa: BLE001 (no memory, no descriptor: whatever it is, it may be over the next time)
        return False
    finally:
        member.free(key)
    return True
