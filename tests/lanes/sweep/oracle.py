"""What must be so after a fault, as a clean process sees it: nobody was told what is not true, and nothing was destroyed.

An error tells nothing, so after one the deed may have been done or not; but the same verb once more, without a fault, must
tell the truth. After a rival came in between only what holds whoever comes is looked at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from looop_portable import Claims
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.protocol.codec import whole
from looop_portable.protocol.records import Head, Holder, Lease

from .stores import Store
from .verbs import Verb

_MOMENT = 5.0
"""Seconds."""
ALL = ("a", "b", "c", "d", "c#1", "c#2")


class Seen(NamedTuple):
    """The heads of the claims, and all whole records of their generations."""

    heads: dict[str, Head]
    records: dict[tuple[str, int], bytes]


def look(claims: Claims, names: tuple[str, ...] = ALL) -> Seen:
    backend = claims.backend
    assert isinstance(backend, DirectoryBackend)
    heads, records = {}, {}
    for name in names:
        heads[name] = backend.read(name)
        directory = f"{backend.ledger.root}/{backend.ledger.spelling.key(name)}"
        for number in _numbers(directory):
            with open(f"{directory}/{number}", "rb") as file:
                data = file.read()
            if whole(data):
                records[name, number] = data
    return Seen(heads, records)


def lives(claims: Claims, session: str) -> bool:
    status = claims.sessions.status(session)
    return status is not None and not status.verdict.dead


def _numbers(directory: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(directory) if name.isdecimal()]
    except FileNotFoundError:
        return []


def destroyed(before: Seen, after: Seen, store: Store, verb: Verb, rival: Lease | None) -> Iterator[str]:
    """What was moved, or went back, and should not have."""
    for name, was in before.heads.items():
        now = after.heads[name]
        if now.generation < was.generation:
            yield f"back: {name} went from {was.generation} to {now.generation}"
        if now.lease and not now.lease.session and now.lease != was.lease:
            yield f"partial: {name} has a lease without a holder"
        may_move = name in verb.targets or (rival is not None and rival.name == name)
        if was.lease and was.lease.session in store.live - {store.me.session} and not may_move and now.lease != was.lease:
            yield f"moved: {name} was held by {was.lease.session}, who lives; now {_told(now)}"
    for key, data in before.records.items():
        if after.records.get(key, data) != data:
            yield f"rewritten: generation {key[1]} of {key[0]}"
    if rival is not None and after.heads[rival.name].lease != rival:
        yield f"moved: the rival won {rival.name} at {rival.generation}; now {_told(after.heads[rival.name])}"


def not_held(leases: Iterator[Lease], after: Seen, rival: Lease | None) -> Iterator[str]:
    """Leases that somebody believes in, and the ledger does not."""
    for lease in leases:
        head = after.heads[lease.name]
        broken = rival is not None and rival.name == lease.name and rival.generation > lease.generation
        if not broken and (head.lease is None or head.lease[:4] != lease[:4]):
            yield f"untrue: told that {lease.session} holds {lease.name} at {lease.generation}; {_told(head)}"


def not_left(leases: Iterator[Lease], after: Seen) -> Iterator[str]:
    """Leases that somebody was told are released, and that stand."""
    for lease in leases:
        head = after.heads[lease.name]
        if head.lease is not None and head.lease[:3] == lease[:3] and head.generation >= lease.generation:
            yield f"untrue: told that {lease.name} is released; {_told(head)}"


def wedged(claims: Claims, names: tuple[str, ...], numbers: dict[str, int]) -> Iterator[str]:
    """When all have ended, whoever comes must have it, under a number that there never was.

    What `looop run` leaves behind when it is killed ends by itself, in a moment.
    """
    newcomer = Holder("newcomer", "")
    end = time.monotonic() + _MOMENT
    for name in names:
        outcome = claims.claim(name, newcomer)
        while type(outcome).__name__ != "Won" and time.monotonic() < end:
            time.sleep(0.01)
            outcome = claims.claim(name, newcomer)
        if type(outcome).__name__ != "Won":
            yield f"wedged: nobody can have {name}: {outcome}"
        elif outcome.lease.generation <= numbers.get(name, 0):
            yield f"reused: {name} at {outcome.lease.generation}, after {numbers[name]}"


def let_in(claims: Claims, leases: Iterator[Lease]) -> Iterator[str]:
    """Whether anybody is let in beside somebody who holds."""
    for lease in leases:
        outcome = claims.claim(lease.name, Holder("intruder", ""))
        if type(outcome).__name__ != "Held":
            yield f"two holders: {lease.session} holds {lease.name}, and another got it: {outcome}"


def _told(head: Head) -> str:
    return f"it is {f'held by {head.lease.session}' if head.lease else 'free'} at {head.generation}"
