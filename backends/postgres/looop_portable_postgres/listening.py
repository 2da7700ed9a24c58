"""Who waits is told: one connection of a process on which NOTIFY is heard, and the thread that waits there.

Guarantees: once a subscription is made, every change that is committed after that rings. So does the loss of the
connection, each attempt to replace it, and whatever else may have hidden a change. A change notifies only where the table
`listeners` has somebody: NOTIFY takes a lock of the whole server.
Does not guarantee: that LISTEN works: a pooler says OK, and passes nothing on. So each subscription sends itself a
notification by another connection. Where that is not heard, there is no subscription.
How: the subscriber's row is written under a lock that every change of that record shares until its commit. A change before
that is there when the subscriber looks; one after it finds the row. The rows of a process that was killed end by time.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

from looop_portable.backends.engine import Record, Ring, tell
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_postgres.address import Target, attempts
from looop_portable_postgres.wire import IN, Refused, Wire, ready

__all__ = ["Listener"]

_RECORD = re.compile("=([0-9]{1,19}) ((?:[0-9a-f]{2})*)")

_KEPT = 600.0
"""Seconds for which a row of `listeners` is kept. The server's clock may be set forward by that: nothing is missed."""

_RENEWED = 15.0
"""Seconds between two signs that this connection lives: rows are kept by it, and a server that is gone is found out."""

_LINGER = 10.0
"""Seconds for which the connection is kept that nobody needs: the next claim may be waited for soon."""

_AGAIN = 1.0
"""Seconds between two attempts to connect."""

_DEAF = 60.0
"""Seconds for which a LISTEN that was not heard is not tried again."""


class _Request(NamedTuple):
    """`ring` is to be called of changes at `channel`; None: `mine`, which was, is not any more."""

    channel: str
    mine: object
    ring: Ring | None
    is_done: threading.Event
    failures: list[Unavailable]


class Listener:
    """The subscriptions of one process. `ask` asks by its other connections."""

    def __init__(self, target: Target, ask: Callable[..., object]) -> None:
        self._where = target.where
        self._connect = partial(Wire, target.where, partial(attempts, target, target.listen))
        self._schema = target.schema
        self._ask = ask
        self._seconds = target.timeout
        self._owner = os.urandom(8).hex()
        self._requests: SimpleQueue[_Request] = SimpleQueue()
        self._rings: dict[str, dict[object, Ring]] = {}
        self._probes: dict[str, threading.Event] = {}
        self._guard = threading.RLock()
        self._thread: threading.Thread | None = None
        self._deaf_until = float("-inf")
        self._is_closing = False
        self._waker: socket.socket | None = None

    def subscribe(self, channel: str, ring: Ring) -> Callable[[], None] | None:
        """What ends it; None: LISTEN is not heard here. Raises `Unavailable`."""
        end = elapsed() + self._seconds
        if elapsed() < self._deaf_until:
            return None
        mine = object()
        stop = partial(self._put, _Request(channel, mine, None, threading.Event(), []))
        request = _Request(channel, mine, ring, threading.Event(), [])
        try:
            self._put(request)
            if not request.is_done.wait(max(end - elapsed(), 0.0)):
                raise Unavailable(f"{self._where}: LISTEN was not answered in time")
            if request.failures:
                raise request.failures[0]
            is_heard = self._is_heard(channel, end)
        except BaseException:
            stop()
            raise
        if not is_heard:
            stop()
            self._deaf_until = elapsed() + _DEAF
        return stop if is_heard else None

    def close(self) -> None:
        self._is_closing = True
        self._wake_up()
        if thread := self._thread:
            thread.join(self._seconds)

    def _is_heard(self, channel: str, end: float) -> bool:
        """Whether what is sent by another connection comes in by this one. From now on changes notify."""
        probe, came = os.urandom(8).hex(), threading.Event()
        self._probes[probe] = came
        try:
            self._ask("subscribe", channel, self._owner, _KEPT, probe)
            return came.wait(max(end - elapsed(), 0.0) / 2)
        finally:
            del self._probes[probe]

    def _put(self, request: _Request) -> None:
        self._requests.put(request)
        with self._guard:
            if self._thread is None and (request.ring or self._rings):
                self._start()
        self._wake_up()

    def _start(self) -> None:
        wake, waker = socket.socketpair()
        for each in (wake, waker):
            each.setblocking(False)
        thread = threading.Thread(target=self._run, args=(wake,), daemon=True, name="looop-listen")
        try:
            thread.start()
        except RuntimeError as error:
            wake.close()
            waker.close()
            raise Unavailable(f"{self._where}: no thread can be had that listens: {error}") from error
        self._thread, self._waker = thread, waker

    def _wake_up(self) -> None:
        with self._guard, contextlib.suppress(BlockingIOError):
            if self._waker:
                self._waker.send(b"\0")

    def _run(self, wake: socket.socket) -> None:
        wire: Wire | None = None
        renewed = used = elapsed()
        while not self._has_ended(used):
            try:
                if wire is None:
                    wire = self._connected()
                self._obey(wire)
                if elapsed() - renewed > _RENEWED:
                    self._renew(wire)
                    renewed = elapsed()
                self._heard(wire.notified(wake, min(renewed + _RENEWED, elapsed() + _LINGER)))
            except Unavailable as failure:
                if wire:
                    wire.close()
                wire = None
                self._fail(failure)
                if self._rings:
                    ready({wake.fileno(): IN}, elapsed() + _AGAIN)
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)
            if self._rings:
                used = elapsed()
        wake.close()
        if wire:
            wire.close()

    def _has_ended(self, used: float) -> bool:
        with self._guard:
            if self._is_closing or (not self._rings and self._requests.empty() and elapsed() - used > _LINGER):
                if self._waker:
                    self._waker.close()
                self._thread = self._waker = None
                return True
        return False

    def _connected(self) -> Wire:
        wire = self._connect()
        try:
            wire.open(elapsed() + self._seconds)
            for channel in self._rings:
                self._do(wire, f'listen "{channel}"')
            self._register(wire)
        except BaseException:
            wire.close()
            raise
        return wire

    def _register(self, wire: Wire) -> None:
        """What has changed meanwhile did not ring."""
        for channel in self._rings:
            self._do(wire, f'select "{self._schema}".subscribe($1, $2, $3, $4)', channel, self._owner, _KEPT, "")
        self._ring_all()

    def _renew(self, wire: Wire) -> None:
        ((listening,),) = self._do(wire, f'select "{self._schema}".renew($1, $2)', self._owner, _KEPT)
        if listening < len(self._rings):
            self._register(wire)

    def _obey(self, wire: Wire) -> None:
        with contextlib.suppress(Empty):
            while True:
                request = self._requests.get_nowait()
                try:
                    self._begin(wire, request) if request.ring else self._end(wire, request)
                except Unavailable as failure:
                    request.failures.append(failure)
                    raise
                finally:
                    request.is_done.set()

    def _begin(self, wire: Wire, request: _Request) -> None:
        assert request.ring
        if request.channel not in self._rings:
            self._do(wire, f'listen "{request.channel}"')
        self._rings.setdefault(request.channel, {})[request.mine] = request.ring

    def _end(self, wire: Wire, request: _Request) -> None:
        rings = self._rings.get(request.channel, {})
        if rings.pop(request.mine, None) and not rings:
            del self._rings[request.channel]
            self._do(wire, f'unlisten "{request.channel}"')
            with contextlib.suppress(Refused):  # Its row ends by time.
                self._do(wire, f'select "{self._schema}".unsubscribe($1, $2)', request.channel, self._owner)

    def _do(self, wire: Wire, statement: str, *values: str | float) -> list[tuple[int]]:
        return wire.ask(statement.encode(), values, end=elapsed() + self._seconds)

    def _heard(self, notifications: list[tuple[str, str]]) -> None:
        """What has another payload than a record is somebody's probe, and no change."""
        for channel, payload in notifications:
            if came := self._probes.get(payload):
                came.set()
            if not payload or payload.startswith("="):
                record = _record_in(payload)
                for ring in list(self._rings.get(channel, {}).values()):
                    if record:
                        tell(ring, record)
                    ring()

    def _ring_all(self) -> None:
        for rings in list(self._rings.values()):
            for ring in list(rings.values()):
                ring()

    def _fail(self, failure: Unavailable) -> None:
        """There is no connection. Whoever asks is told why; whoever waits looks; and after a while it is tried again."""
        with contextlib.suppress(Empty):
            while True:
                request = self._requests.get_nowait()
                if request.ring:
                    request.failures.append(failure)
                elif not (rings := self._rings.get(request.channel, {})).pop(request.mine, None) or not rings:
                    self._rings.pop(request.channel, None)
                request.is_done.set()
        self._ring_all()


def _record_in(payload: str) -> Record | None:
    """Where it is small, a record is told with its change."""
    found = _RECORD.fullmatch(payload)
    return Record(int(found[1]), bytes.fromhex(found[2])) if found else None
