"""What is recorded: of a claim its head and its lease, of a session its registration.

Guarantees: any bytes say something: what is no lease says one with no holder. What becomes a path, a process id or a time
is what somebody of ours can have written; where it is not, the registration is damaged, and counts as alive until it is
known otherwise.
Compatibility: a record is one JSON object (see `codec`) with at least `session` and `name`, which is all that looop writes
and reads.
"""

from __future__ import annotations

import functools

from looop_portable.protocol.codec import (
    LONGEST_TEXT,
    Damaged,
    checked_number,
    checked_text,
    checked_word,
    decode,
    encode,
    number,
    text,
)
from looop_portable.protocol.shares import Reader, incarnation_in, readers_in, records_of
from looop_portable.typed import NamedTuple, Protocol, Self

__all__ = ["Head", "Holder", "Lease", "Reader", "Registration"]


class Lease(NamedTuple):
    """Who holds a claim.

    `session` is the holder's id; empty: no holder could be read. `incarnation` is the nonce of the holder's
    registration; empty: it was not registered, or looop wrote the lease. `claimed_at` is the holder's own clock, for
    people only. A `foreign` lease is one that looop wrote: it has no number of its own, and `generation` is that of the
    ledger's head. `settled` is False while its writer may still be in the middle of writing it. `note` is what the holder
    wants people to know; it may have any characters.

    `readers` are all who share the claim; none: it is held by one alone. Of a shared one a lease is what one of them has:
    `generation` is the one at which he joined, and `share` tells his several shares apart (see `Reader`).
    """

    name: str
    session: str
    incarnation: str = ""
    generation: int = 0
    claimed_at: str = ""
    host: str = ""
    foreign: bool = False
    settled: bool = True
    note: str = ""
    readers: tuple[Reader, ...] = ()
    share: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json: who holds it, since when, and where."""
        return {
            "session": self.session or None,
            "incarnation": self.incarnation or None,
            "claimed_at": self.claimed_at or None,
            "host": self.host or None,
            "note": self.note or None,
            "readers": [each.as_dict() for each in self.readers] or None,
        }


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


def is_shared(generation: int) -> bool:
    """Whether several shared the claim by the generation that was judged, so that it may have moved on since."""
    said = generation.said if isinstance(generation, Judged) else None
    return isinstance(said, Lease) and bool(said.readers)


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
    if lease.readers:  # Who knows nothing of sharing sees one of them.
        first = shared_lease(lease.name, lease.readers)
        return {**record_of(first._replace(readers=())), "readers": records_of(lease.readers)}
    record: dict[str, object] = {
        "session": lease.session,
        "name": lease.name,
        "incarnation": lease.incarnation,
        "claimed_at": lease.claimed_at,
        "host": lease.host,
    }
    if lease.note:  # Most have none, and look as they did before there were notes.
        record["note"] = lease.note
    return record


def alone(name: str, reader: Reader) -> Lease:
    """What he would have if nobody shared it with him: it is judged so."""
    return Lease(name, *reader[:5], note=reader.note, share=reader.share)


def shared_lease(name: str, readers: tuple[Reader, ...], which: int = 0) -> Lease:
    """What one of the readers has."""
    return alone(name, readers[which])._replace(readers=readers)


def lease_in(data: bytes, name: str, generation: int) -> Lease | None:
    """The lease that a generation records; None if it records a release: it says so, or repeats an earlier one's lease."""
    record = decode(data)
    own = number(record, "generation")
    if "released" in record or own not in (0, generation):
        return None
    if not own:
        return Lease(name, "", generation=generation)  # Nobody of ours wrote this.
    if "readers" in record:
        readers = readers_in(record, generation)
        return shared_lease(name, readers) if readers else Lease(name, "", generation=generation)
    return Lease(
        name=name,
        session=text(record, "session"),
        incarnation=incarnation_in(record),
        generation=generation,
        claimed_at=text(record, "claimed_at")[:LONGEST_TEXT],
        host=text(record, "host")[:LONGEST_TEXT],
        foreign="adopted" in record,
        note=text(record, "note")[:LONGEST_TEXT] if "note" in record else "",
    )


FOREIGN = "looop:"
"""How the incarnation of a session that looop itself started begins: its pid and its start follow."""

LONGEST_LEASE = 10**8
"""Seconds: three years. What a record says beyond that nobody has promised."""

MOST_PID = 2**31 - 1
"""No system has greater process ids, and most take none."""


class Holder(NamedTuple):
    """Somebody who may hold: a session id and the incarnation of its registration (empty: not registered)."""

    session: str
    incarnation: str


class Registration(NamedTuple):
    """What a session says of itself when it registers.

    `boot` identifies the kernel, `namespace` its pid namespace, `start` the process among all that ever had its `pid`;
    each is empty where the platform does not tell, and all three are empty in a session that looop started (`foreign`).
    `ended`: it has ended, by its own word or somebody else's. `lease_seconds`: for how long it may be silent; 0: it has
    promised no heartbeat. `disk`: what tells its local disk from others', empty if it is none, or not known. `locked`: its
    process holds a lock of its own for as long as it lives. `kept`: a process of its own gives its heartbeats. `own`: the
    process has registered itself, so the lock is its own too, and not that of whoever runs it. `heirs`: what its process
    starts inherits a part in that lock, and the session lives as long as any of them (`looop run`). `timed`: it has no
    process, and lives by the heartbeats that somebody gives now and then (`session start --ttl`). For people only: `user`,
    who has registered it, and `command`, the name of the program that it runs, without its arguments (`looop run`).
    `shared`: of one who waits: he wants to share the claim.
    """

    session: str
    incarnation: str
    pid: int
    start: str = ""
    boot: str = ""
    namespace: str = ""
    host: str = ""
    started_at: str = ""
    foreign: bool = False
    ended: bool = False
    lease_seconds: int = 0
    disk: str = ""
    locked: bool = False
    kept: bool = False
    own: bool = False
    heirs: bool = False
    timed: bool = False
    user: str = ""
    command: str = ""
    shared: bool = False

    @property
    def holder(self) -> Holder:
        return Holder(self.session, self.incarnation)


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


def waiter_in(data: bytes) -> Registration:
    """What a ticket says: who waits, and for which session, which is for people only."""
    return registration_in(text(decode(data), "session")[:LONGEST_TEXT], data)


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
            lease_seconds=checked_number(record, "lease_seconds", LONGEST_LEASE),
            disk=checked_text(record, "disk"),
            locked=record.get("locked") is True,
            kept=record.get("kept") is True,
            own=record.get("own") is True,
            heirs=record.get("heirs") is True,
            timed=record.get("timed") is True,
            user=text(record, "user")[:LONGEST_TEXT],
            command=text(record, "command")[:LONGEST_TEXT],
            shared=record.get("shared") is True,
        )
    except Damaged:
        return Registration(session, "", 0)
