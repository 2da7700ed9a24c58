"""A request that etcd reaches after its client has given up changes nothing: what ENGINES call a ghost holder."""

from __future__ import annotations

import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from support.capabilities import needs_fork, needs_stopping
from support.servers.etcd import Etcd

from looop_portable import Claims, Unavailable, Won
from looop_portable.backends.engine import CLAIM, NOTHING, Record
from looop_portable.backends.on_engine import OnEngine
from looop_portable.system.clock import elapsed
from looop_portable_etcd.engine import EtcdEngine
from looop_portable_etcd.wire import Call, Wire

Opened = Callable[..., EtcdEngine]

pytestmark = needs_stopping


def test_what_a_frozen_server_finds_in_its_queue_changes_nothing(
    own: Etcd, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections stay open, so it is not told that nobody waits any more: its own clock has to tell."""
    kept: list[Any] = []

    def keep(wire: Wire) -> None:
        kept.append(wire._connection)
        wire._connection = wire._reader = None

    monkeypatch.setattr(Wire, "close", keep)
    engines = [opened(own, query="?timeout=2") for _ in range(8)]
    for number, engine in enumerate(engines):
        assert engine.read(CLAIM, f"c{number}") == NOTHING  # It has a lease now, as whoever claims.
    own.freeze()
    failures: list[Exception] = []

    def claim(number: int) -> None:
        try:
            engines[number].advance(CLAIM, f"c{number}", 0, b"a ghost", not_after=elapsed() + 5)
        except Unavailable as failure:
            failures.append(failure)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == len(engines)
    time.sleep(3)
    own.thaw()
    time.sleep(1.5)
    engines.append(opened(own))
    found = engines[-1].scan(CLAIM)
    for engine in engines:
        engine.close()
    for each in filter(None, kept):
        each.close()
    monkeypatch.undo()
    assert found == []


def test_what_comes_just_after_its_deadline_changes_nothing(
    server: Etcd, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd looks each half a second for leases that have ended: until then their keys are there."""
    send = Wire.send

    def late(wire: Wire, calls: list[Call], headers: str, end: float) -> None:
        if any(each.path == "/v3/kv/txn" for each in calls):
            time.sleep(3.02)
        send(wire, calls, headers, end)

    engines = [opened(server, query="?timeout=5") for _ in range(6)]
    for number, engine in enumerate(engines):
        engine.read(CLAIM, f"c{number}")
        time.sleep(0.09)
    monkeypatch.setattr(Wire, "send", late)

    def claim(number: int) -> None:
        with suppress(Unavailable):
            engines[number].advance(CLAIM, f"c{number}", 0, b"a ghost", not_after=elapsed() + 5)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engines[0].scan(CLAIM) == []


def test_nobody_holds_what_a_frozen_server_did_not_confirm(own: Etcd, opened: Opened) -> None:
    late, other = (Claims(OnEngine(opened(own, query="?timeout=1"), "etcd")) for _ in range(2))
    me, another = late.sessions.register("late").holder, other.sessions.register("other").holder
    own.freeze()
    with pytest.raises(Unavailable):
        late.claim("x", me)
    time.sleep(5)
    own.thaw()
    assert isinstance(other.claim("x", another), Won)


def test_what_was_not_answered_is_never_done_once_etcd_is_reached_again(
    server: Etcd, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even within its time: the request is kept back by the network, and comes after the next one of this process."""
    engine, kept_back = opened(server), []
    engine.read(CLAIM, "x")
    send = Wire.send

    def hold_back(wire: Wire, calls: list[Call], headers: str, end: float) -> None:
        kept_back.append(list(calls))
        raise TimeoutError

    monkeypatch.setattr(Wire, "send", hold_back)
    with pytest.raises(Unavailable):
        engine.advance(CLAIM, "x", 0, b"late", not_after=elapsed() + 5)
    monkeypatch.setattr(Wire, "send", send)
    assert engine.heard("anybody") is None
    (late, *_) = kept_back
    Wire(None).ask(engine.gateway.endpoint, late, "", elapsed() + 2)
    assert engine.read(CLAIM, "x") == NOTHING
    assert engine.advance(CLAIM, "x", 0, b"again", not_after=elapsed() + 5).won


def test_a_lease_belongs_to_one_transaction_at_a_time(
    server: Etcd, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one that is held up could live by the renewals of others."""
    engine, used, inside = opened(server), [], threading.Barrier(3, timeout=20)
    assert engine.advance(CLAIM, "before", 0, b"x", not_after=elapsed() + 5).won  # Its lease is free now.
    send = Wire.send

    def see(wire: Wire, calls: list[Call], headers: str, end: float) -> None:
        renewed = [each.body["ID"] for each in calls if each.path.endswith("keepalive") and each.body]
        if renewed:
            used.extend(renewed)
            inside.wait()
        send(wire, calls, headers, end)

    monkeypatch.setattr(Wire, "send", see)
    work = [
        threading.Thread(target=engine.advance, args=(CLAIM, f"c{each}", 0, b"x"), kwargs={"not_after": elapsed() + 5})
        for each in range(3)
    ]
    for each in work:
        each.start()
    for each in work:
        each.join()
    assert len(set(used)) == 3


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_leases_of_its_own(server: Etcd, opened: Opened) -> None:
    engine = opened(server)
    assert engine.advance(CLAIM, "x", 0, b"one", not_after=elapsed() + 5).won
    free = {each.lease for each in engine._deadlines._free}
    assert free
    child = os.fork()
    if not child:
        own = False
        try:
            own = engine.advance(CLAIM, "x", 1, b"two", not_after=elapsed() + 5).won
            own = own and free.isdisjoint(each.lease for each in engine._deadlines._free)
        finally:
            os._exit(0 if own else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert engine.advance(CLAIM, "x", 2, b"three", not_after=elapsed() + 5).won


def test_a_lease_that_has_ended_is_replaced_and_nothing_is_lost(server: Etcd, opened: Opened) -> None:
    """Ended early, by an operator say: the deadline is over before its time, and another one is made."""
    engine = opened(server)
    assert engine.advance(CLAIM, "x", 0, b"one", not_after=elapsed() + 5).won
    found = server.ask("/v3/kv/range", range_of(f"{engine.gateway.address.prefix}/until/"))
    for each in found.get("kvs", ()):  # type: ignore[attr-defined]
        server.ask("/v3/lease/revoke", {"ID": each["lease"]})
    assert engine.advance(CLAIM, "x", 1, b"two", not_after=elapsed() + 5).won
    assert engine.read(CLAIM, "x") == Record(2, b"two")


def range_of(prefix: str) -> dict[str, str]:
    first, end = prefix.encode(), prefix.encode()[:-1] + b"0"
    return {"key": b64encode(first).decode(), "range_end": b64encode(end).decode()}


@pytest.mark.parametrize("left", [0.5, -1.0])
def test_what_has_too_little_time_left_changes_nothing(server: Etcd, opened: Opened, left: float) -> None:
    engine = opened(server)
    with suppress(Unavailable):
        assert not engine.advance(CLAIM, "x", 0, b"one", not_after=elapsed() + left).won
    assert engine.read(CLAIM, "x") == NOTHING


def test_leases_that_last_too_long_for_a_deadline_are_refused_by_name(opened: Opened) -> None:
    slow = Etcd("--election-timeout=6000", "--heartbeat-interval=600")
    try:
        slow.start()
        with pytest.raises(Unavailable, match="--election-timeout of at most 2000") as refusal:
            opened(slow).advance(CLAIM, "x", 0, b"one", not_after=elapsed() + 5)
        assert refusal.value.code == "cannot_exclude"
    finally:
        slow.close()
