"""What can stand in a store: records, stamps, floors, tickets, names of files, lines of the event log, keepers' files."""

from __future__ import annotations

import io
import json
import os
import tempfile
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

from lanes.fuzzing.target import Target, ours, text
from looop_portable.backends.directory import adoption, projection
from looop_portable.backends.directory.tickets import TicketFiles
from looop_portable.backends.engine import word_in
from looop_portable.backends.on_engine.keys import name_in
from looop_portable.cli.output import Output, lease_fields
from looop_portable.cli.output.ages import seconds_since
from looop_portable.cli.verbs import events
from looop_portable.ledger import numbers
from looop_portable.ledger.spelling import recorded
from looop_portable.ledger.stamp import stamped
from looop_portable.protocol import codec, records
from looop_portable.running.keepers import Keepers
from looop_portable.system.files import OS
from looop_portable.system.opening import ours as made

_LEASE = (
    b'{"session": "w1", "name": "n", "incarnation": "00112233445566778899aabb", "claimed_at": "2026-01-31T12:00:00Z", '
    b'"host": "h", "note": "x", "token": "ff", "generation": 3}'
)
_REGISTRATION = (
    b'{"session": "s", "incarnation": "00112233445566778899aabb", "pid": 12, "start": "77", "boot": "b",'
    b' "namespace": "4-5", "host": "h", "started_at": "2026-01-31T12:00:00Z",'
    b' "lease_seconds": 30, "ended": false, "disk": "linux ext4"}'
)
_SHARED = b'{"readers": [{"session": "a", "incarnation": "00112233445566778899aabb"}], "name": "n", "generation": 3}'
_STAMP = b'{"protocol": 1, "links": true, "guard": "flock", "aliases": false, "backend": "redis", "address": "redis://h"}'
_DEEP = b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"  # What Python reads, and cannot show.
_HOSTILE = (
    _DEEP,
    b"[" * 9000,
    b'{"a":' * 5000,
    b'{"pid": NaN}',
    b'{"pid": 1e999}',
    b'{"s": "\\ud800"}',
    b'{"a":1,"a":2}',
    b"\xff\xfe{",
)


def _codec(data: bytes) -> None:
    found = codec.decode(data)
    for key in list(found)[:8]:
        codec.text(found, key)
        codec.number(found, key)
        ours(lambda: codec.checked_text(found, key), ValueError)  # noqa: B023 (called at once)
        ours(lambda: codec.checked_word(found, key), ValueError)  # noqa: B023
        ours(lambda: codec.checked_number(found, key, 2**31), ValueError)  # noqa: B023
    assert codec.decode(codec.encode({"x": "y"})) == {"x": "y"}


def _lease(data: bytes) -> None:
    lease = records.lease_in(data, "n", 3)
    if lease is None:
        return
    json.dumps(lease_fields(lease)).encode()
    again = codec.encode(records.record_of(lease))
    assert again.count(b"\n") == 1
    assert records.lease_in(again[:1] + b'"generation": 3, ' + again[1:], "n", 3) is not None
    seconds_since(lease.claimed_at)


def _registration(data: bytes) -> None:
    found = records.registration_in("s", data)
    codec.encode(found._asdict())
    records.is_damaged("s", codec.decode(data))
    codec.encode(records.waiter_in(data)._asdict())
    records.of_looops(data)
    word_in(data).encode()
    name_in("s", data, "session")
    recorded("s", data, "name")


def _stamp(data: bytes) -> None:
    fmt = ours(lambda: stamped("/d", data))
    assert fmt is None or fmt.description


def _numbers(data: bytes) -> None:
    names = text(data).split("\n")
    assert numbers.highest(names) >= 0
    numbers.in_order(names)
    kinds = (made.GENERATION, made.RECORD, made.STAMP, made.DIRECTORY, made.END, made.STAGED, made.GUARD, made.PROBE)
    made.those(names, *kinds, made.PRIVATE_TICKET, made.PRIVATE_SIGN, made.KEEPER, made.WORD, made.SIGN, made.PROJECTION)


def _tickets(data: bytes) -> None:
    tickets = cast("Any", SimpleNamespace(directory="/t", _files=SimpleNamespace(list=lambda _: text(data).split("\n"))))
    for ticket in TicketFiles.line_of(tickets, "n"):
        assert 0 <= int(ticket[:12]) < 10**12


class _Said(Output):
    """What would be printed."""

    def __init__(self, as_json: bool) -> None:
        super().__init__(as_json)
        self.lines: list[str] = []

    def line(self, line: str) -> None:
        self.lines.append(line)


def _event(data: bytes) -> None:
    for line in io.BytesIO(data):
        event = codec.decode(line)
        if event and events._is_wanted(event, 1.0, "ci-*") | events._is_wanted(event, None, None):
            for as_json in (False, True):
                out = _Said(as_json)
                events._print(cast("Any", out), event)
                assert len(out.lines) == 1
                assert not as_json or isinstance(json.loads(out.lines[0]), dict)


def _keeper(data: bytes) -> None:
    keepers = Keepers("/k", cast("Any", SimpleNamespace(read=lambda _: data)))
    holder = records.Holder("s", "00112233445566778899aabb")
    assert keepers.pid(holder) >= 0
    keepers._is_of_here(keepers._record("/k/s"))


def _looops(data: bytes) -> None:
    """What looop itself has written, or somebody in its place."""
    one, _, other = data.partition(b"\n")
    adoption._in_step(3, one, other)
    adoption._is_made_anew(one, other)
    projection._is_strange(data)
    projection.is_looops(data)
    _, pid, start = records.of_looops(data)
    assert isinstance(pid, int)
    assert isinstance(start, str)


def _floors(data: bytes) -> None:
    """A file of floors. None may be lower for what was raised."""
    descriptor, path = tempfile.mkstemp(prefix="floors-")
    try:
        os.write(descriptor, data)
        os.close(descriptor)
        with suppress(OSError):
            before = OS.floor(path, 7)
            OS.raise_floor(path, 7, 5)
            assert OS.floor(path, 7) >= max(before, 5)
    finally:
        os.remove(path)


TARGETS = [
    Target("codec", _codec, (_LEASE, _SHARED, *_HOSTILE), 8),
    Target("lease", _lease, (_LEASE, _SHARED, *_HOSTILE), 12),
    Target("registration", _registration, (_REGISTRATION, *_HOSTILE), 8),
    Target("stamp", _stamp, (_STAMP, *_HOSTILE), 8),
    Target("numbers", _numbers, (b"1\n2\n10\n.1-00112233445566778899aabb\nlock-x",), 8),
    Target("tickets", _tickets, (b"000000000001-aa\n.000000000002-bb\n999999999999-x",), 6),
    Target("event", _event, (b'{"ts": "2026-01-31T12:00:00Z", "event": "claimed", "claim": "ci-1"}\n', *_HOSTILE), 6),
    Target("looops", _looops, (_LEASE + b"\n" + _LEASE, *_HOSTILE), 6),
    Target("floors", _floors, (bytes(16) * 64, b"\0" * 7 + b"\x07" + b"\0" * 7 + b"\x05"), 3),
    Target("keeper", _keeper, (b'{"pid": 1, "start": "7", "host": "h", "boot": "b"}', *_HOSTILE), 6),
]
