"""Which backend may write where: what a directory is found able to do, what its stamp says, and what contradicts it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.capabilities import NativeFiles

from looop_portable import Claims, Won
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.backends.directory.policies import ADVISORY, AUTO, POSIX, WINDOWS, AutoBackend
from looop_portable.errors import CannotExclude, Unavailable, WrongBackend
from looop_portable.ledger.stamp import Policy
from looop_portable.protocol.records import Lease
from looop_portable.system import mounts
from looop_portable.system.files.posix import OsFiles
from looop_portable.system.mounts.mount import Mount

POLICIES = {"posix": POSIX, "advisory": ADVISORY, "auto": AUTO, "windows": WINDOWS}
LINKS = '{"protocol": 1, "links": true, "guard": null, "aliases": true}'
SHARED = '{"protocol": 1, "links": true, "guard": "flock", "aliases": true}'
IN_PLACE = '{"protocol": 1, "links": false, "guard": "flock", "aliases": false}'
RENAMED = '{"protocol": 1, "links": false, "guard": "windows", "aliases": false}'
STAMPS = {"links": LINKS, "links, flock": SHARED, "flock": IN_PLACE, "windows": RENAMED}

LEASE = Lease("x", "w1", "i1", 1)


class Scripted(NativeFiles):
    """The real files, with guards that do as they are told, whatever the platform."""

    def __init__(self, *, links: bool = True, guard_error: int = 0, lies: bool = False) -> None:
        self.links, self.guard_error, self.lies = links, guard_error, lies
        self.entered: list[str] = []

    def link(self, private: str, public: str) -> None:
        if not self.links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), private)
        super().link(private, public)

    def rename(self, private: str, public: str) -> None:
        if os.path.lexists(public):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), public)
        os.replace(private, public)

    def guard(self, path: str, *, shared: int = 0) -> AbstractContextManager[None]:
        @contextlib.contextmanager
        def held() -> Iterator[None]:
            if self.guard_error:
                raise OSError(self.guard_error, os.strerror(self.guard_error), path)
            self.entered.append(os.path.basename(path))
            yield

        return held()

    def guard_excludes(self, path: str, *, shared: int = 0) -> bool:
        with self.guard(path):
            return not self.lies


def backend(directory: Path, policy: Policy, files: NativeFiles) -> DirectoryBackend:
    kind = AutoBackend if policy is AUTO else None
    return kind(str(directory), files) if kind else DirectoryBackend(str(directory), policy, files)


def stamp(directory: Path) -> str:
    return (directory / "claims" / ".ledger" / ".protocol.json").read_text().strip()


def everything(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


MADE = {
    ("posix", True): LINKS,
    ("auto", True): LINKS,
    ("windows", True): LINKS,
    ("advisory", True): SHARED,
    ("advisory", False): IN_PLACE,
    ("auto", False): IN_PLACE,
    ("windows", False): RENAMED,
}
"""What the first who claims in a directory stamps it with: (backend, whether hard links work)."""


@pytest.mark.parametrize(("name", "links"), list(itertools.product(POLICIES, (True, False))))
def test_what_a_directory_is_found_able_to_do_is_stamped(tmp_path: Path, name: str, links: bool) -> None:
    found = backend(tmp_path, POLICIES[name], Scripted(links=links))
    if (name, links) not in MADE:
        with pytest.raises(CannotExclude, match=r"no hard links .* posix backend .* --backend auto or advisory"):
            found.advance("x", 0, LEASE)
        assert everything(tmp_path) == set()
        return
    assert found.advance("x", 0, LEASE)
    assert stamp(tmp_path) == MADE[name, links]
    assert found.read("x").lease
    assert not found.advance("x", 0, LEASE)
    assert found.advance("x", 1, None)
    assert found.read("x").lease is None
    if name == "auto":
        assert found.name == ("posix" if links else "advisory")


ALLOWED = {
    "links": {"posix", "auto", "windows"},
    "links, flock": {"posix", "auto", "advisory"},
    "flock": {"auto", "advisory"},
    "windows": {"windows"},
}


@pytest.mark.parametrize(("name", "stamped"), list(itertools.product(POLICIES, STAMPS)))
def test_what_contradicts_the_stamp_is_refused_and_both_are_named(tmp_path: Path, name: str, stamped: str) -> None:
    (tmp_path / "claims" / ".ledger").mkdir(parents=True)
    (tmp_path / "claims" / ".ledger" / ".protocol.json").write_text(STAMPS[stamped] + "\n")
    files = Scripted(links=stamped.startswith("links"))
    found = backend(tmp_path, POLICIES[name], files)
    before = everything(tmp_path)
    if name in ALLOWED[stamped]:
        assert found.advance("x", 0, LEASE)
        guards = {".dirlock"} if "flock" in stamped else {".guard"} if stamped == "windows" else set()
        assert set(files.entered) == guards
        return
    for verb in (lambda: found.advance("x", 0, LEASE), lambda: found.read("x")):
        with pytest.raises(WrongBackend) as refusal:
            verb()
        said = str(refusal.value)
        assert f"'{name}' contradicts the stamp" in said
        assert ("with hard links" if stamped.startswith("links") else "without hard links") in said
        assert "use --backend auto" in said or "use another" in said
    assert everything(tmp_path) == before


@pytest.mark.parametrize(("name", "links"), [("advisory", True), ("advisory", False), ("auto", False), ("windows", False)])
def test_a_guard_that_keeps_nobody_out_is_none(tmp_path: Path, name: str, links: bool) -> None:
    with pytest.raises(CannotExclude, match=r"grants a guard to everybody at once: .*--data-dir or LOOOP_DATA_DIR"):
        backend(tmp_path, POLICIES[name], Scripted(links=links, lies=True)).advance("x", 0, LEASE)
    assert everything(tmp_path) == set()


@pytest.mark.parametrize(("name", "links"), [("advisory", True), ("advisory", False), ("auto", False), ("windows", False)])
def test_where_no_guard_can_be_held_there_is_a_refusal(tmp_path: Path, name: str, links: bool) -> None:
    with pytest.raises(CannotExclude, match="no guard can be held here"):
        backend(tmp_path, POLICIES[name], Scripted(links=links, guard_error=errno.ENOLCK)).advance("x", 0, LEASE)
    assert everything(tmp_path) == set()


NOLOCK = Mount("/mnt/share", "nfs", "server:/export", ("rw", "vers=3", "nolock", "local_lock=all"))


def test_a_mount_whose_guard_is_local_to_this_host_is_refused_and_leaves_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "mount_of", lambda path: NOLOCK)
    with pytest.raises(CannotExclude, match=r"/mnt/share is mounted with 'nolock', .* --backend auto"):
        backend(tmp_path, ADVISORY, Scripted()).advance("x", 0, LEASE)
    assert everything(tmp_path) == set()
    assert backend(tmp_path, AUTO, Scripted()).advance("x", 0, LEASE)


@pytest.mark.parametrize("name", ["posix", "advisory", "auto"])
def test_a_guarded_directory_cannot_be_used_through_such_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert backend(tmp_path, ADVISORY, Scripted()).advance("x", 0, LEASE)
    monkeypatch.setattr(mounts, "mount_of", lambda path: NOLOCK)
    with pytest.raises(CannotExclude, match="another directory there with --backend auto"):
        backend(tmp_path, POLICIES[name], Scripted()).advance("x", 1, None)


def test_links_that_fail_where_the_stamp_says_that_they_work_are_told(tmp_path: Path) -> None:
    assert backend(tmp_path, AUTO, Scripted()).advance("x", 0, LEASE)
    with pytest.raises(CannotExclude, match=r"hard links fail here .* its stamp says that they work"):
        backend(tmp_path, AUTO, Scripted(links=False)).advance("y", 0, LEASE)
    with pytest.raises(Unavailable, match="hard links fail here"):
        backend(tmp_path, AUTO, Scripted(links=False)).advance("x", 1, LEASE)


class OneName(Scripted):
    """As a Linux mount of SMB: a file that is open by one name cannot be opened by another."""

    def opens_by_both(self, path: str, other: str) -> bool:
        assert os.path.samefile(path, other)
        return False


CIFS = Mount("/mnt/share", "cifs", "//server/share", ("rw", "vers=3.1.1"))


@pytest.mark.parametrize("told_by", ["trying", "its mount"])
def test_where_a_file_opens_by_one_name_only_records_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    if told_by == "its mount":
        monkeypatch.setattr(mounts, "mount_of", lambda path: CIFS)
    found = backend(tmp_path, AUTO, OneName() if told_by == "trying" else Scripted())
    assert found.advance("x", 0, LEASE)
    assert json.loads(stamp(tmp_path)) == {"protocol": 1, "links": True, "guard": None, "aliases": False}
    assert (tmp_path / "claims" / "x.json").read_bytes() == (tmp_path / "claims" / ".ledger" / "x" / "1").read_bytes()
    assert found.advance("x", 1, None)
    assert found.advance("x", 2, LEASE)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).as_posix(): path.stat().st_nlink for path in files} == dict.fromkeys(
        [
            *("claims/x.json", "claims/.ledger/.protocol.json", "claims/.ledger/.floors"),
            *(f"claims/.ledger/x/{number}" for number in (1, 2, 3)),
        ],
        1,
    )


def test_a_record_that_is_open_by_another_name_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = OsFiles()
    files.create(f"{tmp_path}/1", b"whole")
    opened = itertools.count()
    waited: list[float] = []
    real = files._open

    def busy(path: str) -> int:
        if next(opened) < 3:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return real(path)

    monkeypatch.setattr(files, "_open", busy)
    monkeypatch.setattr("time.sleep", waited.append)
    assert files.read(f"{tmp_path}/1") == b"whole"
    assert waited == sorted(waited)
    assert len(waited) == 3


def test_a_reaper_that_sweeps_what_is_tried_delays_the_stamp_and_fails_nobody(tmp_path: Path) -> None:
    """Without this, who claims first in a directory would fail because somebody tidies there."""

    class Swept(Scripted):
        sweeps = 2

        def opens_by_both(self, path: str, other: str) -> bool:
            if self.sweeps:
                self.sweeps -= 1
                self.remove(path)
            return super().opens_by_both(path, other)

    files = Swept()
    assert backend(tmp_path, AUTO, files).advance("x", 0, LEASE)
    assert (files.sweeps, stamp(tmp_path)) == (0, LINKS)


def test_a_stamp_that_cannot_be_read_is_no_raw_error_to_who_asks_which_backend_it_is(tmp_path: Path) -> None:
    class Fails(NativeFiles):
        def read(self, path: str) -> bytes | None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with pytest.raises(Unavailable, match=os.strerror(errno.EIO)):
        _ = AutoBackend(str(tmp_path), Fails()).name


@pytest.mark.parametrize("seen", ["the session", "the claim"])
def test_a_writer_that_died_before_its_record_was_written_wedges_nobody(tmp_path: Path, seen: str) -> None:
    """Its generation says what the one below says, also to whoever acts upon it."""
    store = backend(tmp_path, ADVISORY, Scripted(links=False))
    claims = Claims(store)
    holder = claims.sessions.register("w1").holder
    assert isinstance(claims.claim("x", holder), Won)
    key = {"the session": "sessions/.ledger/w1", "the claim": "claims/.ledger/x"}[seen]
    (tmp_path / key / "2").touch()
    assert claims.sessions.stop("w1")
    assert isinstance(claims.claim("x", claims.sessions.register("w2").holder), Won)
    assert store.read("x").generation == {"the session": 2, "the claim": 3}[seen]
