"""Who wants to know when a key changes: one watch of etcd's for each key, however many in this process want to know.

Guarantees: every change rings that is made after `subscribe` has returned; and so does the end of a watch, whatever ended
it (its connection, its member, a compaction, a token), and the beginning of the next one.
Does not guarantee: that a member which no network reaches any more is noticed at once. It takes the system's keepalive of
connections, about half a minute; a member without a leader says so itself.
How: the gateway takes all of a stream's requests before it answers the first, so each key has a connection of its own, and
a thread that reads it. Both end with the last who wants to know. They are not counted among the three of `Gateway`.
"""

from __future__ import annotations

import json
import os
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress

from looop_portable.backends.engine import NONSENSE, Record, Ring, tell
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_etcd.gateway import Gateway
from looop_portable_etcd.wire import BROKEN, LARGEST, Call, Json, Reader, Wire, why

__all__ = ["Watches"]

_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two watches, where the first one failed."""


class Watches:
    """Those of this process; a forked child has none, and begins its own."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._begin()

    def _begin(self) -> None:
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def subscribe(self, key: str, ring: Ring) -> Callable[[], None]:
        """Once the watch is confirmed. What is returned ends it. Raises `Unavailable`."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            stream = self._streams.get(key)
            if stream is None or not stream.join(ring):
                stream = self._streams[key] = _Stream(self._gateway, key)
                stream.join(ring)
                stream.start()

        def end() -> None:
            with self._lock:
                if stream.leave(ring) and self._streams.get(key) is stream:
                    del self._streams[key]

        if not stream.is_confirmed(self._gateway.address.timeout):
            end()
            raise Unavailable(f"{self._gateway.where}: nobody tells of changes: {stream.failure or 'no answer in time'}")
        return end

    def close(self) -> None:
        if self._pid == os.getpid():
            for stream in list(self._streams.values()):
                stream.stop()


class _Stream:
    """One watch after the other, of one key."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self._gateway = gateway
        self._key = key
        self._rings: list[Ring] = []
        self._wire: Wire | None = None
        self._settled = threading.Event()
        self._stopped = threading.Event()
        self._was_confirmed = False
        self._confirmed = False
        self._at = 0
        self.failure = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name="looop-etcd-watch", daemon=True).start()

    def join(self, ring: Ring) -> bool:
        """False: it is over."""
        self._rings.append(ring)
        return not self._stopped.is_set()

    def leave(self, ring: Ring) -> bool:
        """True: nobody is left, and it is over."""
        with suppress(ValueError):
            self._rings.remove(ring)
        if not self._rings:
            self.stop()
        return not self._rings

    def stop(self) -> None:
        self._stopped.set()
        wire = self._wire
        if wire:
            with suppress(OSError):
                wire.shut()

    def is_confirmed(self, seconds: float) -> bool:
        self._settled.wait(seconds)
        return self._confirmed

    def _run(self) -> None:
        failed = 0
        while not self._stopped.is_set():
            self._confirmed = False
            try:
                self.failure = self._watch()
            except Unavailable as error:
                self.failure = str(error)
            except BROKEN as error:
                self.failure = why(error)
            except NONSENSE as error:
                self.failure = f"what it tells makes no sense ({type(error).__name__})"
            if self._confirmed:
                failed = 0
            self._confirmed = False
            self._settled.clear()
            self._ring()
            failed += 1
            self._at += 1
            if not self._was_confirmed and failed > len(self._gateway.address.endpoints):
                self._stopped.set()
            self._stopped.wait(min(_PAUSE * 2**failed, _LONGEST_PAUSE))
        self._settled.set()

    def _watch(self) -> str:
        """Until it ends; why."""
        gateway = self._gateway
        endpoints = gateway.address.endpoints
        endpoint = endpoints[(endpoints.index(gateway.endpoint) + self._at) % len(endpoints)]
        end = elapsed() + gateway.address.timeout / len(endpoints)
        wire = self._wire = gateway.wire()
        try:
            gateway.login(endpoint, wire, end)
            reader = wire.open(endpoint, end)
            wire.send([Call("/v3/watch", {"create_request": {"key": self._key}})], gateway.headers(), end)
            if self._stopped.is_set():
                return ""
            status, length, _ = reader.head()
            if status != 200 or length >= 0:
                gateway.forget_token()
                return f"HTTP status {status}"
            for found in _messages(reader):
                result = found.get("result", {})
                if "error" in found or result.get("canceled"):
                    gateway.forget_token()
                    return str(result.get("cancel_reason") or "the watch was ended")
                if result.get("created"):
                    self._confirm(reader)
                if events := result.get("events"):
                    self._ring(_last_of(events))
            return "the watch has ended"
        finally:
            self._wire = None
            wire.close()

    def _confirm(self, reader: Reader) -> None:
        reader.until(0.0)
        self._confirmed = True
        if self._was_confirmed:
            self._ring()  # What was changed between two watches.
        self._was_confirmed = True
        self._settled.set()

    def _ring(self, record: Record | None = None) -> None:
        for ring in list(self._rings):
            if record:
                tell(ring, record)
            ring()


def _last_of(events: list[Json]) -> Record | None:
    """What was published last; None: it is gone."""
    event = events[-1]
    if event.get("type", "PUT") != "PUT":
        return None
    return Record(int(event["kv"]["version"]), b64decode(event["kv"].get("value", "")))


def _messages(reader: Reader) -> Iterator[Json]:
    rest = b""
    for chunk in reader.chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LARGEST:
            raise ValueError("its answer has no end")
        for line in filter(None, lines):
            yield json.loads(line)
