"""What there is to be known of a bucket: whether one alone wins there, what deletes objects, what it keeps, and its clock.

Guarantees: nothing is changed that others read: what is written has names that are no key's, and is removed.
Does not guarantee: that a store which let one alone win in every round always will. What a store does not tell is a fact.
"""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.message import Message

from looop_portable.backends.engine import CLAIM, Fact
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable.system.opening.nonces import nonce
from looop_portable_objects.bucket import Bucket
from looop_portable_objects.client import NOTHING_THERE, Refused, Version

__all__ = ["facts"]

THREADS = 8
ROUNDS = 50
_LONGEST = 60.0
_PATIENCE = 1.0
_NEAR = 2.0


def facts(bucket: Bucket, ask_clock: Callable[[], float]) -> list[Fact]:
    """`ask_clock` tells the second that it is by the store's clock."""
    clock = _clock(ask_clock())  # What does not answer is found out here, before there is anything to be removed.
    with _probes(bucket) as probe:
        name = next(probe)
        version = bucket.put(name, b"looop doctor")
        heads = _heads(bucket, name)
        return [
            Fact("server", _server(heads)),
            clock,
            _versions(version),
            _life_cycle(heads, f"{bucket.place.prefix}claim/"),
            _turns(bucket, next(probe)),
            _race(bucket, probe),
        ]


@contextmanager
def _probes(bucket: Bucket) -> Iterator[Iterator[str]]:
    """Names beside those of claims, for the same rules hold there; no key is spelled so. None of them stays."""
    given: list[str] = []
    place = f"{bucket.place.prefix}{CLAIM}/=0/{nonce()}"

    def names() -> Iterator[str]:
        while True:
            given.append(f"{place}/{len(given)}")
            yield given[-1]

    def remove(name: str) -> None:
        with suppress(Unavailable):
            bucket.delete(name)

    try:
        yield names()
    finally:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(remove, given))


def _heads(bucket: Bucket, name: str) -> Message | None:
    """What the store says beside an object, which the client does not hand on. None: it cannot be asked here."""
    try:
        request = urllib.request.Request(bucket.link(name), method="HEAD")  # noqa: S310 (the client has made it)
        with urllib.request.urlopen(request, timeout=bucket.place.seconds) as answer:  # noqa: S310
            heads: Message = answer.headers
            return heads
    except (Unavailable, urllib.error.URLError, OSError, ValueError):
        return None


def _server(heads: Message | None) -> str:
    said = "" if heads is None else " ".join(heads.get("Server", "").split())
    return said[:100] or "it does not say what it is"


def _clock(stamp: float) -> Fact:
    """The stamp is of some moment in its second, a request ago."""
    ahead = time.time() - stamp - 0.5
    if abs(ahead) <= _NEAR:
        return Fact("clock", f"this host's is that of the store, to {_NEAR:g} s")
    found = f"this host's is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the store's"
    advice = "set this host's clock (NTP): by more than 15 minutes most stores refuse it"
    if ahead > 0:
        advice += "; until a process has asked the store's, its first request may count for so long after its deadline"
    return Fact("clock", found, advice=advice)


def _versions(version: Version) -> Fact:
    if "version" not in version:
        return Fact("versions", "old versions of objects are not kept, or the store does not say so")
    advice = "let a rule delete noncurrent versions after a day: each heartbeat leaves one"
    return Fact("versions", "each change keeps the old version of an object, and each costs", advice=advice)


def _life_cycle(heads: Message | None, place: str) -> Fact:
    rule = " ".join((heads.get("x-amz-expiration") or "").split())[:120] if heads is not None else ""
    if rule:
        advice = (
            f"take {place} and session/ beside it out of the rule: a claim that it deletes begins at generation 1 again"
        )
        return Fact("life cycle", f"a rule of the bucket deletes claims: {rule}", excludes=False, advice=advice)
    advice = f"see that no rule of the bucket deletes anything below {place} or session/ beside it"
    told = "the store's rules cannot be read here" if heads is None else "the store tells of no rule that deletes claims"
    return Fact("life cycle", told, advice=advice)


def _turns(bucket: Bucket, name: str) -> Fact:
    """One after another: what is there is not created, and what has changed is not replaced."""
    first = bucket.put(name, b"1", NOTHING_THERE)
    wrong = [
        what for what, version in (("create", NOTHING_THERE), ("replace", first)) if _second_wins(bucket, name, version)
    ]
    if wrong:
        advice = "use a store that keeps If-None-Match and If-Match: here nothing is exclusive"
        return Fact("conditions", f"ignored: {' and '.join(wrong)} win where they must not", excludes=False, advice=advice)
    return Fact("conditions", "kept, one request after another")


def _second_wins(bucket: Bucket, name: str, version: Version) -> bool:
    if version is not NOTHING_THERE:
        bucket.put(name, b"2", version)
    return _wins(bucket, name, b"3", version)


def _race(bucket: Bucket, probe: Iterator[str]) -> Fact:
    """All at once, and again and again: a store may compare first, and write then."""
    end, rounds, doubled = elapsed() + _LONGEST, 0, {"create": 0, "replace": 0}
    with ThreadPoolExecutor(THREADS) as pool:
        while rounds < ROUNDS and elapsed() < end:
            name = next(probe)
            doubled["create"] += _several_win(bucket, pool, name, NOTHING_THERE)
            doubled["replace"] += _several_win(bucket, pool, name, bucket.put(name, b"looop doctor"))
            rounds += 1
    held = f"{THREADS} at once, {rounds} times"
    if not any(doubled.values()):
        return Fact("race", f"{held}: never two that create an object, or replace it, win")
    found = ", ".join(f"{count} times two that {what}" for what, count in doubled.items() if count)
    advice = "use another store: this one compares and writes in two steps, so here nothing is exclusive"
    return Fact("race", f"{held}: {found} an object win", excludes=False, advice=advice)


def _several_win(bucket: Bucket, pool: ThreadPoolExecutor, name: str, version: Version) -> bool:
    """Or: one wins, and what is there then is another's."""
    line = threading.Barrier(THREADS, timeout=10)

    def tries(number: int) -> bool:
        with suppress(threading.BrokenBarrierError):
            line.wait()
        return _wins(bucket, name, b"%d" % number, version)

    won = [number for number, each in enumerate(pool.map(tries, range(THREADS))) if each]
    if len(won) != 1:
        return len(won) > 1
    found = bucket.get(name)
    return found is not None and found.data != b"%d" % won[0]


def _wins(bucket: Bucket, name: str, data: bytes, version: Version) -> bool:
    """A request without an answer has not won, as far as anybody knows."""
    with suppress(Refused, Unavailable):
        bucket.put(name, data, version, until=elapsed() + _PATIENCE)
        return True
    return False
