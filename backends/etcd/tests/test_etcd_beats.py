"""Signs of life are never older than the truth, and never lost while they are to be kept."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest
from support.servers.etcd import Etcd, cluster, leader_of

from looop_portable import Unavailable
from looop_portable.backends.engine import BEAT, TICKET, Heard
from looop_portable.backends.on_engine import OnEngine
from looop_portable.protocol.liveness import Liveness
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.clock import elapsed
from looop_portable.testing.examiner import enter, far
from looop_portable_etcd.engine import EtcdEngine
from looop_portable_etcd.gateway import Gateway
from looop_portable_etcd.wire import Call

Opened = Callable[..., EtcdEngine]

WORD = "a/i"


def heard(engine: EtcdEngine) -> Heard:
    found = engine.heard(WORD)
    assert found
    return found


def keys_below(server: Etcd, prefix: str) -> list[str]:
    kvs = server.ask("/v3/kv/range", {"key": "AA==", "range_end": "AA==", "keys_only": True}).get("kvs", [])
    assert isinstance(kvs, list)
    return [key for key in (b64decode(each["key"]).decode() for each in kvs) if key.startswith(f"{prefix}/")]


def revoke(server: Etcd, engine: EtcdEngine) -> None:
    """As if its time had passed."""
    server.ask("/v3/lease/revoke", {"ID": engine._beats.named(WORD).lease})


def test_a_silence_grows_by_the_leases_clock_and_is_kept_when_it_has_ended(server: Etcd, opened: Opened) -> None:
    engine = opened(server)
    began = elapsed()
    engine.beat(WORD, 3)
    beat, last = heard(engine).beat, 0.0
    while last < 4:
        found = heard(engine)
        assert last <= found.seconds <= elapsed() - began
        assert found.beat == beat
        last = found.seconds
        assert elapsed() - began < 9
        time.sleep(0.05)
    time.sleep(1)
    assert heard(engine) == Heard(4.0, beat), "for as long as it is to be kept it is never None"
    engine.beat(WORD, 3)
    assert heard(engine).seconds <= 1
    assert heard(engine).beat != beat


def test_a_beat_of_another_process_is_as_good(server: Etcd, opened: Opened) -> None:
    holder, keeper, judge = (opened(server) for _ in range(3))
    holder.beat(WORD, 30)
    seen = {heard(judge).beat}
    for each in (keeper, keeper, holder, keeper):
        each.beat(WORD, 30)
        assert heard(judge).seconds <= 1
        seen.add(heard(judge).beat)
    assert len(seen) == 5


@pytest.mark.parametrize("by", ["the same", "another"])
def test_a_longer_lease_is_not_over_when_a_shorter_one_would_be(server: Etcd, opened: Opened, by: str) -> None:
    first = opened(server)
    first.beat(WORD, 3)
    second = first if by == "the same" else opened(server)
    began = elapsed()
    second.beat(WORD, 60)
    found = server.ask("/v3/lease/timetolive", {"ID": first._beats.named(WORD).lease})
    assert found["grantedTTL"] == "80"
    assert heard(first).seconds <= elapsed() - began
    first.beat(WORD, 3)
    assert heard(second).seconds <= 1


def test_a_lease_that_ended_before_its_time_is_made_anew(server: Etcd, opened: Opened) -> None:
    engine, keeper = opened(server), opened(server)
    engine.beat(WORD, 30)
    for each in (engine, keeper):
        revoke(server, engine)
        assert heard(engine).seconds == 40
        each.beat(WORD, 30)
        assert heard(engine).seconds <= 1


def test_a_lease_of_another_program_is_left_alone(server: Etcd, opened: Opened) -> None:
    """By chance, once in 2^63."""
    engine = opened(server)
    lease = engine._beats.named(WORD).lease
    server.ask("/v3/lease/grant", {"ID": lease, "TTL": "60"})
    server.ask("/v3/kv/put", {"key": "b3RoZXI=", "value": "", "lease": lease})
    with pytest.raises(Unavailable, match="is used by another program"):
        engine.beat(WORD, 30)
    assert server.ask("/v3/kv/range", {"key": "b3RoZXI="})["count"] == "1"


def test_what_a_process_left_half_done_is_not_taken_for_a_silence(server: Etcd, opened: Opened) -> None:
    """It was killed while it replaced a lease: neither the old one nor the new one is there."""
    engine = opened(server)
    engine.beat(WORD, 3)
    said = engine._beats.named(WORD)
    server.ask("/v3/kv/put", {"key": said.beat, "value": "eyJ0dGwiOjAsIm5vbmNlIjoieCJ9"})  # {"ttl":0,"nonce":"x"}
    assert heard(engine).seconds <= 1
    revoke(server, engine)
    assert engine.heard(WORD) is None, "whoever judges it gives it a beat, and waits"
    opened(server).beat(WORD, 3)
    assert heard(engine).seconds <= 1


def test_what_nobody_says_any_more_ends_by_itself(
    server: Etcd, opened: Opened, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reaps. While it is said it is there, whoever says it."""
    monkeypatch.setattr("looop_portable_etcd.beats.kept", lambda ttl: ttl + 1.0)
    holder, keeper = opened(server), opened(server)
    began = elapsed()
    while elapsed() - began < 7:
        for each in (holder, keeper):
            each.beat(WORD, 2)
            assert heard(each).seconds <= 2
            time.sleep(0.3)
    while keys := keys_below(server, prefix):
        assert elapsed() - began < 20, keys
        time.sleep(0.1)
    holder.beat(WORD, 2)
    assert heard(keeper).seconds <= 2


def test_what_is_forgotten_leaves_no_lease_behind_that_lasts(server: Etcd, opened: Opened, prefix: str) -> None:
    engine = opened(server)
    engine.beat(WORD, 30)
    keeper = engine._beats.named(WORD).keeper
    kept_for = server.ask("/v3/lease/timetolive", {"ID": keeper})["TTL"]
    assert isinstance(kept_for, str)
    assert int(kept_for) >= 7 * 86400
    engine.forget(BEAT, WORD)
    assert server.ask("/v3/lease/timetolive", {"ID": keeper})["TTL"] == "-1"
    assert not keys_below(server, prefix)
    engine.beat(WORD, 30)
    assert heard(engine).seconds <= 1


def test_a_beat_whose_keeper_has_ended_too_early_is_given_all_the_same(server: Etcd, opened: Opened) -> None:
    engine = OnEngine(opened(server), "etcd").sessions
    session = enter(engine, far("a"))
    own = opened(server)
    keeper = own._beats.named(f"{session.session}/{session.incarnation}").keeper
    server.ask("/v3/lease/revoke", {"ID": keeper})
    assert not engine.signs.has_beat(*session.holder)
    engine.signs.beat(*session.holder)
    assert engine.signs.has_beat(*session.holder)


def test_a_member_that_may_not_lead_any_more_is_not_believed(
    server: Etcd, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, ask, terms = opened(server), Gateway.ask, iter(["1", "1", "1"])
    engine.beat(WORD, 30)

    def other_term(gateway: Gateway, *calls: Call, **options: Any) -> list[Any]:
        found = ask(gateway, *calls, **options)
        for call, answer in zip(calls, found, strict=True):
            if call.path.endswith("timetolive"):
                answer["header"]["raft_term"] = next(terms, answer["header"]["raft_term"])
        return found

    monkeypatch.setattr(Gateway, "ask", other_term)
    with pytest.raises(Unavailable, match="do not agree yet who leads"):
        engine.heard(WORD)
    assert heard(engine).seconds <= 1


def test_nobody_is_dead_whose_lease_etcd_has_ended_too_early(server: Etcd, opened: Opened) -> None:
    """As a leader does that was stopped while another was elected (etcd#15247): the silence is watched first."""
    holder, judge = (OnEngine(opened(server), "etcd").sessions for _ in range(2))
    session = enter(holder, far("a"))
    own, evidence = opened(server), Sessions(judge).evidence
    for _ in range(3):
        holder.signs.beat(*session.holder)
        lease = own._beats.named(f"{session.session}/{session.incarnation}").lease
        server.ask("/v3/lease/revoke", {"ID": lease})
        assert not evidence.examine(session).dead
    holder.signs.beat(*session.holder)
    assert evidence.examine(session).liveness is Liveness.ALIVE


def test_a_leader_that_was_stopped_makes_nobody_dead_when_it_goes_on(opened: Opened) -> None:
    """It knows nothing of the beats since then, and its clock went on."""
    with cluster() as members:
        for number in range(3):
            old = leader_of(members)
            others = [each for each in members if each is not old]
            session = enter(OnEngine(opened(*members), "etcd").sessions, far(f"s{number}"))
            old.freeze()
            leader_of(others)
            holder, began = OnEngine(opened(*others), "etcd").sessions.signs, elapsed()
            while elapsed() - began < 4.5:
                holder.beat(*session.holder)
                time.sleep(0.2)
            old.thaw()
            for server in (old, others[0]):
                try:
                    assert not Sessions(OnEngine(opened(server), "etcd").sessions).evidence.examine(session).dead
                except Unavailable:
                    continue  # As good an answer.


def test_a_page_of_large_records_is_whole(server: Etcd, opened: Opened) -> None:
    engine = opened(server)
    for number in range(6):
        assert engine.advance(TICKET, f"t{number}", 0, bytes(1 << 20), not_after=elapsed() + 5).won
    assert [key for key, _ in engine.scan(TICKET)] == [f"t{number}" for number in range(6)]


def test_no_key_is_outside_the_prefix(server: Etcd, opened: Opened, prefix: str) -> None:
    engine = opened(server)
    engine.beat(WORD, 3)
    assert engine.advance(TICKET, "t", 0, b"x", not_after=elapsed() + 5).won
    assert sorted(key.split("/")[1] for key in keys_below(server, prefix)) == ["beat", "lease", "ticket", "until"]
