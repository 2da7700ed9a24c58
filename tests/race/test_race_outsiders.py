"""A store that others can see, or share: what a third user does to it breaks no claim, stops nobody, reaches no file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import users
from support.capabilities import needs_other_users

from looop_portable import Claims, Held, LooopError, Released, Won, hold
from looop_portable.protocol.liveness import Lock
from looop_portable.protocol.records import Holder
from looop_portable.system.files import OS

pytestmark = needs_other_users

OWNER, MEMBER, OUTSIDER, GROUP, NOBODYS = 63_141, 63_142, 63_143, 63_140, 63_149


@pytest.fixture(params=["posix", "advisory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What it imports is imported here: other users may not be able to read our Python's libraries."""
    with hold("repo-x", data_dir=str(tmp_path), backend=request.param):
        Claims.open(str(tmp_path), request.param).reap()
    return str(request.param)


@pytest.fixture(params=[0o755, 0o2775, 0o2770], ids=oct)
def data_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    above = Path(tempfile.mkdtemp(prefix="outsiders-"))
    above.chmod(0o755)
    directory = above / "data"
    directory.mkdir()
    os.chown(directory, OWNER, GROUP)
    directory.chmod(request.param)
    try:
        yield directory
    finally:
        shutil.rmtree(above)


def as_user(user: int, work: Callable[[], object], *, umask: int = 0o022) -> None:
    users.as_user(user, NOBODYS if user == OUTSIDER else GROUP, work, umask=umask)


def cycles(data_dir: Path, backend: str, session: str = "w") -> Callable[[], None]:
    def work() -> None:
        claims = Claims.open(str(data_dir), backend)
        me = claims.sessions.register(session, lease_seconds=30, locked=True).holder
        for _ in range(20):
            assert isinstance(claims.claim("repo-x", me), Won)
            assert isinstance(claims.release("repo-x", me), Released)
        assert isinstance(claims.claim("repo-x", me), Won)
        assert claims.sessions.renew(me)
        assert isinstance(claims.release("repo-x", me), Released)
        assert claims.events
        assert claims.events.trouble == ""
        sweep = claims.reap()
        assert (sweep.failed, sweep.skipped) == ((), "")
        OS.make_private(f"{data_dir}/keepers/of/somebody")

    return work


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077], ids=oct)
@pytest.mark.parametrize("user", [OWNER, 0], ids=["owner", "root"])
def test_nobody_may_write_what_is_made_who_may_not_write_the_directory_above(
    data_dir: Path, backend: str, umask: int, user: int
) -> None:
    as_user(user, cycles(data_dir, backend), umask=umask)
    within = stat.S_IMODE(data_dir.stat().st_mode) & 0o022
    wrong = {str(path.relative_to(data_dir)): oct(path.lstat().st_mode) for path in data_dir.rglob("*")}
    wrong = {name: mode for name, mode in wrong.items() if int(mode, 8) & 0o022 & ~within}
    assert wrong == {}


def test_an_outsider_cannot_break_a_live_claim_whatever_the_umask(data_dir: Path, backend: str) -> None:
    as_user(OWNER, cycles(data_dir, backend), umask=0)
    claims = Claims.open(str(data_dir), backend)
    me = claims.sessions.register("living").holder
    won = claims.claim("repo-x", me)
    assert isinstance(won, Won)
    generation = won.generation

    def breaks() -> None:
        theirs = Claims.open(str(data_dir), backend)
        with pytest.raises(LooopError):
            theirs.break_claim("repo-x", generation, "because")
        with pytest.raises(LooopError):
            theirs.sessions.stop("living")
        with contextlib.suppress(LooopError):
            assert isinstance(theirs.claim("repo-x", "nobody"), Held)

    as_user(OUTSIDER, breaks)
    assert claims.check("repo-x", generation).current


def locking(data_dir: Path, ready: int) -> None:
    """An outsider who locks, in every way, whatever he can open."""
    import fcntl

    held = []
    for directory, _, names in os.walk(data_dir):
        for name in names:
            for how in (os.O_RDWR, os.O_RDONLY):
                try:
                    fd = os.open(f"{directory}/{name}", how | os.O_NONBLOCK)
                except OSError:
                    continue
                held.append(fd)
                for lock in (fcntl.LOCK_EX, fcntl.LOCK_SH):
                    with_nothing = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
                    for call in (
                        lambda fd=fd, lock=lock: fcntl.flock(fd, lock | fcntl.LOCK_NB),
                        lambda fd=fd, lock=lock: fcntl.lockf(fd, lock | fcntl.LOCK_NB),
                        lambda fd=fd, asked=with_nothing: fcntl.fcntl(fd, fcntl.F_OFD_SETLK, asked),
                    ):
                        try:
                            call()
                        except OSError:
                            continue
                break
    os.write(ready, b"!")
    signal.pause()


@pytest.fixture
def locker(data_dir: Path, backend: str) -> Iterator[None]:
    """Locks all that an outsider can open in a store that the owner has made, with a umask that would let everybody in."""
    as_user(OWNER, cycles(data_dir, backend), umask=0)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if users.becomes(OUTSIDER, NOBODYS):
                locking(data_dir, writer)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"!"
    os.close(reader)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.usefixtures("locker")
def test_a_user_who_may_only_read_stops_nobody_whatever_he_locks(data_dir: Path, backend: str) -> None:
    as_user(OWNER, cycles(data_dir, backend, "another"))
    as_user(0, cycles(data_dir, backend, "root"))


def test_a_guard_of_an_older_version_is_shut_to_readers_by_its_owner(data_dir: Path, tmp_path: Path) -> None:
    with hold("repo-x", data_dir=str(tmp_path), backend="advisory"):
        pass
    as_user(OWNER, cycles(data_dir, "advisory"))
    guard = data_dir / "claims" / ".dirlock"
    guard.chmod(0o644)
    as_user(OWNER, cycles(data_dir, "advisory", "another"))
    assert stat.S_IMODE(guard.stat().st_mode) & 0o004 == 0


def test_a_readers_lock_is_no_sign_of_life_and_keeps_nobody_from_taking_his_own_again(tmp_path: Path) -> None:
    import fcntl

    path = str(tmp_path / "lock")
    if not OS.keep_lock(path):
        pytest.skip("no locks of open file descriptions")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    OS.let_lock_go(path)
    reading = os.open(path, os.O_RDONLY)
    fcntl.fcntl(reading, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    asked = f"from looop_portable.system.files import OS; print(OS.lock_of({path!r}))"
    done = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    os.close(reading)
    assert done.stdout.strip() == str(Lock.FREE)


def linked(data_dir: Path, victim: Path) -> list[str]:
    """A second name of the victim's file in the place of each file of ours that is written to, or locked."""
    planted = []
    for directory, _, names in os.walk(data_dir):
        for name in names:
            if name in (".floors", ".dirlock", ".guard", "events.jsonl") or name.startswith(("heartbeat-", "lock-")):
                os.unlink(f"{directory}/{name}")
                os.link(victim, f"{directory}/{name}")
                planted.append(name)
    return planted


@pytest.mark.parametrize("data_dir", [0o2775], indirect=True)
@pytest.mark.parametrize("user", [0, OWNER, MEMBER], ids=["root", "owner", "member"])
def test_a_second_name_of_a_victims_file_is_neither_written_nor_given_away(data_dir: Path, backend: str, user: int) -> None:
    """Planted by root here, as fs.protected_hardlinks may forbid it to those who attack."""
    as_user(OWNER, cycles(data_dir, backend))
    victim = data_dir.parent / "victim"
    victim.write_text("precious")
    os.chown(victim, user, NOBODYS)
    victim.chmod(0o600)
    before = victim.stat()
    assert {"events.jsonl", ".floors"} <= set(linked(data_dir, victim))

    def works() -> None:
        claims = Claims.open(str(data_dir), backend)
        for step in (
            lambda: claims.sessions.renew(Holder("w", claims.sessions.holder("w").incarnation)),
            lambda: claims.claim("new", "w"),
            lambda: claims.release("new", "w"),
            claims.reap,
            lambda: claims.sessions.stop("w"),
        ):
            try:
                step()
            except LooopError:
                continue

    as_user(user, works)
    after = victim.stat()
    assert victim.read_text() == "precious"
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("data_dir", [0o2775], indirect=True)
@pytest.mark.parametrize("user", [0, OWNER], ids=["root", "owner"])
@pytest.mark.parametrize(
    "place", ["sessions/evil", "sessions/w", "claims/.queue", "claims/.ledger/repo-x", "sessions/.ledger/w"]
)
def test_the_links_of_a_member_lead_nobody_into_a_victims_home(data_dir: Path, backend: str, user: int, place: str) -> None:
    as_user(OWNER, cycles(data_dir, backend))
    home = data_dir.parent / "home"
    home.mkdir()
    for name in (".bashrc", ".ssh", "1", "2", "meta.json", ".5-0123456789abcdef-0", "heartbeat-0123456789abcdef"):
        (home / name).write_text("precious")
        os.utime(home / name, (1, 1))
        os.chown(home / name, user, GROUP)
    os.chown(home, user, GROUP)
    before = {path.name: path.read_text() for path in home.iterdir()}

    def plants() -> None:
        path = data_dir / place
        if path.exists():
            path.rename(data_dir / "claims" / "aside")
        path.symlink_to(home)

    def works() -> None:
        claims = Claims.open(str(data_dir), backend)
        steps: list[Callable[[], object]] = [claims.reap, lambda: claims.claim("repo-x", "w")]
        for session in ("evil", "w"):
            steps += [lambda s=session: claims.sessions.register(s), lambda s=session: claims.sessions.stop(s)]  # type: ignore[misc]
        for step in [*steps, claims.reap]:
            try:
                step()
            except LooopError:
                continue

    as_user(MEMBER, plants)
    as_user(user, works)
    assert {path.name: path.read_text() for path in home.iterdir()} == before
