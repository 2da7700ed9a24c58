"""What is not ours stays: in directories of other programs, under names that we do not make, and behind planted links."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NAMES_OF_ANY_CHARACTER, NATIVE, needs_symlinks

from looop_portable import Claims, LooopError, Won
from looop_portable.protocol.records import Holder
from looop_portable.running.keepers import Keepers
from looop_portable.system.files import OS

LIKE_OURS = [".env", ".git", ".5-x-0", ".1-", ".stamp", ".stamp-x", ".dir-x", ".age-x", ".guard-x", ".guard"]
LIKE_OURS += ["heartbeat-x", "heartbeat-", "lock-file", "sighting-1", "007", "0", "\u0663", "-1", ".000000000001-x"]
LIKE_OURS += ["notes.txt", ".meta.json-x"]
LIKE_OURS += [".0123456789abcdef0", ".5-0123456789ABCDEF-0", "heartbeat-0123456789abcdef.bak"]
LIKE_OURS += [".5-0123456789abcdef-0\n"] if NAMES_OF_ANY_CHARACTER else []
NONCE = "0123456789abcdef01234567"
OURS_BY_NAME = [f".5-{NONCE}-0", f".stamp-{NONCE}", f".age-{NONCE[:16]}", f".guard-{NONCE}", f".meta.json-{NONCE}"]
OURS_BY_NAME += [f"heartbeat-{NONCE}", f"lock-{NONCE}", f".000000000001-{NONCE}", f".sighting-{NONCE}", "1", "meta.json"]
DIRECTORIES = ["claims", "claims/.ledger", "claims/.ledger/n", "claims/.queue", "claims/.queue/n"]
DIRECTORIES += ["sessions", "sessions/s", "sessions/auto-x"]
DIRECTORIES += ["sessions/.ledger", "sessions/.ledger/s", "sessions/.ledger/auto-x"]
BELOW_CLAIMS = [place for place in DIRECTORIES if place not in ("claims", "sessions")]
LONG_AGO = 1_000_000_000


def tree(directory: Path) -> dict[str, bytes | None]:
    """All that is there, by its path."""
    found = [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {str(path.relative_to(directory)): None if path.is_symlink() else path.read_bytes() for path in found}


def used(data_dir: Path) -> Claims:
    """A store in which something was claimed, and released, and somebody has died."""
    data_dir.mkdir(exist_ok=True)
    data_dir.chmod(0o2775)  # Its group can plant something.
    claims = Claims.open(str(data_dir), NATIVE)
    me = claims.sessions.register("s").holder
    for _ in range(2):
        assert isinstance(claims.claim("n", me), Won)
        claims.release("n", me)
    assert claims.backend.tickets
    claims.backend.tickets.take("n", claims.sessions.evidence.this_process())
    return claims


def fill(directory: Path, names: list[str]) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for name in names:
        path = directory / name
        if not path.exists():
            path.write_bytes(b"precious")
            os.utime(path, (LONG_AGO, LONG_AGO))
            made.append(path)
    return made


def everything_that_removes(claims: Claims) -> None:
    claims.reap()
    claims.sessions.stop("s")
    claims.reap()


@pytest.mark.parametrize(
    "lease", ['{"id": 1}', "{}", "[]", "", "text", '{"name": "c1"}', '{"session": "w1"}', '{"session": 7, "name": "c1"}']
)
def test_a_directory_of_another_program_is_no_store_and_reap_says_so(tmp_path: Path, lease: str) -> None:
    fill(tmp_path / "sessions" / "2024", [".env", "meta.json", ".age-x"])
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "c1.json").write_text(lease)
    before = tree(tmp_path)
    sweep = Claims.open(str(tmp_path), NATIVE).reap()
    assert sweep.reaped == ()
    assert "no stamp and no session" in sweep.skipped
    assert tree(tmp_path) == before


def test_where_nothing_is_there_is_nothing_to_say(tmp_path: Path) -> None:
    sweep = Claims.open(str(tmp_path / "new"), NATIVE).reap()
    assert (sweep.reaped, sweep.skipped, sweep.failed) == ((), "", ())
    assert not (tmp_path / "new").exists()


def test_a_lease_of_looops_in_its_own_home_is_reaped_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "n.json").write_text('{"session": "gone", "name": "n"}')
    (tmp_path / "claims" / "invoice.json").write_text('{"amount": 7}')
    assert [found.lease.name for found in Claims.open(str(tmp_path), NATIVE).reap().reaped] == ["n"]
    assert [path.name for path in (tmp_path / "claims").glob("*.json")] == ["invoice.json"]


@pytest.mark.parametrize("content", ['{"amount": 7}', "text", "[1]", '{"session": "", "name": "x"}'])
def test_in_a_store_a_file_that_is_no_lease_is_neither_listed_nor_removed(tmp_path: Path, content: str) -> None:
    claims = used(tmp_path)
    for name in ("invoice", "n"):
        (tmp_path / "claims" / f"{name}.json").write_text(content)
    assert claims.list() == []
    sweep = claims.reap()
    assert (sweep.reaped, sweep.failed) == ((), ())
    assert all((tmp_path / "claims" / f"{name}.json").read_text() == content for name in ("invoice", "n"))


@pytest.mark.parametrize("place", DIRECTORIES)
def test_only_names_that_we_make_are_removed(tmp_path: Path, place: str) -> None:
    claims = used(tmp_path)
    made = fill(tmp_path / place, LIKE_OURS)
    if place.startswith("sessions/.ledger/auto"):
        made = [path for path in made if path.name != "meta.json"]
    everything_that_removes(claims)
    assert [path.name for path in made if not path.exists()] == []


def test_only_names_that_we_make_are_removed_among_the_keepers_files(tmp_path: Path) -> None:
    keepers = Keepers(str(tmp_path / "keepers"))
    OS.make_private(keepers.directory)
    made = fill(tmp_path / "keepers", [*LIKE_OURS, "app.json", "server.log", "x-1.lock", "-.log", f"{NONCE}.log.1"])
    taken = keepers.begin(Holder("s", NONCE))
    assert taken is not None
    keepers.sweep()
    OS.unlock(taken)
    assert [path.name for path in made if not path.exists()] == []


def plant(data_dir: Path, place: str, target: Path) -> None:
    """A link in the place of a directory, which is put aside."""
    path = data_dir / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(data_dir.parent / "aside")
    path.symlink_to(target)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A home in which everything has a name that could be ours, and which has all the directories too."""
    home = tmp_path / "victim"
    fill(home, [*LIKE_OURS, *OURS_BY_NAME, *(str(number) for number in range(2, 40))])
    for below in ("n", "s", "auto-x"):
        fill(home / below, [*LIKE_OURS, *OURS_BY_NAME, *(str(number) for number in range(2, 40))])
    return home


@needs_symlinks
@pytest.mark.parametrize("place", BELOW_CLAIMS)
def test_nothing_is_removed_nor_written_through_a_link_that_was_there_before(
    tmp_path: Path, victim: Path, place: str
) -> None:
    claims = used(tmp_path / "data")
    plant(tmp_path / "data", place, victim)
    before = tree(victim)
    for opened in (claims, Claims.open(str(tmp_path / "data"), NATIVE)):
        for step in all_of(opened):
            _answered(step)
    assert tree(victim) == before


def all_of(claims: Claims) -> list[Callable[[], object]]:
    sessions = claims.sessions
    claiming: list[Callable[[], object]] = [lambda: claims.claim("n", "s"), lambda: claims.release("n", "s")]
    return [claims.reap, *claiming, lambda: sessions.stop("s"), lambda: sessions.register("s"), *claiming * 20, claims.reap]


def _answered(step: Callable[[], object]) -> None:
    """Whatever it is, it is an answer, or an error of ours."""
    with contextlib.suppress(LooopError):
        step()


@needs_symlinks
@pytest.mark.parametrize("place", BELOW_CLAIMS)
def test_nothing_is_removed_through_a_link_that_is_planted_between_two_calls(
    tmp_path: Path, victim: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just when the directory has been looked at, listed or opened: before each removal."""
    claims = used(tmp_path / "data")
    fill(tmp_path / "data" / place, OURS_BY_NAME)
    before = tree(victim)
    unlink = os.unlink
    planted: list[str] = []

    def late(path: str, *, dir_fd: int | None = None) -> None:
        if not planted:
            planted.append(path)
            plant(tmp_path / "data", place, victim)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", late)
    for step in all_of(claims):
        _answered(step)
    assert tree(victim) == before


@needs_symlinks
def test_claims_and_sessions_may_be_links_of_the_users_own(tmp_path: Path) -> None:
    for name in ("claims", "sessions"):
        (tmp_path / f"elsewhere-{name}").mkdir()
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(tmp_path / f"elsewhere-{name}")
    claims = used(tmp_path / "data")
    fill(tmp_path / "elsewhere-claims" / ".ledger" / "n", [f".5-{NONCE}-0"])
    assert claims.reap().failed == ()
    assert not (tmp_path / "elsewhere-claims" / ".ledger" / "n" / f".5-{NONCE}-0").exists()
    assert json.loads((tmp_path / "elsewhere-sessions" / "s" / "meta.json").read_text())["id"] == "s"
