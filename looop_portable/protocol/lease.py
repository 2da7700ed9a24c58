"""The lease, the head of a claim, and how both look as bytes.

Guarantees: any bytes decode to something, never to an exception: what is no lease decodes to one with no holder. Nothing is
encoded that would be too large to be read. What becomes a path, a process id or a time is checked when it is decoded.
Compatibility: a record is one JSON object with at least `session` and `name`, which is all that looop writes and reads.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self, cast

from looop_portable.errors import InvalidName

__all__ = ["Head", "Lease"]

LARGEST = 1 << 20
"""Bytes of a record. Whoever reads takes a larger file for no record (`files_open.read`), so it must not be written."""

LONGEST_TEXT = 1000
"""Characters of a text in a record that says where something is, or what a kernel calls itself."""

_LONGEST_WORD = 100
_WORD = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._~-")


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


class Said(Protocol):
    """A lease, or a registration."""

    @property
    def session(self) -> str: ...
    @property
    def incarnation(self) -> str: ...
    @property
    def foreign(self) -> bool: ...


class Judged(int):
    """The number of a generation to act upon, with the holder that it was judged to have: session and incarnation.

    A number alone proves nothing. In a store that was removed, restored from a backup, or swapped for another, the same
    number may be another holder's. No holder: nobody holds it, or looop does.
    """

    said: Said | None

    def __new__(cls, generation: int, said: Said | None) -> Self:
        found = int.__new__(cls, generation)
        found.said = said
        return found


def holder_of(generation: int) -> tuple[str, str] | None:
    """The holder that it was judged to have; None for a plain number."""
    said = generation.said if isinstance(generation, Judged) else None
    return None if said is None or said.foreign else (said.session, said.incarnation)


class Head(NamedTuple):
    """The latest generation of a claim; `lease` is None when it is not held. Generation 0: never claimed.

    `over` is a lease that looop itself has written since: looop judged the holder dead.
    """

    generation: int
    lease: Lease | None
    over: Lease | None = None


def record_of(lease: Lease | None) -> dict[str, object]:
    """What a generation says, without its number and its nonce, which the ledger adds."""
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
    """One JSON object and a newline, which is the only one in it. Raises `InvalidName` if nobody could read it.

    A record that no reader accepts would make a claim with two live holders.
    """
    fields = []
    for key, value in record.items():  # What strings and integers need takes half the encoder's time.
        if type(value) is str:
            fields.append(f"{_quoted(key)}: {_quoted(value)}")
        elif type(value) is int:
            fields.append(f"{_quoted(key)}: {value}")
        else:
            data = _encode(record).encode() + b"\n"
            break
    else:
        data = f"{{{', '.join(fields)}}}\n".encode()
    if len(data) > LARGEST:
        raise InvalidName(
            f"a record of {len(data)} bytes could not be read: it may have {LARGEST}, so a name or an id in it is too long"
        )
    return data


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


def number(record: Mapping[str, object], key: str, most: int = 2**63 - 1) -> int:
    """The integer at `key`, from 1 to `most`; 0 if there is none."""
    value = record.get(key)
    return value if type(value) is int and 0 < value <= most else 0


class Damaged(ValueError):
    """A field of a record is what nobody of ours has written there."""


def checked_text(record: Mapping[str, object], key: str) -> str:
    """The string at `key`; empty if there is none. Raises `Damaged` for anything else, and for what no system says."""
    found = text(record, key)
    if found != record.get(key, "") or len(found) > LONGEST_TEXT or _has_controls(found):
        raise Damaged(key)
    return found


def checked_word(record: Mapping[str, object], key: str) -> str:
    """A nonce, which becomes a part of a path. Raises `Damaged` for what could lead elsewhere."""
    found = checked_text(record, key)
    if not is_word(found):
        raise Damaged(key)
    return found


def checked_number(record: Mapping[str, object], key: str, most: int) -> int:
    """The integer at `key`, from 0 to `most`; 0 if there is none. Raises `Damaged` for anything else."""
    found = record.get(key, 0)
    if type(found) is not int or not 0 <= found <= most:
        raise Damaged(key)
    return found


def is_word(value: str) -> bool:
    """Whether it is what nonces are made of; or nothing."""
    return len(value) <= _LONGEST_WORD and value[:1] != "." and _WORD.issuperset(value)


def _has_controls(value: str) -> bool:
    return not value.isprintable() and any(letter < " " or letter == "\x7f" for letter in value)


def _incarnation_in(record: Mapping[str, object]) -> str:
    """The incarnation; empty if it is not a possible one. The session is then judged by its id alone."""
    found = text(record, "incarnation")  # Of a session of looop's it has what words have not.
    return "" if len(found) > _LONGEST_WORD or _has_controls(found) or "/" in found or "\\" in found else found


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
        incarnation=_incarnation_in(record),
        generation=generation,
        claimed_at=text(record, "claimed_at")[:LONGEST_TEXT],
        host=text(record, "host")[:LONGEST_TEXT],
        foreign="adopted" in record,
    )
