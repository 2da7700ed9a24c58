"""Every change rings that is made after a subscription, and whatever may have hidden one."""

from __future__ import annotations

import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable

import pytest
from support.capabilities import needs_fork
from support.servers.etcd import Etcd, cluster, leader_of

from looop_portable import Unavailable
from looop_portable.backends.engine import CLAIM, TICKET, Record
from looop_portable.system.clock import elapsed
from looop_portable_etcd.engine import EtcdEngine
from looop_portable_etcd.watching import Watches

Opened = Callable[..., EtcdEngine]


class Bell:
    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        self._rung.set()

    def was_rung(self, seconds: float = 10.0) -> bool:
        found = self._rung.wait(seconds)
        self._rung.clear()
        return found


def advance(engine: EtcdEngine, key: str, after: int, kind: str = CLAIM) -> None:
    assert engine.advance(kind, key, after, b"x", not_after=elapsed() + 5).won


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "looop-etcd-watch"]


def are_gone(seconds: float = 10.0) -> bool:
    end = elapsed() + seconds
    while threads() and elapsed() < end:
        time.sleep(0.01)
    return not threads()


def test_each_change_rings_that_another_process_makes(server: Etcd, opened: Opened) -> None:
    bell, other = Bell(), opened(server)
    end = opened(server).subscribe(CLAIM, "x", bell.ring)
    for number in range(20):
        advance(other, "x", number)
        assert bell.was_rung()
    end()
    end()
    assert are_gone()


def test_who_wants_it_is_told_what_was_published(server: Etcd, opened: Opened) -> None:
    class Told(Bell):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[Record] = []

        def __call__(self) -> None:
            self.ring()

        def told(self, record: Record) -> None:
            self.records.append(record)

    bell, other = Told(), opened(server)
    end = opened(server).subscribe(TICKET, "x", bell)
    for number in range(2):
        advance(other, "x", number, TICKET)
        assert bell.was_rung()
    other.forget(TICKET, "x")
    assert bell.was_rung()
    assert bell.records == [Record(1, b"x"), Record(2, b"x")]
    end()


def test_a_ticket_that_is_forgotten_has_changed(server: Etcd, opened: Opened) -> None:
    bell, engine = Bell(), opened(server)
    advance(engine, "x/1", 0, TICKET)
    end = engine.subscribe(TICKET, "x/1", bell.ring)
    engine.forget(TICKET, "x/1")
    assert bell.was_rung()
    end()


def test_another_key_rings_nobody(server: Etcd, opened: Opened) -> None:
    bell, engine = Bell(), opened(server)
    end = engine.subscribe(CLAIM, "x", bell.ring)
    for each in ("x1", "X", "w"):
        advance(engine, each, 0)
    assert not bell.was_rung(0.3)
    end()


def test_those_who_want_to_know_of_one_key_share_a_watch(server: Etcd, opened: Opened) -> None:
    engine, bells = opened(server), [Bell() for _ in range(5)]
    ends = [engine.subscribe(CLAIM, "x", bell.ring) for bell in bells]
    assert len(threads()) == 1
    ends[0]()
    advance(engine, "x", 0)
    assert all(bell.was_rung() for bell in bells[1:])
    for end in ends:
        end()
    assert are_gone()
    again = engine.subscribe(CLAIM, "x", bells[0].ring)
    advance(engine, "x", 1)
    assert bells[0].was_rung()
    again()


def test_a_server_that_ends_rings_and_is_watched_again_when_it_is_back(own: Etcd, opened: Opened) -> None:
    bell, engine = Bell(), opened(own)
    end = engine.subscribe(CLAIM, "x", bell.ring)
    own.kill()
    assert bell.was_rung()
    own.start()
    assert bell.was_rung(), "what was changed between two watches is not hidden"
    time.sleep(0.2)
    bell.was_rung(0)
    advance(opened(own), "x", 0)
    assert bell.was_rung()
    end()
    assert are_gone()


def test_a_watch_goes_on_with_another_member(opened: Opened) -> None:
    with cluster() as members:
        leader_of(members)
        bell, engine = Bell(), opened(*members)
        end = engine.subscribe(CLAIM, "x", bell.ring)
        members[0].kill()
        assert bell.was_rung()
        assert bell.was_rung()
        other, after = opened(*members[1:]), elapsed() + 20
        while True:
            try:
                advance(other, "x", 0)
                break
            except Unavailable:
                assert elapsed() < after
        assert bell.was_rung()
        end()


def test_compaction_hides_nothing(server: Etcd, opened: Opened) -> None:
    bell, engine = Bell(), opened(server)
    end = engine.subscribe(CLAIM, "x", bell.ring)
    for number in range(5):
        advance(engine, "x", number)
    key = b64encode(b"x").decode()
    header = server.ask("/v3/kv/range", {"key": key})["header"]
    assert isinstance(header, dict)
    server.ask("/v3/kv/compaction", {"revision": header["revision"]})
    time.sleep(0.1)
    bell.was_rung(0)
    advance(engine, "x", 5)
    assert bell.was_rung()
    end()


def test_nobody_listens_is_one_line(opened: Opened, own: Etcd) -> None:
    engine = opened(own, query="?timeout=1")
    own.stop()
    began = elapsed()
    with pytest.raises(Unavailable, match="nobody listens there") as refusal:
        engine.subscribe(CLAIM, "x", Bell().ring)
    assert str(refusal.value).isprintable()
    assert elapsed() - began < 2
    assert are_gone()


def test_a_frozen_server_confirms_nothing(opened: Opened, own: Etcd) -> None:
    engine = opened(own, query="?timeout=1")
    own.freeze()
    began = elapsed()
    with pytest.raises(Unavailable):
        engine.subscribe(CLAIM, "x", Bell().ring)
    assert elapsed() - began < 2
    own.thaw()
    assert are_gone()


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_watches_for_itself(server: Etcd, opened: Opened) -> None:
    bell, engine = Bell(), opened(server)
    end = engine.subscribe(CLAIM, "x", bell.ring)
    child = os.fork()
    if not child:
        told = False
        try:
            own = Bell()
            engine.subscribe(CLAIM, "x", own.ring)
            advance(engine, "x", 0)
            told = own.was_rung()
        finally:
            os._exit(0 if told else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert bell.was_rung()
    end()


def test_closing_ends_all(server: Etcd, opened: Opened) -> None:
    engine = opened(server)
    for each in ("a", "b"):
        engine.subscribe(CLAIM, each, Bell().ring)
    engine.close()
    assert are_gone()
    assert isinstance(engine._watches, Watches)
