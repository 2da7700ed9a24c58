"""Claims in etcd, of version 3.4 or later, by its JSON gateway.

Guarantees: what is confirmed is on the disks of most members, so no crash, restart or election loses it. A number is the
version of its key, which etcd counts: one transaction compares and publishes it. Reads are linearizable: a member that most
others cannot reach says nothing.
Signs of life are leases, by clocks that nobody can set. It is not `steady` for all that: see `beats`.
Does not guarantee: anything once keys of the prefix are deleted by hand, or its data come back from a backup: numbers begin
anew then. And of a late request all that `deadlines` says.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator

from looop_portable.backends.engine import (
    BEAT,
    CLAIM,
    NOTHING,
    SESSION,
    Engine,
    Fact,
    Heard,
    Known,
    Look,
    Record,
    Ring,
    Step,
    Told,
    surveyed,
    word_in,
)
from looop_portable.errors import Unavailable
from looop_portable.protocol.codec import text_to_be
from looop_portable.system.clock import elapsed
from looop_portable_etcd.address import Address
from looop_portable_etcd.beats import Beats
from looop_portable_etcd.deadlines import Deadlines
from looop_portable_etcd.facts import facts
from looop_portable_etcd.gateway import Gateway
from looop_portable_etcd.watching import Watches
from looop_portable_etcd.wire import Call, Json

__all__ = ["EtcdEngine"]

_MOST = 1000
_A_TRANSACTION, _A_TRIP = 40, 120
"""Words. A transaction has at most 128 operations. What is sent before an answer is read is to fit into buffers."""
_TRIES = 3


class EtcdEngine(Engine):
    """Trips: each method one, as a rule. `look` two where the holder is another than at the last look, or at the first.
    `survey` one more for each 120 holders.

    `advance` two where this process has published nothing for 2 s, and read nothing since: see `deadlines`.
    """

    tells_sessions = True

    def __init__(self, address: Address) -> None:
        self.where = address.where
        self.gateway = Gateway(address)
        self._prefix = address.prefix
        self._deadlines = Deadlines(self.gateway)
        self._beats = Beats(self.where, self._prefix, self._deadlines)
        self._watches = Watches(self.gateway)
        self._holders: dict[str, str] = {}

    def read(self, kind: str, key: str) -> Record:
        (found,) = self._deadlines.ask(self._range(kind, key), prepare=kind in (CLAIM, SESSION))
        return _record(found)

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        name = self._key(kind, key)
        put = {"request_put": {"key": name, "value": b64encode(data).decode()}}
        number = {"key": name, "target": "VERSION", "result": "EQUAL", "version": str(after)}
        stands = {"request_range": {"key": name}}
        session = text_to_be(data, "word").partition("/")[0] if kind == CLAIM else ""
        told = [{"request_range": {"key": self._key(SESSION, session)}}] if session else []
        for _ in range(_TRIES):
            if elapsed() >= not_after:
                return Step(False, self.read(kind, key))
            found = self._deadlines.transact([number], [put, *told], [stands], not_after)
            if found and found.get("succeeded"):
                new = Record(after + 1, data)
                return Told(new, _record(found["responses"][1]["response_range"])) if told else Step(True, new)
            if found:
                return Step(False, _record(found["responses"][0]["response_range"]))
        raise Unavailable(
            f"{self.where}: each request came later than etcd keeps a lease: it is overloaded, or stops at times"
        )

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        root = f"{self._prefix}/{kind}/"
        end = (root + prefix).encode()
        end = end[:-1] + bytes([end[-1] + 1])
        first = max((root + prefix).encode(), (root + start).encode() + b"\0") if start else (root + prefix).encode()
        body = {"key": _text(first), "range_end": _text(end), "limit": str(limit)}
        (found,) = self._deadlines.ask(Call("/v3/kv/range", body))
        cut = len(root.encode())
        return [(b64decode(each["key"])[cut:].decode(), _record_of(each)) for each in found.get("kvs", ())]

    def forget(self, kind: str, key: str) -> None:
        gone = self._beats.forget(key) if kind == BEAT else [Call("/v3/kv/deleterange", {"key": self._key(kind, key)})]
        self._deadlines.ask(*gone)

    def beat(self, word: str, lease: float) -> None:
        self._beats.beat(word, lease)

    def heard(self, word: str) -> Heard | None:
        return self._beats.heard(word)

    def look(self, key: str) -> Look:
        """The holder of the last look is asked for as well, in the same trip."""
        end, expected, name = self._deadlines.end(), self._holders.get(key, ""), self._key(CLAIM, key)
        if expected:
            answers = self._deadlines.ask(*self._of(expected, name), prepare=True, end=end)
            claim = answers[0]["responses"][0]["response_range"]
        else:
            (claim,) = self._deadlines.ask(self._range(CLAIM, key), prepare=True, end=end)
        found = _record(claim)
        word = word_in(found.data)
        if not word:
            return Look(found)
        if word != expected:
            answers = self._deadlines.ask(*self._of(word), end=end)
            if len(self._holders) >= _MOST:
                self._holders.clear()
            self._holders[key] = word
        session = answers[0]["responses"][-3]["response_range"]
        return Look(found, _record(session), self._beats.heard(word, answers))

    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        """One trip for the page, and then one for each 120 words that its data name, and that nothing is known of."""
        page = self.scan(kind, "", start, limit)
        words, known = [word_in(record.data) for _, record in page], {} if known is None else known
        for some in _parts([word for word in dict.fromkeys(words) if word and word not in known], _A_TRIP):
            known.update({word: (session, heard) for word, session, heard in self._known(some)})
        return surveyed(kind, page, words, known)

    def report(self, key: str, word: str, lease: float) -> Record:
        (found,) = self._beats.beat(word, lease, self._range(SESSION, key))
        return _record(found)

    def verify(self) -> list[Fact]:
        return facts(self.gateway)

    def subscribe(self, kind: str, key: str, ring: Ring) -> Callable[[], None]:
        """One connection for each key that somebody here wants to know of, beside the three."""
        return self._watches.subscribe(self._key(kind, key), ring)

    def close(self) -> None:
        self._watches.close()
        self.gateway.close()

    def _of(self, word: str, *before: str) -> tuple[Call, ...]:
        """What asks for the keys `before`, the registration and the beat of a word."""
        session = self._key(SESSION, word.partition("/")[0])
        return Beats.listening(self._beats.named(word), *before, session)

    def _known(self, words: list[str]) -> Iterator[tuple[str, Record, Heard | None]]:
        """The registration and the beat of each word, in one trip: the keys of many are one transaction."""
        parts = list(_parts(words, _A_TRANSACTION))
        answers = iter(self._deadlines.ask(*(call for some in parts for call in self._asking(some))))
        for some in parts:
            ranges, leases, after = next(answers)["responses"], [next(answers) for _ in some], next(answers)
            for at, word in enumerate(some):
                session, *keys = ranges[3 * at : 3 * at + 3]
                heard = self._beats.heard(word, [{"responses": keys}, leases[at], after])
                yield word, _record(session["response_range"]), heard

    def _asking(self, words: list[str]) -> Iterator[Call]:
        """As for one word, its keys come before its lease: see `Beats.listening`."""
        asked = [
            (self._range(SESSION, word.partition("/")[0]), *Beats.listening(self._beats.named(word))) for word in words
        ]
        ranges = [{"request_range": session.body} for session, *_ in asked]
        keys = [[ranges[at], *(keys.body or {})["success"]] for at, (_, keys, *_) in enumerate(asked)]
        yield Call("/v3/kv/txn", {"success": [each for some in keys for each in some]})
        yield from (lease for _, _, lease, _ in asked)
        yield asked[-1][-1]

    def _range(self, kind: str, key: str) -> Call:
        return Call("/v3/kv/range", {"key": self._key(kind, key)})

    def _key(self, kind: str, key: str) -> str:
        return _text(f"{self._prefix}/{kind}/{key}".encode())


def _parts(words: list[str], size: int) -> Iterator[list[str]]:
    return (words[at : at + size] for at in range(0, len(words), size))


def _text(key: bytes) -> str:
    return b64encode(key).decode()


def _record(found: Json) -> Record:
    kvs = found.get("kvs")
    return _record_of(kvs[0]) if kvs else NOTHING


def _record_of(pair: Json) -> Record:
    return Record(int(pair["version"]), b64decode(pair.get("value", "")))
