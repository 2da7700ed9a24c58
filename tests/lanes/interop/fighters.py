"""Who fights for a claim: a session of ours by the library, or one of looop's by its binary; and the tally of both."""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from looop_portable import Claims, Held, LooopError, Refused

from .parties import BACKEND, REFUSED, RELEASED, WON, Ours, Theirs, shown
from .rustlooop import Rust, Said

NAME = "repo-x"
COUNTERS = ("acquisitions", "takeovers", "refusals", "contended", "sweeps", "reaped")
VIOLATIONS = ("overlap", "lost", "generation", "failed")
FIELDS = ("stop", "won", *COUNTERS, *VIOLATIONS)


class Ring:
    """Where they fight, and words of 64 bits that all processes see: a row for each slot, written by the process in it."""

    def __init__(self, directory: Path, looop: str, slots: int) -> None:
        self.data_dir = directory / "data"
        self.rust = Rust(looop, directory / "home")
        self.slots = slots
        self.log = directory / "violations"
        self._words = memoryview(mmap.mmap(-1, slots * len(FIELDS) * 8)).cast("q")

    def get(self, slot: int, field: str) -> int:
        return self._words[slot * len(FIELDS) + FIELDS.index(field)]

    def put(self, slot: int, field: str, value: int) -> None:
        self._words[slot * len(FIELDS) + FIELDS.index(field)] = value

    def add(self, slot: int, field: str, value: int = 1) -> None:
        self.put(slot, field, self.get(slot, field) + value)

    def total(self, slots: range, field: str) -> int:
        return sum(self.get(slot, field) for slot in slots)

    def accuse(self, slot: int, violation: str, **facts: object) -> None:
        self.add(slot, violation)
        line = json.dumps({"violation": violation, "slot": slot, **facts}, default=str) + "\n"
        with self.log.open("ab", buffering=0) as file:
            file.write(line.encode())

    def violations(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@contextmanager
def ring_for(looop: str, slots: int) -> Iterator[Ring]:
    """In a directory that ours has made for sharing it with looop."""
    with tempfile.TemporaryDirectory(prefix="looop-") as directory:
        ring = Ring(Path(directory), looop, slots)
        maker = Ours(ring.data_dir)
        assert (maker.claim(NAME, "maker"), maker.unclaim(NAME, "maker")) == (WON, RELEASED)
        yield ring


class Fighter:
    """Acts for one session in one process."""

    generation = 0

    def __init__(self, ring: Ring, slot: int, session: str) -> None:
        self.ring, self.slot, self.session = ring, slot, session

    def claim(self) -> bool:
        """Whether we are told that we have won. Counts the refusals."""
        raise NotImplementedError

    def is_mine(self) -> bool:
        raise NotImplementedError

    def release(self) -> bool:
        """False: another holds what we hold."""
        raise NotImplementedError

    def count(self, what: str, value: int = 1) -> None:
        self.ring.add(self.slot, what, value)

    def accuse(self, violation: str, **facts: object) -> None:
        self.ring.accuse(self.slot, violation, session=self.session, **facts)


class OurFighter(Fighter):
    """Registers `pid` (default: this process)."""

    def __init__(self, ring: Ring, slot: int, session: str, pid: int = 0) -> None:
        super().__init__(ring, slot, session)
        self.claims = Claims.open(str(ring.data_dir), BACKEND)
        self.me = self.claims.sessions.register(session, pid=pid or os.getpid()).holder

    def claim(self) -> bool:
        try:
            outcome = self.claims.claim(NAME, self.me)
        except LooopError as error:
            if "moved by others" not in str(error):
                raise
            self.count("contended")
            return False
        if isinstance(outcome, Held):
            self.count("refusals")
            return False
        self.generation = outcome.generation
        return True

    def is_mine(self) -> bool:
        return self.claims.check(NAME, self.generation).current

    def release(self) -> bool:
        return not isinstance(self.claims.release(NAME, self.me), Refused)


class TheirFighter(Fighter):
    """Its session is started by others, with the binary."""

    def __init__(self, ring: Ring, slot: int, session: str) -> None:
        super().__init__(ring, slot, session)
        self.party = Theirs(ring.data_dir, ring.rust)

    def claim(self) -> bool:
        said = self.party.run("claim", NAME, "--session", self.session)
        if said.code == 0:
            return True
        if "held by live session" in said.err:
            self.count("refusals")
        else:
            self.stumble(said)
        return False

    def is_mine(self) -> bool:
        return shown(self.ring.data_dir, NAME) == self.session

    def release(self) -> bool:
        said = self.party.run("unclaim", NAME, "--session", self.session)
        if said.code and "held by another live session" not in said.err:
            self.stumble(said)
            return True
        return said.code == 0

    def stumble(self, said: Said) -> None:
        """It gives up after eight attempts; and 0.14.0 does not expect that another removes what it removes."""
        if "contention" in said.err or "No such file or directory" in said.err:
            self.count("contended")
        else:
            self.accuse("failed", said=said)


def stuck(ring: Ring) -> list[str]:
    """All are dead, or have let go. What either says who does not get the claim at once."""
    found: list[str] = []
    for number, party in enumerate((Ours(ring.data_dir), Theirs(ring.data_dir, ring.rust), Ours(ring.data_dir))):
        session = f"last-{number}"
        party.start(session)
        said = party.claim(NAME, session)
        if said != WON or party.unclaim(NAME, session) == REFUSED:
            found.append(f"stuck: {party.name}: {said}")
        party.kill(session)
    return found


def report(ring: Ring, options: dict[str, object], ours: int, theirs: int, **more: int) -> dict[str, object]:
    """What happened, in one line: what either side did, then the violations."""
    found: dict[str, object] = {"version": ring.rust.version, **options, **more}
    for side, slots in (("ours", range(ours)), ("theirs", range(ours, ours + theirs))):
        found |= {f"{side} {field}": ring.total(slots, field) for field in COUNTERS[:4]}
    return found | {field: ring.total(range(ring.slots), field) for field in (*COUNTERS[4:], *VIOLATIONS)}
