"""A member that is hostile, on a socket of this test: whatever it answers, there is an error of ours, within the time."""

from __future__ import annotations

import json
import socket
import time

import pytest
from support.servers.hostile import Answer, answering

from looop_portable.backends.on_engine.asking import Store
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_etcd.address import Address
from looop_portable_etcd.engine import EtcdEngine
from looop_portable_etcd.wire import LARGEST

OK = b"HTTP/1.1 200 OK\r\n"


def body(found: object) -> bytes:
    data = found if isinstance(found, bytes) else json.dumps(found).encode()
    return OK + b"Content-Length: %d\r\n\r\n%b" % (len(data), data)


def ask(store: Store) -> None:
    """Some answers make sense to one of these."""
    store.scan("claim n", "claim")
    store.read("claim n", "claim", "n")


def drips(line: socket.socket) -> None:
    line.sendall(OK)
    while True:
        line.sendall(b"x: y\r\n")
        time.sleep(0.01)


def chunks(line: socket.socket) -> None:
    line.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        line.sendall(b"1\r\nx\r\n")
        time.sleep(0.001)


ANSWERS: dict[str, Answer] = {
    "a length that nothing has": lambda line: line.sendall(OK + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "a length above the limit": lambda line: line.sendall(OK + b"Content-Length: %d\r\n\r\n" % (LARGEST + 1)),
    "a length below nothing": lambda line: line.sendall(OK + b"Content-Length: -1\r\n\r\n"),
    "a chunk below nothing": lambda line: line.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx"),
    "a chunk above the limit": lambda line: line.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
    "what is packed": lambda line: line.sendall(OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"),
    "deep JSON": lambda line: line.sendall(body(b"[" * 100_000)),
    "other JSON": lambda line: line.sendall(body({"kvs": [{"version": {}, "value": 5}]})),
    "no object": lambda line: line.sendall(body([1])),
    "a code that is none": lambda line: line.sendall(body({"code": "x"})),
    "an error that is none": lambda line: line.sendall(body({"error": {"grpc_code": [1]}})),
    "headers without an end": drips,
    "chunks without an end": chunks,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_hostile_member_answers_is_an_error_of_ours_within_the_time(answer: str) -> None:
    with answering(ANSWERS[answer]) as port:
        engine = EtcdEngine(Address(f"etcd://127.0.0.1:{port}/p?timeout=0.5", {}))
        store, began = Store(engine, elapsed, lambda: "n"), elapsed()
        with pytest.raises(Unavailable) as told:
            ask(store)
        assert "\n" not in str(told.value)
        assert elapsed() - began < 5
        engine.close()


def test_no_other_server_is_asked_because_one_says_so() -> None:
    """A redirection is an answer that is no answer, and its Location is not looked at."""
    asked: list[bytes] = []

    def note(line: socket.socket) -> None:
        asked.append(b"asked")
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with answering(note) as other:
        location = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % other
        with answering(lambda line: line.sendall(location)) as port:
            engine = EtcdEngine(Address(f"etcd://u:secret-word@127.0.0.1:{port}/p?timeout=0.5", {}))
            with pytest.raises(Unavailable) as told:
                Store(engine, elapsed, lambda: "n").read("claim n", "claim", "n")
            engine.close()
    assert asked == []
    assert "secret-word" not in str(told.value)
