"""Long names: no file name is longer than eCryptfs can store, and what was spelled otherwise before is still found."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE_POLICY, NativeFiles

from looop_portable import Claims
from looop_portable.backends.directory import projection
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.errors import CannotExclude, Unavailable
from looop_portable.ledger import spelling
from looop_portable.ledger.stamp import FLOCK, Policy
from looop_portable.protocol.names import spellings
from looop_portable.protocol.outcomes import Held, Won
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.running.keepers import Keepers

SIZES = [138, 139, 140, 143, 144, 175, 176, 199, 200, 201, 255, 1000]
LONG = [139, 140, 150, 200, 201, 300]
SHARED = Policy("advisory", guard=FLOCK, without_links=FLOCK, holds=(FLOCK,))
LEASE = Lease("x", "w1", "i1", 1)


class Short(NativeFiles):
    """A filesystem that stores names of `most` bytes; what it was asked to store is in `made`."""

    def __init__(self, most: int = 143) -> None:
        self.most = most
        self.made: set[str] = set()


def _limited(call: Callable[..., Any], makes: bool) -> Callable[..., Any]:
    def limited(self: Short, *args: Any, **options: Any) -> Any:
        for path in (arg for arg in args if isinstance(arg, str)):
            if any(len(os.fsencode(part)) > self.most for part in path.split("/")):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        if makes:
            self.made.update(arg.rpartition("/")[2] for arg in args if isinstance(arg, str))
        return call(self, *args, **options)

    return limited


for _name in ("create", "link", "rename", "replace", "mkdir", "make_beat", "keep_lock"):
    setattr(Short, _name, _limited(getattr(NativeFiles, _name), makes=True))
for _name in ("remove", "list", "read", "refuse_link", "beat", "changed", "now", "age", "rmdir", "shared_bits"):
    setattr(Short, _name, _limited(getattr(NativeFiles, _name), makes=False))


@contextmanager
def before(most: int = 255) -> Iterator[None]:
    """As versions before 0.2 spelled names: one way, and no look for another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spelling, "spellings", lambda name: (spellings(name)[1] or spellings(name)[0], ""))
        patch.setattr(projection, "LONGEST", most)
        yield


def opened(directory: Path, files: NativeFiles | None = None, policy: Policy = NATIVE_POLICY) -> DirectoryBackend:
    return DirectoryBackend(str(directory), policy, files or NativeFiles())


def long_name(size: int) -> str:
    return "n" * size


def entries(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*")}


@pytest.mark.parametrize("policy", [NATIVE_POLICY, SHARED], ids=["own", "shared with looop"])
@pytest.mark.parametrize("size", SIZES)
def test_a_name_of_any_length_works_where_names_are_short(tmp_path: Path, size: int, policy: Policy) -> None:
    files, name = Short(), long_name(size)
    backend = opened(tmp_path, files, policy)
    if policy is SHARED and backend.unavailable():
        pytest.skip(str(backend.unavailable()))
    claims = Claims(backend)
    assert claims.sessions.register(name, lease_seconds=30, locked=True).session == name
    assert isinstance(claims.claim(name, name), Won)
    assert isinstance(Claims(opened(tmp_path, files, policy)).claim(name, "other"), Held)
    assert [status.name for status in claims.list()] == [name]
    assert claims.sessions.ids() == [name]
    assert claims.sessions.renew(claims.sessions.holder(name))
    ticket = backend.tickets.take(name, Registration("", "", os.getpid()))
    assert backend.tickets.line(name) == [ticket]
    backend.tickets.give_back(name, ticket)
    claims.release(name, name)
    assert claims.claim(name, name).lease.generation == 3
    assert backend.tidy() == []
    claims.sessions.stop(name)
    claims.sessions.tidy()
    assert max(len(os.fsencode(made)) for made in files.made) <= 143


@pytest.mark.parametrize("size", SIZES)
def test_a_keepers_files_have_short_names(tmp_path: Path, size: int) -> None:
    keepers = Keepers(str(tmp_path))
    base = os.path.basename(keepers.base(Holder(long_name(size), "0123456789abcdef")))
    assert len(f"{base}.log.1") <= 143
    assert base != os.path.basename(keepers.base(Holder(long_name(size + 1), "0123456789abcdef")))


@pytest.mark.parametrize("size", LONG)
def test_what_was_spelled_otherwise_before_keeps_its_generations(tmp_path: Path, size: int) -> None:
    name = long_name(size)
    with before():
        old = opened(tmp_path)
        for generation in (0, 2, 4):
            assert old.advance(name, generation, LEASE)
            assert old.advance(name, generation + 1, None)
        assert old.advance(name, 6, LEASE._replace(name=name, generation=7))
    was = entries(tmp_path)
    new = opened(tmp_path)
    assert new.read(name).generation == 7
    assert list(new.claims()) == [name]
    assert new.tidy() == []
    assert new.advance(name, 7, None)
    assert new.advance(name, 8, LEASE)
    assert new.advance(name, 9, None)
    with before():
        assert opened(tmp_path).read(name) == (10, None, None)
    assert {entry for entry in entries(tmp_path) if not entry.isdecimal()} == {
        entry for entry in was if not entry.isdecimal() and not entry.endswith(".json")
    } | {".protocol.json"}


@pytest.mark.parametrize("size", [140, 150, 200, 201, 300])
@pytest.mark.parametrize("first", ["old", "new"])
def test_an_older_version_beside_this_one_never_wins_what_it_has(tmp_path: Path, size: int, first: str) -> None:
    name = long_name(size)
    with before():
        old = opened(tmp_path)
    new = opened(tmp_path)
    assert new.read(name).generation == 0
    if first == "old":
        with before():
            assert old.advance(name, 0, LEASE)
        assert not new.advance(name, 0, LEASE)
        assert new.read(name).generation == 1
        return
    assert new.advance(name, 0, LEASE)
    with before(), pytest.raises(Unavailable):
        old.read(name)
    with before(), pytest.raises(Unavailable):
        old.advance(name, 0, LEASE)
    assert new.read(name).generation == 1
    assert new.ledger.names() == [spellings(name)[0]]


@pytest.mark.parametrize("size", [140, 200, 300])
def test_a_crash_before_the_first_generation_changes_nothing(tmp_path: Path, size: int) -> None:
    name = long_name(size)
    assert opened(tmp_path).ledger.spelling.settle(name) == spellings(name)[0]
    after = opened(tmp_path)
    assert (after.ledger.names(), list(after.claims()), after.tidy()) == ([], [], [])
    assert after.advance(name, 0, LEASE)
    assert after.read(name).generation == 1


@pytest.mark.parametrize("size", [140, 200, 300])
def test_the_first_claimer_where_looop_is_at_home_spells_as_looop_does(tmp_path: Path, size: int) -> None:
    name = long_name(size)
    first = opened(tmp_path, policy=SHARED)
    try:
        assert first.advance(name, 0, LEASE)
    except CannotExclude as reason:
        pytest.skip(str(reason))
    assert opened(tmp_path, policy=SHARED).read(name).generation == 1
    assert first.ledger.names() == [spellings(name)[1]]
    assert (tmp_path / "claims" / f"{spellings(name)[1]}.json").exists()


def test_where_all_was_removed_older_versions_are_kept_out_again(tmp_path: Path) -> None:
    name = long_name(150)
    new = opened(tmp_path / "data")
    assert new.advance(name, 0, LEASE)
    shutil.rmtree(tmp_path / "data")
    assert new.ledger.spelling.settle(name) == spellings(name)[0]
    assert (tmp_path / "data/claims/.ledger" / name).is_file()


def test_short_names_cost_nothing(tmp_path: Path) -> None:
    files = Short(most=0)  # Any call would fail.
    backend = opened(tmp_path, files)
    assert backend.ledger.spelling.key("n" * 139) == backend.ledger.spelling.settle("n" * 139) == "n" * 139


@pytest.mark.parametrize("size", [139, 140, 150, 200])
@pytest.mark.parametrize("policy", [NATIVE_POLICY, SHARED], ids=["own", "shared with looop"])
def test_a_lease_that_looop_wrote_under_a_long_name_is_respected(tmp_path: Path, size: int, policy: Policy) -> None:
    name = long_name(size)
    backend = opened(tmp_path, policy=policy)
    if policy is SHARED and backend.unavailable():
        pytest.skip(str(backend.unavailable()))
    (tmp_path / "claims").mkdir(exist_ok=True)
    lease = tmp_path / "claims" / f"{name}.json"
    lease.write_text(json.dumps({"session": "looops", "name": name}))
    found = backend.read(name).lease
    assert (found and found.session, list(backend.claims())) == ("looops", [name])
    claims = Claims(backend)
    claims.release(name, "looops")
    assert not lease.exists()
    assert isinstance(claims.claim(name, "w1"), Won)
    assert lease.exists() == (policy is SHARED)


@pytest.mark.parametrize("size", LONG)
def test_a_session_that_was_registered_before_is_found(tmp_path: Path, size: int) -> None:
    name = long_name(size)
    with before():
        old = Claims(opened(tmp_path))
        holder = old.sessions.register(name, lease_seconds=30).holder
        old.claim("x", holder)
    new = Claims(opened(tmp_path))
    assert new.sessions.holder(name) == holder
    assert new.sessions.renew(holder)
    assert isinstance(new.claim("x", "w2"), Held)
    assert new.sessions.ids() == [name]
    assert new.sessions.stop(name)
    with before():
        assert old.sessions.registration(holder) is None
