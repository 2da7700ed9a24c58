"""Signs of life: each word has a lease of etcd's, which its beats renew, and two keys.

The key `beat` has for how many seconds the lease was granted, and a nonce that each beat renews; it outlives the lease.
The key `lease` is attached to the lease, and goes with it. What outlives it is attached to another lease, of a week and
more: so all of it ends by itself, once nobody has said the word for so long.

Guarantees: what is heard is not older than the truth, while etcd ends no lease too early: it counts whole seconds, of which
the last is left out, by a clock that nobody can set; and whoever leads the cluster anew gives each lease its time again.
Does not guarantee: that etcd ends none too early. A leader that was stopped, or waited for its disk, while another was
elected ends those that it has not seen renewed (etcd#12528, #15247; since 3.4.31 and 3.5.13 that is rare). So the engine is
not `steady`, and a silence is watched before it is believed: the holder's next beat makes the lease anew, and is seen.
Nor how long a word has been silent, once its lease has ended: for the seconds of that at least.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from looop_portable.backends.engine import Heard, kept
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable.system.opening.nonces import nonce
from looop_portable_etcd.deadlines import Deadlines
from looop_portable_etcd.wire import Call, Json

__all__ = ["Beats", "Said"]

_SHORTEST, _LONGEST = 2, 8_000_000_000
"""Seconds: what etcd takes for a lease."""

Ask = Callable[..., list[Json]]

_MOST = 10_000
_TRIES = 3


class Said(NamedTuple):
    """A word, and what etcd calls it."""

    word: str
    lease: str
    keeper: str
    beat: str
    attached: str


class _Granted(NamedTuple):
    """For how many seconds the lease of a word was granted, and when the one that keeps its beat is to be renewed."""

    ttl: int
    renew: float


class Beats:
    """The words of one prefix."""

    def __init__(self, where: str, prefix: str, deadlines: Deadlines) -> None:
        self._where = where
        self._prefix = prefix
        self._deadlines = deadlines
        self._granted: dict[str, _Granted] = {}

    def named(self, word: str) -> Said:
        """The leases' ids are made of the word, so that whoever knows that can renew them, and look after them."""
        ids = (blake2b(f"{self._prefix}\0{word}".encode(), digest_size=8, person=use).digest() for use in (b"", b"keeper"))
        lease, keeper = (str((int.from_bytes(each, "big") >> 1) or 1) for each in ids)
        return Said(word, lease, keeper, self._key("beat", word), self._key("lease", word))

    def beat(self, word: str, lease: float, *more: Call) -> list[Json]:
        """One trip, as a rule. A second one where somebody else has begun with this word, or where the lease had ended.

        What `more` has found, on the way.
        """
        ask = self._within()
        said, ttl = self.named(word), min(max(math.ceil(lease * 4 / 3 - 1e-9), _SHORTEST), _LONGEST)
        known = self._granted.pop(word, None)
        if known is None or known.ttl < ttl:
            granted, *_, made = (found := ask(_grant(said.lease, ttl), *_keep(said, ttl), self._made(said, ttl), *more))[:4]
            if "code" in granted:
                self._join(ask, said, ttl)
            elif not made.get("succeeded"):  # It had ended.
                self._is_put(ask(self._put(said, ttl)))
            known = _Granted(ttl, elapsed() + _keeping(ttl) / 4)
        else:
            ttl, renew = known
            put = _transaction(_put(said.beat, _value(ttl), said.keeper))
            renewed = [_renew(said.keeper)] if elapsed() >= renew else []
            alive, given, *found = ask(_renew(said.lease), put, *renewed, *more)
            left = _left(alive)
            if "code" in given:  # The lease that keeps it had ended.
                return self.beat(word, lease, *more)
            if left < 1:
                self._is_put(ask(_grant(said.lease, ttl), self._put(said, ttl)))
            elif left < ttl:
                self._replace(ask, said, ttl)
            if renewed:
                known = _Granted(ttl, elapsed() + _keeping(ttl) / 4)
        if len(self._granted) >= _MOST:
            self._granted.clear()
        self._granted[word] = known
        return found[len(found) - len(more) :]

    def forget(self, word: str) -> tuple[Call, Call]:
        self._granted.pop(word, None)
        said = self.named(word)
        deleted = [{"request_delete_range": {"key": key}} for key in (said.beat, said.attached)]
        return Call("/v3/kv/txn", {"success": deleted}), Call("/v3/lease/revoke", {"ID": said.keeper})

    def heard(self, word: str, found: list[Json] | None = None) -> Heard | None:
        """`found`: what the `listening` calls have found already."""
        ask, said = self._within(), self.named(word)
        for _ in range(_TRIES):
            keys, lease, after = ask(*self.listening(said)) if found is None else found
            found = None
            beat, attached = (each["response_range"].get("kvs") for each in keys["responses"][-2:])
            if not beat:
                return None
            if lease["header"].get("raft_term") != after["header"].get("raft_term"):
                continue  # Whoever led the cluster and answered for its leases may not have led it any more.
            value = json.loads(b64decode(beat[0]["value"]))
            if "grantedTTL" in lease:
                seconds = int(lease["grantedTTL"]) - int(lease.get("TTL", 0)) - 1
                return Heard(float(max(seconds, 0)), str(value["nonce"]))
            if not attached:
                return Heard(float(value["ttl"]), str(value["nonce"])) if value["ttl"] else None
        raise Unavailable(f"{self._where}: its members do not agree yet who leads them: try again")

    @staticmethod
    def listening(said: Said, *before: str) -> tuple[Call, Call, Call]:
        """The name of the beat, then what is left of the lease. The last shows whether the leader has said that.

        `before`: keys that are read with the name, all at once; each request costs the gateway as much as a transition.
        """
        keys = [{"request_range": {"key": key}} for key in (*before, said.beat, said.attached)]
        after = Call("/v3/kv/range", {"key": said.beat, "count_only": True})
        return Call("/v3/kv/txn", {"success": keys}), Call("/v3/lease/timetolive", {"ID": said.lease}), after

    def _join(self, ask: Ask, said: Said, ttl: int) -> None:
        """Somebody else has begun with the word, or has a lease of this number for something else."""
        (found,) = ask(Call("/v3/lease/timetolive", {"ID": said.lease, "keys": True}))
        if any(key != said.attached for key in found.get("keys", ())):
            raise Unavailable(
                f"{self._where}: the lease {int(said.lease):x} is used by another program: wait until it has ended"
            )
        if int(found.get("grantedTTL", 0)) < ttl:
            self._replace(ask, said, ttl)
        else:
            self._is_put(ask(_renew(said.lease), self._put(said, ttl)))

    def _replace(self, ask: Ask, said: Said, ttl: int) -> None:
        """A lease of this word was granted for less. Meanwhile nothing is heard that could seem too old."""
        nothing = _transaction(_put(said.beat, _value(0)))
        ended = [Call("/v3/lease/revoke", {"ID": each}) for each in (said.lease, said.keeper)]
        self._is_put(ask(nothing, *ended, _grant(said.lease, ttl), *_keep(said, ttl), self._put(said, ttl)))

    def _is_put(self, answers: list[Json]) -> None:
        """The last of them. It is not where the lease has ended since."""
        if "code" in answers[-1]:
            raise Unavailable(f"{self._where}: the lease of a sign of life has ended while that was given: try again")

    def _within(self) -> Ask:
        """What asks, for as long as one call may take."""
        return partial(self._deadlines.ask, end=self._deadlines.end())

    def _put(self, said: Said, ttl: int) -> Call:
        return _transaction(_put(said.beat, _value(ttl), said.keeper), _put(said.attached, "", said.lease))

    def _made(self, said: Said, ttl: int) -> Call:
        call = self._put(said, ttl)
        assert call.body
        call.body["compare"] = [{"key": said.beat, "target": "VERSION", "result": "EQUAL", "version": "0"}]
        return call

    def _key(self, kind: str, word: str) -> str:
        return b64encode(f"{self._prefix}/{kind}/{word}".encode()).decode()


def _value(ttl: int) -> str:
    return b64encode(json.dumps({"ttl": ttl, "nonce": nonce()}).encode()).decode()


def _put(key: str, value: str, lease: str = "0") -> Json:
    return {"request_put": {"key": key, "value": value, "lease": lease}}


def _transaction(*done: Json) -> Call:
    return Call("/v3/kv/txn", {"success": list(done)})


def _grant(lease: str, ttl: int) -> Call:
    return Call("/v3/lease/grant", {"ID": lease, "TTL": str(ttl)})


def _renew(lease: str) -> Call:
    return Call("/v3/lease/keepalive", {"ID": lease})


def _keep(said: Said, ttl: int) -> tuple[Call, Call]:
    """The lease that keeps its beat, as of now: a new one, or the one that is there."""
    return _grant(said.keeper, _keeping(ttl)), _renew(said.keeper)


def _keeping(ttl: int) -> int:
    return min(math.ceil(kept(ttl)), _LONGEST)


def _left(renewed: Json) -> int:
    """Seconds that a lease was renewed for; 0: it has ended."""
    result = renewed.get("result", renewed)
    return int(result.get("TTL", 0))
