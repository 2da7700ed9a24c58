"""A record as it is written into an object, and what it counts for.

How: one line of JSON, the data, and the data of the record that it replaces. The line has the number, and the moment of the
store's clock up to which the store may have begun to write. The store stamps each object with the time when it began, and
nobody can change either. So all who read one object agree on whether it came in time. One that came too late counts for
what was there before: number and data are in it.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from looop_portable.backends.engine import Record

__all__ = ["is_late", "record_in", "written"]

_COPIED = 86400.0
"""Seconds. No request is good for so long: what was stamped so much later is a copy of what came in time."""


class _Line(NamedTuple):
    number: int
    size: int
    before: int
    not_after: float


def written(record: Record, before: Record, not_after: float, nonce: str) -> bytes:
    """`nonce` makes each object another: what a store tells versions apart by may be no more than a hash of it."""
    line = {"looop": 1, "number": record.number, "bytes": len(record.data), "before": before.number}
    head = json.dumps({**line, "not_after": round(not_after, 3), "nonce": nonce})
    return head.encode() + b"\n" + record.data + before.data


def record_in(data: bytes, stamp: float) -> Record:
    """What an object counts for that the store has stamped with the second `stamp`. ValueError: it is none of ours."""
    head, _, rest = data.partition(b"\n")
    line = _line(head)
    if is_late(stamp, line.not_after):
        return Record(line.before, rest[line.size :])
    return Record(line.number, rest[: line.size])


def is_late(stamp: float, not_after: float) -> bool:
    """Stamps are whole seconds: it was at some moment of that second."""
    return not_after < stamp + 1 < not_after + _COPIED


def _line(head: bytes) -> _Line:
    found = json.loads(head)
    if not isinstance(found, dict) or found.get("looop") != 1:
        raise ValueError("it is no record")
    return _Line(int(found["number"]), int(found["bytes"]), int(found["before"]), float(found["not_after"]))
