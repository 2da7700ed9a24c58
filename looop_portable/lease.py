"""The lease, the head of a claim, and how both look as bytes.

Guarantees: any bytes decode to something, never to an exception: what is no lease decodes to one with no holder.
Compatibility: a record is one JSON object with at least `session` and `name`, which is all that looop writes and reads.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple, cast


class Lease(NamedTuple):
    """Who holds a claim.

    `session` is the holder's id; empty: no holder could be read. `incarnation` is the nonce of the holder's
    registration; empty: it was not registered, or looop wrote the lease. `claimed_at` is the holder's own clock, for
    people only. A `foreign` lease is one that looop wrote: it has no number of its own, and `generation` is that of the
    ledger's head. `settled` is False while its writer may still be in the middle of writing it.
    """

    name: str
    session: str
    incarnation: str = ""
    generation: int = 0
    claimed_at: str = ""
    host: str = ""
    foreign: bool = False
    settled: bool = True


class Head(NamedTuple):
    """The latest generation of a claim; `lease` is None when it is not held. Generation 0: never claimed.

    `over` is a lease that looop itself has written since: by its lights the holder was dead.
    """

    generation: int
    lease: Lease | None
    over: Lease | None = None


def record_of(lease: Lease | None) -> dict[str, object]:
    """What a generation says, but for its number and its token, which the ledger adds."""
    if lease is None:
        return {"released": True}
    return {
        "session": lease.session,
        "name": lease.name,
        "incarnation": lease.incarnation,
        "claimed_at": lease.claimed_at,
        "host": lease.host,
    }


_encode = json.JSONEncoder(check_circular=False).encode
_quoted = json.encoder.encode_basestring_ascii
_decode = json.JSONDecoder().raw_decode


def encode(record: Mapping[str, object]) -> bytes:
    """One JSON object and a newline, which is the only one in it."""
    fields = []
    for key, value in record.items():  # What strings and integers need takes half the encoder's time.
        if type(value) is str:
            fields.append(f"{_quoted(key)}: {_quoted(value)}")
        elif type(value) is int:
            fields.append(f"{_quoted(key)}: {value}")
        else:
            return _encode(record).encode() + b"\n"
    return f"{{{', '.join(fields)}}}\n".encode()


def whole(data: bytes) -> bool:
    """Whether a record has been written to its end, which is the only newline in it."""
    return data.endswith(b"}\n")


def decode(data: bytes) -> dict[str, object]:
    """The JSON object in `data`; an empty one if there is none."""
    try:
        if data.startswith(b'{"') and data.endswith(b"}\n") and data.isascii():  # As ours are: a third of the time.
            line = data.decode()
            found, end = _decode(line)
            if end == len(line) - 1:
                return cast("dict[str, object]", found)
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text(record: Mapping[str, object], key: str) -> str:
    """The string at `key`; empty if there is none, or one that is no Unicode."""
    value = record.get(key)
    if not isinstance(value, str):
        return ""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value


def number(record: Mapping[str, object], key: str) -> int:
    """The non-negative integer at `key`; 0 if there is none."""
    value = record.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def lease_in(data: bytes, name: str, generation: int) -> Lease | None:
    """The lease that a generation records; None if it records a release: it says so, or repeats an earlier one's lease."""
    record = decode(data)
    own = number(record, "generation")
    if "released" in record or own not in (0, generation):
        return None
    if not own:
        return Lease(name, "", generation=generation)  # Nobody of ours wrote this.
    return Lease(
        name=name,
        session=text(record, "session"),
        incarnation=text(record, "incarnation"),
        generation=generation,
        claimed_at=text(record, "claimed_at"),
        host=text(record, "host"),
        foreign="adopted" in record,
    )
