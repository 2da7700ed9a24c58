"""Until when etcd may begin what it is asked: a key that is there for some seconds, and that a transaction asks for.

etcd compares keys, and no times. But it ends leases, and a key that is attached to one goes with it. So each process has a
lease of some seconds, with a key; a transaction changes nothing once the key is gone.

Guarantees: what no answer came to is never done once this process has reached etcd again: it ends the lease first.
Until then it is not done later than its deadline, if etcd ends leases within `LAG` of their time.
Does not guarantee: that etcd does so. One that was stopped for longer, with the request in its queue, goes on with both at
once: it ends the lease, and begins the transaction. The lease has always been first where that was tried, and nothing in
etcd's rules has it so. Then the record stands, and whoever asks next is told.
"""

from __future__ import annotations

import secrets
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
"""Seconds, whole ones. etcd's shortest are 2, by default: 3/2 of its election timeout, rounded up."""

LAG = 1.0
"""Seconds by which etcd may be late to end a lease: it looks each 0.5 s."""

_ON_THE_WAY = 1.0
"""Seconds that are left of a lease which is used once more."""


class Deadline(NamedTuple):
    """`key` is there for as long as a transaction may begin. `fresh`: until when it is used; `over`: when it is gone."""

    lease: int
    key: str
    fresh: float
    over: float


class Deadlines:
    """Those of this process. Any thread may ask."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._now: Deadline | None = None
        self._burnt: deque[int] = deque()
        self._wanted = True

    def ask(self, *calls: Call, end: float = 0.0, prepare: bool = False) -> list[Json]:
        """What the calls find. Before them the leases end of what no answer came to.

        `prepare`: a transaction is likely to follow: a lease for it is made in the same trip, if there is none.
        """
        burnt = list(self._burnt)
        first = [Call("/v3/lease/revoke", {"ID": str(each)}) for each in burnt]
        last = self._new() if prepare and self._wanted and self._fresh() is None else ()
        began = elapsed()
        answers = self._gateway.ask(*first, *calls, *last, end=end)
        for each, answer in zip(burnt, answers, strict=False):
            if answer.get("code", NOT_FOUND) == NOT_FOUND:
                with suppress(ValueError):
                    self._burnt.remove(each)
        if last:
            self._keep(last, answers[-len(last)], began)
        return answers[len(first) : len(answers) - len(last)]

    def until(self, not_after: float, end: float) -> Deadline:
        """A key that is gone by then. Raises `Unavailable` where that is too soon."""
        self._wanted = True
        found = self._fresh()
        if found is None:
            calls, began = self._new(), elapsed()
            found = self._keep(calls, self.ask(*calls, end=end)[0], began)
        if found.over <= not_after:
            return found
        where, lasts = self._gateway.where, found.over - LAG - found.fresh + _ON_THE_WAY
        if lasts > TTL + 1:
            raise CannotExclude(
                f"{where}: its leases last for {lasts:.0f} s at least, so a late request could not be refused: "
                "start its members with an --election-timeout of at most 2000 (ms)"
            )
        raise Unavailable(
            f"{where}: there are {max(not_after - elapsed(), 0.0):.1f} s left, which is too short: nothing was changed"
        )

    def burn(self, deadline: Deadline) -> None:
        """A transaction got no answer: it must not be done any more."""
        self._burnt.append(deadline.lease)
        self.drop(deadline)

    def drop(self, deadline: Deadline) -> None:
        """Its key is gone."""
        if self._now == deadline:
            self._now = None

    def _fresh(self) -> Deadline | None:
        found = self._now
        return found if found and elapsed() < found.fresh else None

    def _new(self) -> tuple[Call, Call]:
        lease = secrets.randbits(62) + 1
        key = b64encode(f"{self._gateway.address.prefix}/until/{lease}".encode()).decode()
        put = {"key": key, "value": "", "lease": str(lease)}
        return Call("/v3/lease/grant", {"ID": str(lease), "TTL": str(TTL)}), Call("/v3/kv/put", put)

    def _keep(self, calls: tuple[Call, ...], granted: Json, began: float) -> Deadline:
        """It was granted after `began`, and by now."""
        put = calls[1].body
        assert put
        ttl = int(granted.get("TTL", TTL))
        self._now = made = Deadline(int(put["lease"]), put["key"], began + ttl - _ON_THE_WAY, elapsed() + ttl + LAG)
        self._wanted = False
        return made
