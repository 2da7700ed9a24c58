"""Until when etcd may begin what it is asked: a lease of some seconds, which is renewed right before the transaction.

etcd compares keys, and no times: but it ends leases, and a key that is attached to one goes with it. A transaction here
changes nothing once such a key is gone. That alone is not enough. etcd looks each half a second for what is over, and one
that was stopped begins at once with what is in its queue: two of five such requests were done late. So the lease is
renewed first, in the same trip: etcd lets a renewal that comes too late wait until the key is gone, and only then refuses
it. Of 720 such requests none was done late (3.4.23 and 3.7.3).

Guarantees: what a member begins after the deadline changes nothing. And what no answer came to is never done once this
process has reached etcd again: it ends the lease first.
Does not guarantee: the first of these where the cluster elects a leader, who gives each lease its time again, while a
member keeps the request back for longer than the lease; nor where one is stopped between the renewal and the transaction.
How: a lease belongs to one transaction at a time. Otherwise one that is held up could live by the renewals of others.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from looop_portable.errors import CannotExclude, Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_etcd.gateway import NOT_FOUND, Gateway
from looop_portable_etcd.wire import Call, Json

__all__ = ["Deadline", "Deadlines"]

TTL = 3
"""Seconds, whole ones."""

_SHORTEST = 2
"""Where less time is left. etcd's shortest by default: 3/2 of its election timeout, rounded up."""

_ON_THE_WAY = 1.0
"""Seconds that are left of a lease which is used once more."""


class Deadline(NamedTuple):
    """`key` is there for as long as a transaction may begin. `fresh`: until when it is used; `over`: when it has ended."""

    lease: str
    key: str
    ttl: int
    fresh: float
    over: float


class Deadlines:
    """Those of this process. Any thread may ask."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._burnt: deque[str] = deque()
        self._begin()

    def _begin(self) -> None:
        self._free: deque[Deadline] = deque()
        self._wanted = True
        self._pid = os.getpid()

    def end(self) -> float:
        """When a call that begins now is given up, however many trips it takes."""
        return elapsed() + self._gateway.address.timeout

    def ask(self, *calls: Call, end: float = 0.0, prepare: bool = False) -> list[Json]:
        """What the calls find. Before them the leases end of what no answer came to.

        `prepare`: a transaction is likely to follow: a lease for it is made in the same trip, if there is none.
        """
        if self._pid != os.getpid():
            self._begin()  # The leases of a parent are its own.
        burnt = list(self._burnt)
        first = [Call("/v3/lease/revoke", {"ID": each}) for each in burnt]
        last = self._new(TTL) if prepare and self._wanted and not self._is_any_fresh() else ()
        began = elapsed()
        answers = self._gateway.ask(*first, *calls, *last, end=end, spare=len(last))
        for each, answer in zip(burnt, answers, strict=False):
            if answer.get("code", NOT_FOUND) == NOT_FOUND:
                with suppress(ValueError):
                    self._burnt.remove(each)
        if last and not any("code" in each for each in answers[-len(last) :]):
            self._wanted = False
            self._free.append(_made(last, answers[-len(last)], began))
        return answers[len(first) : len(answers) - len(last)]

    def transact(self, compare: list[Json], success: list[Json], failure: list[Json], not_after: float) -> Json | None:
        """What came of a transaction that is begun in time; None: it was not, so nothing was changed."""
        deadline = self._until(not_after)
        in_time = {"key": deadline.key, "target": "VERSION", "result": "GREATER", "version": "0"}
        is_left = {"request_range": {"key": deadline.key}}
        body = {"compare": [*compare, in_time], "success": success, "failure": [*failure, is_left]}
        began = elapsed()
        try:
            _, found = self.ask(
                Call("/v3/lease/keepalive", {"ID": deadline.lease}), Call("/v3/kv/txn", body), end=not_after
            )
        except BaseException:
            self._burnt.append(deadline.lease)
            raise
        if not found.get("succeeded") and not found["responses"][-1]["response_range"].get("kvs"):
            return None
        fresh, over = began + deadline.ttl - _ON_THE_WAY, elapsed() + deadline.ttl
        self._free.append(deadline._replace(fresh=fresh, over=over))
        return found

    def _until(self, not_after: float) -> Deadline:
        """One that has ended by then, and that nobody else uses. Raises `Unavailable` where that is too soon."""
        if self._pid != os.getpid():
            self._begin()
        self._wanted, found = True, None
        with suppress(IndexError):
            while found is None or elapsed() >= found.fresh:
                found = self._free.pop()
        if found is None or elapsed() >= found.fresh:
            found = self._grant(TTL, not_after)
        if found.over > not_after:
            self._free.append(found)
            found = self._grant(_SHORTEST, not_after)
        if found.over <= not_after:
            return found
        where = self._gateway.where
        if found.ttl > TTL + 1:
            raise CannotExclude(
                f"{where}: its leases last for {found.ttl} s at least, so a late request could not be refused: "
                "start its members with an --election-timeout of at most 2000 (ms)"
            )
        left = max(not_after - elapsed(), 0.0)
        raise Unavailable(f"{where}: only {left:.1f} s are left, of {found.ttl} that it needs: nothing was changed")

    def _is_any_fresh(self) -> bool:
        now = elapsed()
        return any(now < each.fresh for each in list(self._free))

    def _grant(self, ttl: int, end: float) -> Deadline:
        calls, began = self._new(ttl), elapsed()
        return _made(calls, self.ask(*calls, end=end)[0], began)

    def _new(self, ttl: int) -> tuple[Call, Call]:
        lease = str((int.from_bytes(os.urandom(8), "big") >> 2) + 1)
        key = b64encode(f"{self._gateway.address.prefix}/until/{lease}".encode()).decode()
        put = {"key": key, "value": "", "lease": lease}
        return Call("/v3/lease/grant", {"ID": lease, "TTL": str(ttl)}), Call("/v3/kv/put", put)


def _made(calls: tuple[Call, ...], granted: Json, began: float) -> Deadline:
    """It was granted after `began`, and by now."""
    put = calls[-1].body
    assert put
    ttl = int(granted.get("TTL", TTL))
    return Deadline(put["lease"], put["key"], ttl, began + ttl - _ON_THE_WAY, elapsed() + ttl)
