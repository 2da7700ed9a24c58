"""What a record says of a session: one of ours, or one that looop wrote.

Guarantees: any bytes say something. What becomes a path, a process id or a time is what somebody of ours can have written;
where it is not, the record is damaged, and counts as alive until it is known otherwise.
"""

from __future__ import annotations

import functools

from looop_portable.protocol.lease import (
    LONGEST_TEXT,
    Damaged,
    checked_number,
    checked_text,
    checked_word,
    decode,
    encode,
    text,
)
from looop_portable.protocol.liveness import LONGEST_LEASE, MOST_PID, Registration

_LONGEST_TIME = 64


def is_damaged(session: str, record: dict[str, object]) -> bool:
    """Whether others would take it for damaged. Without this, such a one could be published, and would never end."""
    return not registration_in(session, encode(record)).incarnation


@functools.lru_cache(maxsize=256)
def of_looops(data: bytes) -> tuple[str, int, str]:
    """What `meta.json` says: the incarnation, if it is a projection of ours; else looop's process, and when it started."""
    meta = decode(data)
    try:
        pid, started_at = checked_number(meta, "babysit_pid", MOST_PID), checked_text(meta, "started_at")
    except Damaged:
        pid, started_at = 0, ""
    if len(started_at) > _LONGEST_TIME:
        started_at = ""
    return text(meta, "incarnation"), pid, started_at


@functools.lru_cache(maxsize=256)
def registration_in(session: str, data: bytes) -> Registration:
    """What a record says. Any bytes give a registration: where a field is none that we write, one without incarnation.

    Such a one is damaged, and counts as alive until it is known otherwise. What is only shown to people is cut instead.
    """
    record = decode(data)
    try:
        return Registration(
            session=session,
            incarnation=checked_word(record, "incarnation"),
            pid=checked_number(record, "pid", MOST_PID),
            start=checked_text(record, "start"),
            boot=checked_text(record, "boot"),
            namespace=checked_text(record, "namespace"),
            host=text(record, "host")[:LONGEST_TEXT],
            started_at=text(record, "started_at")[:LONGEST_TEXT],
            ended=record.get("ended") is True,
            ttl=checked_number(record, "lease_seconds", LONGEST_LEASE),
            disk=checked_text(record, "disk"),
            locked=record.get("locked") is True,
            kept=record.get("kept") is True,
            own=record.get("own") is True,
            heirs=record.get("heirs") is True,
        )
    except Damaged:
        return Registration(session, "", 0)
