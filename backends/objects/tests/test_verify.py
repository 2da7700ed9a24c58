"""What `looop doctor` is told of a bucket; and stores that let two win, or delete, are found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from looop_portable.backends.engine import CLAIM, Fact
from looop_portable.system.clock import elapsed
from looop_portable_objects import verify
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from support.servers.pretending import Pretending
from support.servers.s3s_fs import S3sFs

Open = Callable[[], ObjectEngine]


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretending]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "looop")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    pretending = Pretending()
    yield pretending
    pretending.close()


def found(engine: ObjectEngine) -> dict[str, Fact]:
    facts = engine.verify()
    for each in facts:
        assert f"{each.found}{each.advice}".isprintable()
        assert "s3cret" not in f"{each}"
        assert each.excludes or each.advice
    return {each.name: each for each in facts}


def test_a_store_that_keeps_its_word_is_accepted_and_left_as_it_was(connect: Open) -> None:
    engine = connect()
    assert engine.advance(CLAIM, "x", 0, b"one", not_after=elapsed() + 60).won
    facts = found(engine)
    assert all(each.excludes for each in facts.values())
    assert facts["race"].found.startswith(f"{verify.THREADS} at once, {verify.ROUNDS} times: never two")
    assert [name for name, _ in engine.bucket.names(f"{engine._prefix}{CLAIM}", "", 10)] == [engine._name(CLAIM, "x")]


def test_the_store_of_these_tests_is_accepted_as_long_as_it_keeps_its_word(pretending: Pretending) -> None:
    facts = found(ObjectEngine(place_in(pretending.url())))
    assert all(each.excludes for each in facts.values())


def test_a_store_that_compares_first_and_writes_then_is_refused(pretending: Pretending) -> None:
    """As s3s-fs does: one after another it refuses."""
    pretending.exclusive = False
    facts = found(ObjectEngine(place_in(pretending.url())))
    assert facts["conditions"].excludes
    assert not facts["race"].excludes
    assert "two that create" in facts["race"].found
    assert "two that replace" in facts["race"].found


def test_s3s_fs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    server = S3sFs()
    for name, value in server.credentials().items():
        monkeypatch.setenv(name, value)
    try:
        server.start()
        facts = found(ObjectEngine(place_in(server.url("ci"))))
    finally:
        server.close()
    assert facts["conditions"].excludes, "one request after another it keeps them"
    assert not facts["race"].excludes


def test_a_store_that_looks_at_no_condition_is_refused(pretending: Pretending) -> None:
    pretending.believes = False
    facts = found(ObjectEngine(place_in(pretending.url())))
    assert not facts["conditions"].excludes
    assert not facts["race"].excludes


def test_a_rule_that_deletes_is_told_of(pretending: Pretending) -> None:
    pretending.expires = 'expiry-date="Fri, 23 Dec 2027 00:00:00 GMT", rule-id="old"'
    facts = found(ObjectEngine(place_in(pretending.url())))
    assert not facts["life cycle"].excludes
    assert 'rule-id="old"' in facts["life cycle"].found


def test_versions_that_are_kept_are_told_of(pretending: Pretending) -> None:
    pretending.keeps_versions = True
    facts = found(ObjectEngine(place_in(pretending.url())))
    assert facts["versions"].excludes
    assert "noncurrent" in facts["versions"].advice


@pytest.mark.parametrize(("ahead", "says"), [(600, "behind"), (-600, "ahead of"), (0, "to 2 s")])
def test_a_clock_that_is_not_this_host_s_is_told_of(pretending: Pretending, ahead: float, says: str) -> None:
    pretending.ahead = ahead
    assert says in found(ObjectEngine(place_in(pretending.url())))["clock"].found
