"""Whatever umask or user makes a store, or a part of it, whoever owns the directory above can use it."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_other_users
from support.users import as_user

from looop_portable import Claims, Released, Won, hold
from looop_portable.system.files import OS

USER, ANOTHER, GROUP = 63_131, 63_132, 63_130
SHUT = [0o177, 0o777, 0o377]

pytestmark = needs_other_users


@pytest.fixture(params=["posix", "advisory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What it imports is imported here: other users may not be able to read our Python's libraries."""
    with hold("repo-x", data_dir=str(tmp_path), backend=request.param):
        Claims.open(str(tmp_path), request.param).reap()
    return str(request.param)


@pytest.fixture
def home() -> Iterator[Path]:
    """A user's. Not below tmp_path, which is shut to other users."""
    above = Path(tempfile.mkdtemp(prefix="home-"))
    above.chmod(0o755)
    directory = above / "user"
    directory.mkdir()
    os.chown(directory, USER, GROUP)
    try:
        yield directory
    finally:
        shutil.rmtree(above)


def store_in(home: Path) -> Path:
    return home / ".local" / "state" / "looop"


def using(home: Path, backend: str, session: str) -> Callable[[], None]:
    """All that makes files: registered, alive, claimed, waited for, released, told, left, reaped."""

    def work() -> None:
        claims = Claims.open(str(store_in(home)), backend)
        tickets = claims.backend.tickets
        assert tickets
        for turn in range(2):
            me = claims.sessions.register(f"{session}-{turn}", lease_seconds=30).holder
            won = claims.claim("repo-x", me)
            assert isinstance(won, Won)
            assert claims.sessions.renew(me)
            assert claims.sessions.resume(me)
            ticket = tickets.take("repo-x", claims.sessions.evidence.this_process())
            assert tickets.line("repo-x") == [ticket]
            tickets.give_back("repo-x", ticket)
            assert isinstance(claims.release("repo-x", me), Released)
            assert claims.events
            assert claims.events.trouble == ""
        claims.claim(f"left-by-{session}", me)
        sweep = claims.reap()
        assert (sweep.failed, sweep.skipped) == ((), "")
        OS.make_private(f"{home}/.local/state/keepers")

    return work


def not_owned_by(user: int, directory: Path) -> list[str]:
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.lstat().st_uid != user]


@pytest.mark.parametrize("umask", SHUT, ids=oct)
def test_a_umask_that_shuts_even_its_owner_out_shuts_nothing(home: Path, backend: str, umask: int) -> None:
    as_user(USER, GROUP, using(home, backend, "a"), umask=umask)
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    as_user(USER, GROUP, using(home, backend, "b"))
    as_user(USER, GROUP, using(home, backend, "c"), umask=umask)
    as_user(USER, GROUP, using(home, backend, "b"))


@pytest.mark.parametrize("umask", [0o022, 0o077, *SHUT], ids=oct)
def test_a_name_that_root_claims_first_in_a_users_store_is_the_users(home: Path, backend: str, umask: int) -> None:
    as_user(0, GROUP, using(home, backend, "root"), umask=umask)
    assert not_owned_by(USER, home) == []
    as_user(USER, GROUP, using(home, backend, "user"))
    as_user(0, GROUP, using(home, backend, "root"), umask=umask)
    as_user(USER, GROUP, using(home, backend, "user"))


def test_a_name_that_root_claims_in_a_store_that_the_user_has_made_is_the_users(home: Path, backend: str) -> None:
    as_user(USER, GROUP, using(home, backend, "user"))
    as_user(0, GROUP, using(home, backend, "root"), umask=0o077)
    as_user(USER, GROUP, using(home, backend, "user"))
    assert not_owned_by(USER, home) == []


def test_what_root_makes_in_roots_own_directory_stays_roots(home: Path, backend: str) -> None:
    os.chown(home, 0, 0)
    as_user(0, GROUP, using(home, backend, "root"))
    assert not_owned_by(0, home) == []


def test_what_root_makes_in_a_shared_store_is_its_owners_and_its_groups(home: Path, backend: str) -> None:
    store = store_in(home)
    store.mkdir(parents=True)
    os.chown(store, USER, GROUP)
    store.chmod(0o2770)
    for path in (home, *store.parents[:2]):
        path.chmod(0o777)
    as_user(0, GROUP, using(home, backend, "root"), umask=0o077)
    as_user(ANOTHER, GROUP, using(home, backend, "another"), umask=0o077)
    as_user(USER, GROUP, using(home, backend, "user"), umask=0o077)
    made = [path for path in store.rglob("*") if path.stat().st_gid != GROUP or path.stat().st_mode & 0o007]
    assert made == []


def test_root_follows_no_link_that_a_user_has_planted_and_gives_nothing_away_that_it_had(home: Path) -> None:
    """In the place of a directory that is being made: the link is refused, and what it leads to stays root's."""
    precious = home.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (precious / "file").chmod(0o600)
    planted = home / "planted"
    planted.symlink_to(precious)
    os.link(precious / "file", home / "events.jsonl")
    shared = OS.shared_bits(str(home))
    OS.mkdir(str(planted), shared=shared)
    with pytest.raises(OSError, match="another name"):
        OS.append(str(home / "events.jsonl"), b"{}\n", 1 << 20, shared=shared)
    assert (precious / "file").read_bytes() == b""
    assert not_owned_by(0, precious) == []
    assert stat.S_IMODE((precious / "file").stat().st_mode) & 0o077 == 0
    assert precious.stat().st_uid == 0


def test_the_umask_is_looked_at_anew_for_each_store(home: Path, backend: str) -> None:
    def work() -> None:
        using(home, backend, "before")()
        os.umask(0o177)
        with hold("repo-y", data_dir=f"{home}/another/store", backend=backend) as mine:
            mine.check()
        with hold("repo-y", data_dir=f"{home}/another/store", backend=backend) as mine:
            mine.check()

    as_user(USER, GROUP, work)
