"""A store, or a part of it, that is removed or replaced under processes that use it: they make it again, and nobody is
left believing that he holds what another has claimed since.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import FILE_BACKENDS, needs_symlinks, open_or_skip
from support.clocks import Clock

from looop_portable import ClaimLost, Claims, Held, Lease, Released, Unavailable, Won, hold
from looop_portable.aio import hold as aio_hold
from looop_portable.config import Config
from looop_portable.holding import own_session
from looop_portable.holding.hold import Hold
from looop_portable.protocol.records import Holder
from looop_portable.running import command
from looop_portable.running.request import Request
from looop_portable.waiting import claiming

NAME = "repo-x"
PARTS = ["", "claims", "claims/.ledger", f"claims/.ledger/{NAME}", "claims/.queue", "sessions", "sessions/.ledger"]
HOLDING = PARTS[:4]
"""The parts without which a claim is free for others, though its holder's session goes on or is looked at no more."""


@pytest.fixture(params=FILE_BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    open_or_skip(request.param, tmp_path / "tried")
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "above" / "store"


def claims_in(store: Path, backend: str) -> tuple[Claims, Holder]:
    claims = Claims.open(str(store), backend)
    return claims, claims.sessions.register().holder


def cycle(claims: Claims, me: Holder) -> None:
    assert isinstance(claims.claim(NAME, me), Won)
    assert isinstance(claims.release(NAME, me), Released)


def removed(store: Path, part: str) -> None:
    """At once, since those who live make it again while it is being removed."""
    if (store / part).is_dir():  # There may be no line.
        aside = Path(tempfile.mkdtemp(prefix="removed", dir=store.parent), "it")
        (store / part).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)  # Windows removes nothing that is open.


def is_held_by(store: Path, backend: str) -> str:
    lease = Claims.open(str(store), backend).show(NAME).lease
    return lease.session if lease else ""


@contextmanager
def losing(
    store: Path, backend: str, lease_seconds: int = 30, on_lost: Callable[[Hold], object] | None = None
) -> Iterator[Hold]:
    """A block that is told in its end that it has lost its claim."""
    block = hold(NAME, data_dir=str(store), backend=backend, lease_seconds=lease_seconds, on_lost=on_lost)
    yield block.__enter__()
    with pytest.raises(ClaimLost):
        block.__exit__(None, None, None)


@pytest.mark.parametrize("part", PARTS)
def test_a_block_is_entered_again_after_a_part_of_the_store_was_removed(store: Path, backend: str, part: str) -> None:
    for _ in range(2):
        with hold(NAME, data_dir=str(store), backend=backend):
            pass
    removed(store, part)
    with hold(NAME, data_dir=str(store), backend=backend) as mine:
        assert is_held_by(store, backend) == mine.session
        mine.check()
    assert is_held_by(store, backend) == ""


@pytest.mark.parametrize("part", PARTS)
def test_a_task_enters_again_after_a_part_of_the_store_was_removed(store: Path, backend: str, part: str) -> None:
    async def twice() -> None:
        async with aio_hold(NAME, data_dir=str(store), backend=backend):
            pass
        removed(store, part)
        async with aio_hold(NAME, data_dir=str(store), backend=backend, timeout=20) as mine:
            assert is_held_by(store, backend) == mine.session

    asyncio.run(twice())


@pytest.mark.parametrize("part", PARTS)
def test_one_who_claims_does_so_again_after_a_part_of_the_store_was_removed(store: Path, backend: str, part: str) -> None:
    claims, me = claims_in(store, backend)
    for _ in range(2):
        cycle(claims, me)
    removed(store, part)
    cycle(claims, claims.sessions.register().holder)


@pytest.mark.parametrize("part", HOLDING)
def test_a_holder_whose_claim_was_removed_and_won_by_another_is_told_and_releases_nothing(
    store: Path, backend: str, part: str
) -> None:
    with losing(store, backend) as mine:
        removed(store, part)
        claims, other = claims_in(store, backend)
        assert isinstance(claims.claim(NAME, other), Won)
        with pytest.raises(ClaimLost):
            mine.check()
        assert mine.lost.is_set()
    assert is_held_by(store, backend) == other.session


@pytest.mark.parametrize("part", HOLDING)
def test_a_holder_that_looks_at_nothing_does_not_release_what_another_has_claimed_since(
    store: Path, backend: str, part: str
) -> None:
    with losing(store, backend):
        removed(store, part)
        claims, other = claims_in(store, backend)
        assert isinstance(claims.claim(NAME, other), Won)
    assert is_held_by(store, backend) == other.session


@pytest.mark.parametrize("part", HOLDING)
def test_a_holder_is_told_when_it_looks_that_its_claim_was_removed(store: Path, backend: str, part: str) -> None:
    with losing(store, backend) as mine:
        removed(store, part)
        with pytest.raises(ClaimLost):
            mine.check()


def test_a_holder_finds_out_by_its_heartbeats_that_all_of_it_was_removed(
    store: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, clock = threading.Event(), Clock()
    clock.rules(monkeypatch, own_session)
    with losing(store, backend, lease_seconds=3, on_lost=lambda mine: told.set()):
        removed(store, "")
        clock.move(1.2)
        assert told.wait(60)
    with hold(NAME, data_dir=str(store), backend=backend, lease_seconds=3) as mine:
        mine.check()
    clock.stop()


def test_one_who_waits_gets_it_in_the_store_that_is_made_again(store: Path, backend: str) -> None:
    entered = threading.Event()

    def waits() -> None:
        with hold(NAME, data_dir=str(store), backend=backend, timeout=60) as mine:
            mine.check()
            entered.set()

    claims, other = claims_in(store, backend)
    assert isinstance(claims.claim(NAME, other), Won)
    waiter = threading.Thread(target=waits)
    waiter.start()
    line = store / "claims" / ".queue" / NAME
    while not (line.is_dir() and [each for each in os.listdir(line) if not each.startswith(".")]):
        assert waiter.is_alive()
    removed(store, "")
    waiter.join(60)
    assert entered.is_set()


def put_another(store: Path, backend: str) -> Holder:
    """Another store in its place, in which another has the claim. Its number is the one that was given in the first."""
    claims, other = claims_in(store.parent / "another", backend)
    assert isinstance(claims.claim(NAME, other), Won)
    shutil.rmtree(store)
    return other


def renamed(store: Path, another: Path) -> None:
    another.rename(store)


def linked(store: Path, another: Path) -> None:
    store.symlink_to(another)


@pytest.mark.parametrize("put", [renamed, pytest.param(linked, marks=needs_symlinks)])
def test_in_another_store_that_was_put_in_its_place_nothing_is_taken_for_ones_own(
    store: Path, backend: str, put: Callable[[Path, Path], None]
) -> None:
    with losing(store, backend) as mine:
        other = put_another(store, backend)
        put(store, store.parent / "another")
        with pytest.raises(ClaimLost):
            mine.check()
    assert is_held_by(store, backend) == other.session
    with hold("repo-y", data_dir=str(store), backend=backend) as next_one:
        next_one.check()


def test_a_directory_that_was_made_anew_in_another_way_is_used_in_that_way(store: Path, tmp_path: Path) -> None:
    """Nothing is published without the guard that the new stamp names."""
    open_or_skip("advisory", tmp_path / "tried")
    claims, me = claims_in(store, "auto")
    for _ in range(2):
        cycle(claims, me)
    removed(store, "")
    guarded, _ = claims_in(store, "advisory")
    assert guarded.backend.unavailable() is None
    cycle(claims, claims.sessions.register().holder)
    stamped = claims.backend.ledger.ledger_root.format()  # type: ignore[attr-defined]
    assert (stamped.links, stamped.guard) == (True, "flock")


def test_a_writer_above_what_is_not_there_any_more_withdraws(store: Path, backend: str) -> None:
    """It had judged what was removed since; another holds in what was made in its place."""
    claims, me = claims_in(store, backend)
    for _ in range(3):
        cycle(claims, me)
    judged = claims.backend.read(NAME).generation
    removed(store, f"claims/.ledger/{NAME}")
    others, other = claims_in(store, backend)
    won = others.claim(NAME, other)
    assert isinstance(won, Won)
    later = won.lease._replace(session=me.session, incarnation=me.incarnation)
    assert not claims.backend.advance(NAME, judged + 20, later._replace(generation=judged + 21))
    assert is_held_by(store, backend) == other.session


def test_a_command_whose_session_was_removed_while_it_waited_is_not_run(
    store: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would hold is anybody's: there is no such session."""
    claims = Claims.open(str(store), backend)
    claim_all = claiming.claim_all

    def removed_meanwhile(*args: Any, **options: Any) -> object:
        removed(store, "")
        return claim_all(*args, **options)

    class Told:
        def waits(self, held: Held, seconds: float) -> None: ...
        def won(self, lease: Lease) -> None: ...
        def joined(self, lease: Lease) -> None: ...
        def expired(self, names: Sequence[str], seconds: float) -> None: ...
        def lost(self, names: Sequence[str], reason: str, ends: bool) -> None: ...
        def left(self, name: str, reason: str) -> None: ...

    monkeypatch.setattr(claiming, "claim_all", removed_meanwhile)
    request = Request([sys.executable, "-c", f"open({str(store.parent / 'ran')!r}, 'w')"], [NAME], lease_seconds=30)
    with pytest.raises(Unavailable, match="it was ended, or removed, before the command began"):
        command.run(Config(str(store), backend), claims, request, Told())
    assert not (store.parent / "ran").exists()
