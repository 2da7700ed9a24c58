"""What a store that is no directory can do: what it says of itself, and a race of processes for one claim of it.

Guarantees: it is accepted only if nothing that is known of it lets two win, it was raced, and nobody was let in beside
another. One that cannot be reached is not refused: there is no answer. One that settles is waited for, if that is not long.
Does not guarantee: that two holders would have been seen: a race is a sample, from this host. Nor anything about a time
when the store is in trouble: its own `verify` says what it promises then.
How: `Backend.verify`, which changes nothing; then a release of the name `CLAIM`, by which a store that settles says so;
then processes that claim that in turn, as in a directory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from looop_portable.backends import open_address
from looop_portable.backends.base import Backend, Fact
from looop_portable.doctor.advice import Objection, Outcome, objection
from looop_portable.doctor.findings import Race
from looop_portable.doctor.race.arbiter import race
from looop_portable.doctor.workshop import opened
from looop_portable.errors import CannotExclude, Settling, Unavailable, answering
from looop_portable.protocol.addresses import Address
from looop_portable.system.clock import elapsed
from looop_portable.typed import NamedTuple

CLAIM = "looop-doctor"
"""What is raced for. The store keeps its record; another doctor at the same time is one more who claims."""


class StoreReport(NamedTuple):
    """What was found of the store `where`, and what follows from it. No race: nothing was raced."""

    where: str
    facts: tuple[Fact, ...]
    raced: Race | None
    outcome: Outcome
    verdict: str


def examine_store(
    address: Address, directory: str, processes: int, seconds: float, say: Callable[[str], object], timeout: float = 60.0
) -> StoreReport:
    """Processes race as in `directory`, which must be there, and of which nothing is left.

    A store that settles is waited for if it has settled within `timeout` seconds.
    Raises `UsageError` for an address that names no store, and `Unavailable` if nothing can be written in `directory`.
    """
    with answering(f"cannot try anything in {directory}"), opened(directory) as shop:
        room = shop.room("store")
        say(f"asking {address} what it is")
        raced = None
        try:
            facts, why = _asked(open_address(address, room), timeout, say)
        except Unavailable as error:
            outcome = Outcome.NONE if isinstance(error, CannotExclude) else Outcome.UNANSWERED
            facts, why = (), Objection(str(error), outcome)
        if why is None:
            say(f"racing {processes} processes on {address} for {seconds:g} s")
            raced = race(address, room, processes, seconds, claim=CLAIM).race
            why = objection(raced)
    if raced and not why:
        outcome, turn = Outcome.USE, 1000 * raced.seconds / raced.acquisitions
        counts = f"{raced.processes} processes, {raced.acquisitions:,} acquisitions, {turn:.3g} ms a turn, 0 overlaps"
        line = f"use --backend {address}: {counts}"
    else:
        assert why
        outcome = why.outcome
        line = f"do not use {address}: {why.reason}" if outcome is Outcome.NONE else f"no answer: {why.reason}"
    hide = address.hide
    shown = tuple(Fact(hide(each.name), hide(each.found), each.excludes, hide(each.advice)) for each in facts)
    return StoreReport(str(address), shown, raced, outcome, hide(f"verdict: {line}"))


def _asked(backend: Backend, timeout: float, say: Callable[[str], object]) -> tuple[tuple[Fact, ...], Objection | None]:
    """What it says of itself, and what of that is against it. Raises `Unavailable`."""
    try:
        facts = tuple(backend.verify())
        refused = backend.unavailable()
        for fact in facts:
            if not fact.excludes:
                return facts, Objection(f"{fact.name}: {fact.found}" + (f" ({fact.advice})" if fact.advice else ""))
        if refused:
            return facts, Objection(refused, Outcome.UNANSWERED)
        settling, why = _settled(backend, timeout, say)
        return (*facts, *settling), why
    finally:
        backend.close()


def _settled(backend: Backend, timeout: float, say: Callable[[str], object]) -> tuple[tuple[Fact, ...], Objection | None]:
    """Until it lets somebody claim. That it settles, until when and why; and that this is too long.

    Any other failure is left to the racers, who tell it.
    """
    end, told = elapsed() + timeout, tuple[Fact, ...]()
    while True:
        try:
            head = backend.read(CLAIM)
            if head.lease is None:
                backend.advance(CLAIM, head.generation, None)
        except Settling as error:
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + error.seconds))
            told = told or (Fact("settling", f"until {until}: {str(error).removeprefix(f'claim {CLAIM}: ')}"),)
            if elapsed() + error.seconds > end:
                longer = f"ask again then, or wait with --timeout {math.ceil(error.seconds)}s"
                return told, Objection(
                    f"nothing is claimed there before {until}, as it settles: {longer}", Outcome.UNANSWERED
                )
            say(f"waiting until {until}, when the store has settled")
            time.sleep(min(error.seconds, 1.0))
        except Unavailable:
            return told, None
        else:
            return told, None
