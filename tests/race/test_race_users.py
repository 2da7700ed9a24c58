"""Two users with different umasks share a store in a setgid directory that their group can write."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import users
from support.capabilities import needs_other_users

from looop_portable import Claims, Held, Released, Won
from looop_portable.protocol.records import Holder

ANNE, BERT, GROUP = 63_121, 63_122, 63_120
UMASKS = {ANNE: 0o077, BERT: 0o022}


pytestmark = needs_other_users


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """Not below tmp_path, which is shut to other users."""
    imported = Claims.open(str(tmp_path), "posix")  # Other users may not be able to read our Python's libraries.
    imported.claim("repo-x", me(imported, "root"))
    imported.reap()
    directory = Path(tempfile.mkdtemp(prefix="shared-"))
    os.chown(directory, 0, GROUP)
    directory.chmod(0o2770)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def as_user(user: int, work: Callable[[], None], directory: Path) -> None:
    users.as_user(user, GROUP, work, umask=UMASKS[user], uses=directory)


def me(claims: Claims, session: str) -> Holder:
    found = claims.sessions.register(session)
    return Holder(found.session, found.incarnation)


@pytest.mark.parametrize(("first", "second"), [(ANNE, BERT), (BERT, ANNE)], ids=["077-then-022", "022-then-077"])
def test_a_second_user_takes_over_from_a_dead_first_one_and_releases_and_the_first_claims_again(
    shared: Path, first: int, second: int
) -> None:
    def claims_and_dies() -> None:
        claims = Claims.open(str(shared), "posix")
        won = claims.claim("repo-x", me(claims, "first"))
        assert isinstance(won, Won)
        assert claims.events
        assert claims.events.trouble == ""

    def takes_over_and_releases() -> None:
        claims = Claims.open(str(shared), "posix")
        mine = me(claims, "second")
        won = claims.claim("repo-x", mine)
        assert isinstance(won, Won)
        assert won.generation == 2
        assert won.previous
        assert isinstance(claims.release("repo-x", mine), Released)
        assert claims.events
        assert claims.events.trouble == ""

    def claims_again() -> None:
        claims = Claims.open(str(shared), "posix")
        won = claims.claim("repo-x", me(claims, "first"))
        assert isinstance(won, Won)
        assert won.generation == 4
        assert claims.events
        assert claims.events.trouble == ""

    as_user(first, claims_and_dies, shared)
    as_user(second, takes_over_and_releases, shared)
    as_user(first, claims_again, shared)
    events = [json.loads(line)["event"] for line in (shared / "events.jsonl").read_text().splitlines()]
    claims_only = [event for event in events if not event.startswith("session")]
    assert claims_only == ["claimed", "taken_over", "released", "claimed"]


@pytest.mark.parametrize(("first", "second"), [(ANNE, BERT), (BERT, ANNE)], ids=["077-then-022", "022-then-077"])
def test_a_second_user_reaps_what_a_dead_first_one_left(shared: Path, first: int, second: int) -> None:
    def claims_and_dies() -> None:
        claims = Claims.open(str(shared), "posix")
        for name in ("repo-x", "repo-y"):
            assert isinstance(claims.claim(name, me(claims, f"of-{name}")), Won)

    def reaps() -> None:
        claims = Claims.open(str(shared), "posix")
        sweep = claims.reap()
        assert (len(sweep.reaped), sweep.failed, sweep.skipped) == (2, (), "")
        assert claims.list() == []

    as_user(first, claims_and_dies, shared)
    as_user(second, reaps, shared)


def test_a_second_user_registers_a_dead_first_ones_id_and_is_refused_a_live_ones(shared: Path) -> None:
    here = Claims.open(str(shared), "posix")

    def registers_and_dies() -> None:
        Claims.open(str(shared), "posix").sessions.register("worker")

    def registers_again() -> None:
        claims = Claims.open(str(shared), "posix")
        claims.sessions.register("worker")
        outcome = claims.claim("repo-root", Holder("worker", ""))
        assert isinstance(outcome, Held)

    as_user(ANNE, registers_and_dies, shared)
    assert isinstance(here.claim("repo-root", me(here, "root")), Won)
    as_user(BERT, registers_again, shared)


def test_directories_and_the_event_log_are_the_groups_to_write_records_to_read_and_nothing_is_for_others(
    shared: Path,
) -> None:
    def works() -> None:
        claims = Claims.open(str(shared), "posix")
        mine = me(claims, "anne")
        claims.claim("repo-x", mine)
        claims.release("repo-x", mine)
        claims.claim("repo-y", mine)
        claims.reap()

    as_user(ANNE, works, shared)
    found = list(shared.rglob("*"))
    assert len(found) > 8
    wrong = {}
    for path in found:
        mode = stat.S_IMODE(path.stat().st_mode)
        needed = 0o070 if path.is_dir() else 0o060 if path.name == "events.jsonl" else 0o040
        if mode & needed != needed or mode & 0o007 or path.stat().st_gid != GROUP:
            wrong[str(path.relative_to(shared))] = oct(mode)
    assert wrong == {}
