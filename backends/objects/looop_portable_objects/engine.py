"""Claims in a bucket: an engine whose records are objects, for whoever has neither a server nor a database.

Guarantees: of all who advance from one number one wins, if the store keeps its word on `If-None-Match` and `If-Match`. Not
all do: `verify` races on it. Objects of claims and sessions are replaced, and deleted by `forget` alone.

What a late request does: an object store compares no deadline. A PUT that a network, a proxy or a stopped server held back
is written, if nothing has changed since: `If-Match` and `If-None-Match` bound it to that. So each object names its deadline
by the store's clock, and has what was there before it. Who reads one that the store has stamped later reads what was there
before, number and data: all readers agree, as neither ever changes. Its writer reads the stamp too, before it believes to
hold anything: one request more, which nothing else can replace, as the clock may have been set meanwhile.

Does not guarantee, hence:
- the deadline of the first record that a process writes, where this host's clock is ahead of the store's: until then it is
  the only guess. Nor any deadline while the store's clock is set back. What came late counts then, as of one who waited.
- anything where somebody deletes objects (a rule of the bucket's life cycle, say), restores old ones, or copies them.
- that a beat or a `forget` that comes late does nothing. It makes a silence shorter, or an object that nobody reads.
- a quick answer in a crowd: Google takes one write a second to one object, and asks for patience: until the deadline.

Round trips: read 1; advance 1, for a holder 2, 2 when lost; look 1 to 3; heard 1, and 2 more where it seems silent; beat 1;
forget 1; scan 1 a thousand and 1 for each record that this process does not know yet, eight at a time; survey that, and 2
for each holder, eight at a time; report 2.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from looop_portable.backends.engine import (
    BEAT,
    CLAIM,
    NOTHING,
    SESSION,
    TICKET,
    Engine,
    Fact,
    Heard,
    Known,
    Look,
    Record,
    Step,
    Unheard,
    surveyed,
    word_in,
)
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable.system.opening.nonces import nonce
from looop_portable_objects.bucket import Bucket
from looop_portable_objects.client import NOTHING_THERE, Found, Refused, Version
from looop_portable_objects.clock import StoreClock
from looop_portable_objects.place import Place
from looop_portable_objects.spelling import key_in, spelled
from looop_portable_objects.written import is_late, record_in, written

__all__ = ["ObjectEngine"]

_AT_ONCE = 8
_MOST = 10_000
_LARGEST = 1 << 12
_EARLY = 3.0
_FIRST_PAUSE = 0.02
_PROBES = 16

_T = TypeVar("_T")
_R = TypeVar("_R")


class _Standing(NamedTuple):
    """A record, and the version of the object that holds it: what an advance from it has to name."""

    record: Record
    version: Version


_NOBODY = _Standing(NOTHING, NOTHING_THERE)


class ObjectEngine(Engine):
    """The bucket at `place`. What was read is remembered for the next advance: one from an old version changes nothing."""

    has_lines = False

    def __init__(self, place: Place) -> None:
        self.where = place.where
        self.bucket = Bucket(place)
        self._prefix = place.prefix
        self._clock = StoreClock()
        self._standing: dict[str, _Standing] = {}

    def read(self, kind: str, key: str) -> Record:
        return self._read(self._name(kind, key)).record

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        """After each refusal it is read what stands: it may be one's own, and the store may have meant "try again"."""
        name, new = self._name(kind, key), Record(after + 1, data)
        stands = self._standing.get(name)
        if stands is None or stands.record.number != after or elapsed() >= not_after:
            stands = self._read(name)
        pause = 0.0
        while stands.record.number == after and elapsed() + pause < not_after:
            if pause:
                time.sleep(pause)
            if self._publishes(kind, name, stands, new, not_after):
                return Step(True, new)
            stands = self._read(name)
            pause = 2 * pause or _FIRST_PAUSE
        return Step(stands.record == new, stands.record)

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        """By the names of the objects, as the store lists them."""
        found: list[tuple[str, Record]] = []
        after = self._name(kind, start) if start else ""
        while len(found) < limit:
            page = self.bucket.names(f"{self._prefix}{kind}", after, limit)
            known = ((self._key(kind, name), name, version) for name, version in page)
            wanted = [(key, name, version) for key, name, version in known if key is not None and key.startswith(prefix)]
            records = self._records((name, version) for _, name, version in wanted)
            found += [(key, record) for (key, *_), record in zip(wanted, records, strict=True) if record.number]
            if len(page) < limit:
                break
            after = page[-1][0]
        return found[:limit]

    def forget(self, kind: str, key: str) -> None:
        name = self._name(kind, key)
        self._standing.pop(name, None)
        self.bucket.delete(name)

    def beat(self, word: str, lease: float) -> None:
        self.bucket.put(self._name(BEAT, word), json.dumps({"looop": 1, "beat": nonce(), "lease": lease}).encode())

    def heard(self, word: str) -> Heard | None:
        """What seems silent is judged by the store's clock as it is now: the last answer of that may be old."""
        found = self.bucket.get(self._name(BEAT, word))
        if found is None:
            return None
        self._clock.note(found.stamp)
        beat, lease = self._beat_in(found)
        if self._clock.now() - found.stamp > (lease if self._clock.was_asked else lease / 2):
            self.ask_clock()
        return Heard(max(self._clock.now() - found.stamp - 1.0, 0.0), beat)

    def look(self, key: str) -> Look:
        """The beat is a request of its own: whoever looks at what is its own, or at who has ended, does without it."""
        claim = self.read(CLAIM, key)
        if not (word := word_in(claim.data)):
            return Look(claim)
        return Unheard(claim, self.read(SESSION, word.partition("/")[0]), lambda: self.heard(word))

    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        """What is asked of each holder is asked of eight at a time, the registrations first."""
        page = self.scan(kind, "", start, limit)
        words, known = [word_in(record.data) for _, record in page], {} if known is None else known
        asked = [word for word in dict.fromkeys(words) if word and word not in known]
        keys = list(dict.fromkeys(word.partition("/")[0] for word in asked)) if kind == CLAIM else []
        sessions = dict(zip(keys, _each(lambda key: self.read(SESSION, key), keys), strict=True))
        for word, heard in zip(asked, _each(self.heard, asked), strict=True):
            known[word] = sessions.get(word.partition("/")[0], NOTHING), heard
        return surveyed(kind, page, words, known)

    def verify(self) -> list[Fact]:
        from looop_portable_objects.verify import facts

        return facts(self.bucket, self.ask_clock)

    def close(self) -> None:
        self.bucket.close()

    def ask_clock(self) -> float:
        """By an object of one's own, and its stamp. Nobody reads what is in it: there are a few of them, for all."""
        name = f"{self._prefix}clock/{random.randrange(_PROBES)}"  # noqa: S311 (that not all write to one)
        self.bucket.put(name, nonce().encode())
        found = self.bucket.stamp(name)
        if found is None:
            raise Unavailable(f"{self.where}: an object was written, and is not there: {name}")
        self._clock.ask(found.stamp)
        return found.stamp

    def _publishes(self, kind: str, name: str, stands: _Standing, new: Record, not_after: float) -> bool:
        deadline = round(self._clock.at(not_after), 3)
        try:
            version = self.bucket.put(name, written(new, stands.record, deadline, nonce()), stands.version, until=not_after)
        except Refused:
            return False
        if not self._is_seldom_wrong(kind, new, not_after) and not self._came_in_time(name, deadline):
            return False
        self._keep(name, _Standing(new, version))
        return True

    def _is_seldom_wrong(self, kind: str, new: Record, not_after: float) -> bool:
        """Whether it may be believed without a look that it came in time.

        It fails if the store's clock was set since it was asked. As nobody holds by it, a claim stays held then, until its
        session ends.
        """
        held = kind != TICKET and (kind != CLAIM or word_in(new.data))
        return not held and self._clock.was_asked and elapsed() < not_after - _EARLY

    def _came_in_time(self, name: str, deadline: float) -> bool:
        """By its stamp, or by that of who went on from it already: that one came later. One that is gone haunts nobody."""
        found = self.bucket.stamp(name)
        if found is None:
            return True
        if is_late(found.stamp, deadline):
            self._clock.ask(found.stamp)
            return False
        self._clock.answer(found.stamp)
        return True

    def _read(self, name: str) -> _Standing:
        found = self.bucket.get(name)
        if found is None:
            return self._keep(name, _NOBODY)
        try:
            stands = _Standing(record_in(found.data, found.stamp), found.version)
        except (ValueError, KeyError, TypeError):
            raise Unavailable(f"{self.where}: the object {name} is no record: somebody else has written it") from None
        self._clock.note(found.stamp)
        return self._keep(name, stands)

    def _records(self, objects: Iterable[tuple[str, Version]]) -> list[Record]:
        """What stands in each. One that is gone meanwhile has the number 0."""

        def known(each: tuple[str, Version]) -> Record:
            stands = self._standing.get(each[0])
            return stands.record if stands and _is_same(stands.version, each[1]) else self._read(each[0]).record

        return _each(known, list(objects))

    def _keep(self, name: str, stands: _Standing) -> _Standing:
        if len(stands.record.data) <= _LARGEST:
            if len(self._standing) >= _MOST:
                self._standing.clear()
            self._standing[name] = stands
        return stands

    def _beat_in(self, found: Found) -> tuple[str, float]:
        try:
            said = json.loads(found.data)
            return str(said["beat"])[:100], float(said["lease"])
        except (ValueError, KeyError, TypeError):
            raise Unavailable(f"{self.where}: a heartbeat there is none: somebody else has written it") from None

    def _name(self, kind: str, key: str) -> str:
        return f"{self._prefix}{kind}/{spelled(key)}"

    def _key(self, kind: str, name: str) -> str | None:
        return key_in(name.removeprefix(f"{self._prefix}{kind}/"))


def _each(ask: Callable[[_T], _R], wanted: list[_T]) -> list[_R]:
    """What is found of each, some at a time. Raises the first failure: one silence is waited for, and not a thousand."""
    failures: list[Unavailable] = []

    def asked(each: _T) -> _R:
        if failures:
            raise failures[0]
        try:
            return ask(each)
        except Unavailable as error:
            failures.append(error)
            raise

    if len(wanted) <= 1:
        return list(map(asked, wanted))
    try:
        with ThreadPoolExecutor(min(_AT_ONCE, len(wanted))) as pool:
            return list(pool.map(asked, wanted))
    except RuntimeError:  # Python ends, and starts no threads any more.
        return list(map(asked, wanted))


def _is_same(one: Version, other: Version) -> bool:
    """Lists say one and the same tag without quotes, and no version."""
    return one.get("e_tag", "").strip('"') == other.get("e_tag", "").strip('"') != ""
