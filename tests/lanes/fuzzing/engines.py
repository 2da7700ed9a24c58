"""What servers answer: Redis's replies, etcd's JSON, rows of PostgreSQL's, objects in a bucket. All is asked."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any
from unittest import mock

from lanes.fuzzing.target import Line, Target, ours, part
from looop_portable.backends.engine import Engine
from looop_portable.backends.on_engine.asking import Store
from looop_portable.protocol.codec import text_to_be
from looop_portable.system.clock import elapsed

KEY, WORD = "n", "s/00112233445566778899aabb"


def questions(engine: Engine) -> list[Callable[[], object]]:
    store = Store(engine, elapsed, lambda: "00112233445566778899aabb")
    return [
        lambda: store.read("claim n", "claim", KEY),
        lambda: store.look("claim n", KEY),
        lambda: store.scan("claims", "claim"),
        lambda: store.survey("claims", "claim"),
        lambda: store.heard("session s", WORD),
        lambda: store.report("session s", "s", WORD, 30.0),
        lambda: store.beat("session s", WORD, 30.0),
        lambda: store.advance("claim n", "claim", KEY, 0, {"session": "s"}),
        lambda: store.forget("claim n", "claim", KEY),
        store.verify,
    ]


def ask_everything(engine: Engine, data: bytes) -> None:
    """One of the questions, by the first byte."""
    asked = questions(engine)
    ours(asked[data[0] % len(asked)] if data else asked[0])


_INFO = b"redis_version:7.2.0\r\nrole:master\r\nrun_id:ab\r\nmaster_replid2:" + b"0" * 40 + b"\r\n"
_GREETED = b"$%d\r\n%b\r\n*0\r\n*2\r\n$1\r\n5\r\n$1\r\n0\r\n$-1\r\n" % (len(_INFO), _INFO)
_KNOWN = b"*1\r\n:0\r\n$2\r\nxx\r\n*2\r\n$2\r\nok\r\n:5\r\n"
_WON = b"*2\r\n$3\r\nwon\r\n:5\r\n"


def _redis(data: bytes) -> None:
    wire = part("redis.wire")
    read_url = part("redis.address").read_url
    RedisEngine = part("redis.engine").RedisEngine

    before = b"" if data[:1] > b"\x80" else _GREETED + _KNOWN
    with mock.patch.object(wire.socket, "create_connection", return_value=Line(before + data[1:])):
        engine = RedisEngine(read_url("redis://u:p@h/0"))
        ask_everything(engine, data)


def _replies(data: bytes) -> None:
    Lost = part("redis.replies").Lost
    Replies = part("redis.replies").Replies

    line: Any = Line(data)
    replies, end = Replies(line), elapsed() + 5
    with contextlib.suppress(Lost):
        for _ in range(50):
            replies.next(end)


def _told(data: bytes) -> None:
    """A message of a subscription."""
    _Listener = part("redis.changes")._Listener
    _record_in = part("redis.changes")._record_in
    Lost = part("redis.replies").Lost
    Replies = part("redis.replies").Replies

    line: Any = Line(data)
    with contextlib.suppress(Lost, ValueError):
        reply = Replies(line).next(elapsed() + 5)
        _record_in(data)
        listener = mock.Mock(_asked={"c": 1}, _wanted={})
        with contextlib.suppress(TypeError, KeyError, AttributeError):  # `_listen` takes them for a lost connection.
            _Listener._told(listener, reply)


def _etcd(data: bytes) -> None:
    """JSON in as many answers as are asked for; or, by its first byte, the bytes as they are."""
    wire = part("etcd.wire")
    Address = part("etcd.address").Address
    EtcdEngine = part("etcd.engine").EtcdEngine

    body = data[1:]
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body) if data[:1] < b"\xc0" else body
    with mock.patch.object(wire.Wire, "_connect", return_value=Line(answer * 8)):
        engine = EtcdEngine(Address("etcd://h:1/p?timeout=0.1", {}))
        ask_everything(engine, data)


def _watch(data: bytes) -> None:
    _last_of = part("etcd.watching")._last_of
    _messages = part("etcd.watching")._messages
    BROKEN = part("etcd.wire").BROKEN
    Reader = part("etcd.wire").Reader
    _Bytes = part("etcd.wire")._Bytes

    line: Any = Line(data)
    with contextlib.suppress(*BROKEN, LookupError, TypeError, AttributeError, RecursionError):  # As `_Stream._run` has it.
        for found in _messages(Reader(_Bytes(line))):
            _last_of(found.get("result", {}).get("events") or [{}])


def _rows(data: bytes) -> None:
    _record_in = part("postgres.listening")._record_in
    _DECODE = part("postgres.wire")._DECODE
    _row = part("postgres.wire")._row
    one_line = part("postgres.wire").one_line

    with contextlib.suppress(ValueError, LookupError, RecursionError):  # As `Store` has it.
        _row(data)
    for decode in list(_DECODE.values()):
        with contextlib.suppress(ValueError, LookupError, RecursionError):
            decode(data)
    text_to_be(data, "word")
    _record_in(data.decode("utf-8", "replace"))
    assert "\n" not in one_line(data.decode("utf-8", "replace"))


def _objects(data: bytes) -> None:
    Found = part("objects.client").Found
    ObjectEngine = part("objects.engine").ObjectEngine
    place_in = part("objects.place").place_in

    engine = ObjectEngine(place_in("s3://bucket/p"))
    found = Found(data[1:], {"e_tag": "x"}, 1e9)
    engine.bucket = mock.Mock(
        get=lambda _: found,
        stamp=lambda _: found,
        put=lambda *_, **__: {"e_tag": "y"},
        names=lambda *_: [("p/claim/n", {"e_tag": "z"}), ("p/claim/" + data.decode("utf-8", "replace"), {})],
    )
    ask_everything(engine, data)


def _bucket_errors(data: bytes) -> None:
    """What a client says of an answer that is none: one line."""
    Client = part("objects.client").Client
    place_in = part("objects.place").place_in
    key_in = part("objects.spelling").key_in
    spelled = part("objects.spelling").spelled

    said = data.decode("utf-8", "replace")
    failure = Client(place_in("s3://bucket/p"))._failure(ValueError(said), 4.0)
    assert "\n" not in str(failure)
    key = key_in(said)
    assert key is None or spelled(key) == said


_JSON: dict[str, Any] = {
    "header": {"raft_term": "2"},
    "kvs": [{"key": "cC9jbGFpbS9u", "version": "1", "value": "e30="}],
    "responses": [{"response_range": {"kvs": [{"version": "1", "value": "eyJ0dGwiOjMsIm5vbmNlIjoieCJ9"}]}}] * 3,
    "succeeded": True,
    "grantedTTL": "40",
    "TTL": "30",
    "ID": "1",
    "result": {"TTL": "30", "events": [{"kv": {"version": "2", "value": "e30="}}]},
}
_RECORD = b'{"looop": 1, "number": 2, "bytes": 2, "before": 1, "not_after": 1.5, "nonce": "x"}\n{}{}'
_ROW = b"\0\0\0\2" + b"\0\0\0\x14\0\0\0\x08\0\0\0\0\0\0\0\1" + b"\0\0\0\x11\xff\xff\xff\xff"


@functools.cache
def _is_installed(name: str) -> bool:
    try:
        part(f"{name}.engine")
    except ImportError:
        return False
    return True


def _begun(data: bytes) -> tuple[bytes, ...]:
    """The same for each of the questions."""
    return tuple(bytes([each]) + data for each in range(10))


ALL = {
    "redis": [
        Target("replies", _replies, (b"*2\r\n$2\r\nok\r\n:5\r\n", b"*1\r\n" * 3000, b"$99999999999\r\nx", b"*-1\r\n"), 6),
        Target("redis", _redis, (*_begun(_WON), *_begun(b"*3\r\n$3\r\nrun\r\n:5\r\n$1\r\nx\r\n")), 2),
        Target("redis-told", _told, (b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n1 {}\r\n",), 2),
    ],
    "etcd": [
        Target("etcd", _etcd, (*_begun(json.dumps(_JSON).encode()), *_begun(b'{"code": "x", "error": {"a": 1}}')), 2),
        Target("etcd-watch", _watch, (b'2d\r\n{"result": {"created": true}}\n', b"-1\r\nx"), 2),
    ],
    "postgres": [Target("rows", _rows, (_ROW, b"\0\0\0\1" + b"\0\0\x08\xc9\0\0\0\x04" * 9), 4)],
    "objects": [
        Target("objects", _objects, (*_begun(_RECORD), *_begun(b'{"beat": "x", "lease": 1e999}')), 2),
        Target("bucket-errors", _bucket_errors, (b"non-2xx status code: 503 <Code>SlowDown</Code>", b"a=Ub_", b"=+/"), 2),
    ],
}
TARGETS = [target for name, targets in ALL.items() if _is_installed(name) for target in targets]
MISSING = [name for name in ALL if not _is_installed(name)]
