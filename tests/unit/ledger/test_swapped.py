"""A store that was removed, restored from a backup, or swapped for another under a live holder: a number is no proof there.

Whoever acts upon a generation ends nobody else's, though it has the same number.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import FILE_BACKENDS, open_or_skip

from looop_portable import (
    Broken,
    ClaimLost,
    Claims,
    Held,
    Lease,
    Refused,
    Released,
    SessionAlive,
    Superseded,
    Sweep,
    Unavailable,
    Won,
    hold,
)
from looop_portable.protocol.records import Holder

NAME = "repo-x"


@pytest.fixture(params=FILE_BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    open_or_skip(request.param, tmp_path / "tried")
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "above" / "store"


def claims_in(store: Path, backend: str) -> Claims:
    return Claims.open(str(store), backend)


def won(claims: Claims, session: str | Holder = "") -> Lease:
    me = session if isinstance(session, Holder) else claims.sessions.register(session).holder
    outcome = claims.claim(NAME, me)
    assert isinstance(outcome, Won)
    return outcome.lease


def removed(store: Path, fill: Callable[[Path], Lease]) -> Lease:
    """Removed, and made anew."""
    shutil.rmtree(store)
    return fill(store)


def restored(store: Path, fill: Callable[[Path], Lease]) -> Lease:
    """A backup of before anybody held is put back, after others have held."""
    others = store.parent / "others"
    shutil.copytree(f"{store}.backup", others, symlinks=True)
    shutil.rmtree(store)
    others.rename(store)
    return fill(store)


def swapped(store: Path, fill: Callable[[Path], Lease]) -> Lease:
    """Another store, in which somebody holds, takes its place by rename."""
    other, aside = store.parent / "other", store.parent / "aside"
    lease = fill(other)
    store.rename(aside)
    other.rename(store)
    return lease


SWAPS = [removed, restored, swapped]
swaps = pytest.mark.parametrize("swap", SWAPS)
keeps_sessions = pytest.mark.parametrize("swap", SWAPS[1:])


class Stage:
    """A holder, whose lease is `old`, in a store that is swapped for one in which another holds by `new`."""

    def __init__(self, store: Path, backend: str, swap: Any, session: str, *, one_object: bool) -> None:
        self.claims = claims_in(store, backend)
        self.claims.sessions.register("else")
        self.claims.claim("something", "else")
        if swap is restored:
            shutil.copytree(store, f"{store}.backup", symlinks=True)
        self.old = won(self.claims, "old")
        self.claims.check(NAME, 1)
        self.others = self.claims if one_object else claims_in(store, backend)

        def fill(directory: Path) -> Lease:
            there = self.others if directory == store else claims_in(directory, backend)
            return won(there, session)

        self.new = swap(store, fill)
        assert self.new.generation == self.old.generation
        self.fresh = claims_in(store, backend)

    @property
    def is_untouched(self) -> bool:
        lease = self.fresh.show(NAME).lease
        return lease == self.new and isinstance(self.fresh.claim(NAME, self.fresh.sessions.register().holder), Held)


stages = pytest.mark.parametrize("one_object", [False, True], ids=["two processes", "one process"])
by = pytest.mark.parametrize("session", ["new", "old"], ids=["by another session", "by another of the same id"])


@swaps
@by
@stages
@pytest.mark.parametrize("looks", [False, True])
def test_an_orderly_release_does_not_end_the_new_holder_s_lease(
    store: Path, backend: str, swap: Any, session: str, one_object: bool, looks: bool
) -> None:
    stage = Stage(store, backend, swap, session, one_object=one_object)
    if looks:
        assert not stage.claims.check(NAME, stage.old.generation).is_still(stage.old)
    for _ in range(2):
        assert isinstance(stage.claims.release_lease(stage.old), Refused)
    assert isinstance(stage.claims.release(NAME, Holder(stage.old.session, stage.old.incarnation)), Refused)
    assert stage.is_untouched


@swaps
@by
@stages
def test_a_session_that_ends_releases_nothing_of_another_s(
    store: Path, backend: str, swap: Any, session: str, one_object: bool
) -> None:
    stage = Stage(store, backend, swap, session, one_object=one_object)
    old = Holder(stage.old.session, stage.old.incarnation)
    if session == "old":
        assert stage.claims.retire(old).released == ()
    else:
        assert stage.claims.retire(stage.claims.sessions.register("old").holder).released == ()
    assert stage.is_untouched


@keeps_sessions
def test_one_session_s_release_of_what_it_held_before_is_not_one_of_what_it_holds_since(
    store: Path, backend: str, swap: Any
) -> None:
    """The same session in both, and the same number: the record tells."""
    claims = claims_in(store, backend)
    me = claims.sessions.register("s").holder
    shutil.copytree(store, f"{store}.backup", symlinks=True)
    shutil.copytree(store, store.parent / "other", symlinks=True)
    before = won(claims, me)
    others = claims_in(store if swap is restored else store.parent / "other", backend)
    since = swap(store, lambda _: won(others, me))
    assert since[:4] == before[:4]
    assert isinstance(claims.release_lease(before), Refused)
    assert claims_in(store, backend).show(NAME).lease == since


@keeps_sessions
def test_another_generation_of_the_same_session_is_not_ended_by_the_old_one(store: Path, backend: str, swap: Any) -> None:
    claims = claims_in(store, backend)
    me = claims.sessions.register("s").holder
    for copy in (f"{store}.backup", str(store.parent / "other")):
        shutil.copytree(store, copy, symlinks=True)
    assert isinstance(claims.claim(NAME, me), Won)
    assert isinstance(claims.release(NAME, me), Released)
    before = won(claims, me)
    others = claims_in(store if swap is restored else store.parent / "other", backend)
    since = swap(store, lambda _: won(others, me))
    assert since.generation < before.generation
    assert isinstance(claims.release_lease(before), Refused)
    assert not claims.check(NAME, before.generation).current
    assert claims_in(store, backend).show(NAME).lease == since


@swaps
@by
@pytest.mark.parametrize("looks", [False, True])
def test_a_block_is_told_and_leaves_the_new_holder_alone(
    store: Path, backend: str, swap: Any, session: str, looks: bool
) -> None:
    claims_in(store, backend).sessions.register("else")
    if swap is restored:
        shutil.copytree(store, f"{store}.backup", symlinks=True)
    block = hold(NAME, data_dir=str(store), backend=backend)
    mine = block.__enter__()
    new = swap(store, lambda directory: won(claims_in(directory, backend), session))
    if looks:
        with pytest.raises(ClaimLost):
            mine.check()
    with pytest.raises(ClaimLost):
        block.__exit__(None, None, None)
    assert claims_in(store, backend).show(NAME).lease == new


def test_a_block_that_looked_while_nothing_was_there_leaves_the_new_holder_alone(store: Path, backend: str) -> None:
    block = hold(NAME, data_dir=str(store), backend=backend)
    mine = block.__enter__()
    shutil.rmtree(store)
    with pytest.raises(ClaimLost):
        mine.check()
    new = won(claims_in(store, backend))
    with pytest.raises(ClaimLost):
        block.__exit__(None, None, None)
    assert claims_in(store, backend).show(NAME).lease == new


class Between:
    """Swaps the store just before `claims` acts upon what it has judged."""

    def __init__(self, claims: Claims, store: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.new: list[Lease] = []
        advance = claims.backend.advance

        def act(name: str, expected: int, lease: Lease | None) -> bool:
            if not self.new:
                shutil.rmtree(store)
                self.new.append(won(claims_in(store, backend), "new"))
            return advance(name, expected, lease)

        monkeypatch.setattr(claims.backend, "advance", act)


CORPSES = """
import sys
from looop_portable import Claims
name, backend, *stores = sys.argv[1:]
for store in stores:
    claims = Claims.open(store, backend)
    claims.sessions.register("dead")
    claims.claim(name, "dead")
"""
Corpse = Callable[[Path, str], None]


@pytest.fixture(scope="module")
def corpse(memory: Path | None) -> Iterator[Corpse]:
    """Puts somebody into a store who has claimed, and died. One process has died in many stores."""
    ready: dict[str, list[Path]] = {}

    def move(store: Path, backend: str) -> None:
        if not ready.get(backend):
            made = ready[backend] = [Path(tempfile.mkdtemp(dir=place), "store") for _ in range(8)]
            subprocess.run([sys.executable, "-c", CORPSES, NAME, backend, *map(str, made)], check=True)
        store.parent.mkdir()
        ready[backend].pop().rename(store)

    with tempfile.TemporaryDirectory(dir=memory) as place:  # On the filesystem of the stores: it is renamed.
        yield move


@pytest.mark.parametrize("verb", ["break", "reap", "claim", "unclaim"])
def test_what_was_judged_in_another_store_is_not_done_in_this_one(
    store: Path, backend: str, verb: str, corpse: Corpse, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpse(store, backend)
    claims = claims_in(store, backend)
    swap = Between(claims, store, backend, monkeypatch)
    verbs: dict[str, Callable[[], object]] = {
        "break": lambda: claims.break_claim(NAME, 1, "test"),
        "reap": claims.reap,
        "claim": lambda: claims.claim(NAME, "nobody"),
        "unclaim": lambda: claims.release(NAME, "nobody"),
    }
    outcome = verbs[verb]()
    assert not isinstance(outcome, Broken | Won | Released)
    assert verb != "break" or isinstance(outcome, Superseded)
    assert not isinstance(outcome, Sweep) or outcome.reaped == ()
    assert claims_in(store, backend).show(NAME).lease == swap.new[0]


@pytest.mark.parametrize("verb", ["stop", "register", "resume", "hand_over", "conclude"])
def test_a_session_that_was_judged_in_another_store_is_not_ended_in_this_one(
    store: Path, backend: str, verb: str, corpse: Corpse, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verb in ("register", "conclude"):
        corpse(store, backend)
        claims = claims_in(store, backend)
        old = claims.sessions.holder("dead")
    else:
        claims = claims_in(store, backend)
        old = claims.sessions.register("dead", lease_seconds=30).holder
    if verb == "conclude":  # Who has died by a whole proof need not be ended.
        examine = claims.sessions.evidence.examine
        monkeypatch.setattr(claims.sessions.evidence, "examine", lambda found, *_: examine(found)._replace(inferred=True))
    new: list[Holder] = []
    advance = claims.backend.sessions.advance

    def act(session: str, expected: int, registration: Any) -> bool:
        if not new:
            shutil.rmtree(store)
            new.append(claims_in(store, backend).sessions.register("dead").holder)
        return advance(session, expected, registration)

    monkeypatch.setattr(claims.backend.sessions, "advance", act)
    calls: dict[str, Callable[[], object]] = {
        "stop": lambda: claims.sessions.stop(*old),
        "register": lambda: claims.sessions.register("dead"),
        "resume": lambda: claims.sessions.resume(old),
        "hand_over": lambda: claims.sessions.hand_over(old, claims.sessions.evidence.this_process().pid),
        "conclude": lambda: claims.sessions.conclude(old),
    }
    with contextlib.suppress(SessionAlive, Unavailable):
        assert not isinstance(calls[verb](), Holder)
    (holder,) = new
    assert claims_in(store, backend).sessions.registration(holder) is not None
