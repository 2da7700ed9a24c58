"""What `looop doctor` is told of an etcd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.servers.etcd import Etcd, cluster, leader_of

from looop_portable import Unavailable
from looop_portable.backends.engine import Fact
from looop_portable_etcd.engine import EtcdEngine

Opened = Callable[..., EtcdEngine]


def told(engine: EtcdEngine) -> dict[str, Fact]:
    found = engine.verify()
    assert len({each.name for each in found}) == len(found)
    assert all(each.found.isprintable() and each.advice.isprintable() for each in found)
    return {each.name: each for each in found}


def test_a_member_alone(server: Etcd, opened: Opened) -> None:
    found = told(opened(server))
    assert found["version"].found.startswith("etcd 3.")
    assert found["role"].found == "the leader"
    assert found["members"].found == "1 that vote: 0 may fail"
    assert "three survive" in found["members"].advice
    assert found["alarms"].found == "none"
    assert "auth enable" in found["users"].advice
    assert " MiB of 2048 are used" in found["space"].found
    assert "etcds://" in found["transport"].advice
    assert all(each.excludes for each in found.values())


def test_a_cluster_of_which_one_is_down(opened: Opened) -> None:
    with cluster() as members:
        leader = leader_of(members)
        followers = [each for each in members if each is not leader]
        assert told(opened(followers[0]))["role"].found == "a follower of the one that leads"
        followers[1].kill()
        found = told(opened(followers[0], leader, followers[1]))
        assert found["members"] == Fact("members", "3 that vote, 2 of 3 named here answer: 1 may fail")
        leader.kill()
        with pytest.raises(Unavailable):
            opened(followers[1], leader).verify()


def test_a_member_that_nobody_leads_is_refused(opened: Opened) -> None:
    with cluster() as members:
        leader_of(members)
        alone, *others = members
        for each in others:
            each.kill()
        engine = opened(alone, query="?timeout=4")
        role = told(engine)["role"]
        while role.excludes:  # It takes an election timeout until it notices.
            role = told(engine)["role"]
        assert role.found == "nobody leads: most members are down, or cut off"


def test_an_alarm(opened: Opened) -> None:
    small = Etcd("--quota-backend-bytes=1000000")
    try:
        small.start()
        small.ask("/v3/maintenance/alarm", {"action": "ACTIVATE", "alarm": "NOSPACE"})
        assert told(opened(small))["alarms"].found == "NOSPACE"
        small.ask("/v3/maintenance/alarm", {"action": "ACTIVATE", "alarm": "CORRUPT"})
        alarms = told(opened(small))["alarms"]
        assert alarms.found == "CORRUPT, NOSPACE"
        assert not alarms.excludes
    finally:
        small.close()
