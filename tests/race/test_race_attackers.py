"""Real users who attack each other by way of a directory: what one can do to the other, and what he cannot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import users
from support.capabilities import needs_other_users

from looop_portable import Claims, Held, Unavailable, Won, hold
from looop_portable.system.clock import elapsed
from looop_portable.system.files import OS
from looop_portable.system.locks.guard import guard

pytestmark = needs_other_users

VICTIM, ATTACKER, GROUP, OWN = 63_151, 63_152, 63_150, 63_159


@pytest.fixture(autouse=True)
def imported(tmp_path: Path) -> None:
    """Other users may not be able to read our Python's libraries."""
    with hold("repo-x", data_dir=str(tmp_path), backend="advisory"):
        Claims.open(str(tmp_path), "advisory").reap()


@pytest.fixture
def directory() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="attacked-"))
    try:
        yield found
    finally:
        shutil.rmtree(found)


def as_user(user: int, work: Callable[[], object], group: int = GROUP) -> None:
    users.as_user(user, group, work)


def test_in_a_sticky_directory_it_is_whose_who_came_first_and_others_are_refused(directory: Path) -> None:
    """As /tmp is. He who came first decides what is there: nobody should use a directory that a stranger may have made."""
    directory.chmod(0o1777)

    def comes_first() -> None:
        claims = Claims.open(str(directory))
        assert isinstance(claims.claim("repo-x", claims.sessions.register("v").holder), Won)

    def attacks() -> None:
        claims = Claims.open(str(directory))
        for step in (
            lambda: claims.claim("other", "a"),
            lambda: claims.claim("repo-x", "a"),
            lambda: claims.break_claim("repo-x", 1, "because"),
            lambda: claims.sessions.stop("v"),
        ):
            with pytest.raises(Unavailable, match="Permission denied"):
                step()
        for path in ("claims/repo-x.json", "claims", "sessions", "events.jsonl"):
            with pytest.raises(PermissionError):
                os.rename(directory / path, directory / f"{path}-mine")

    as_user(VICTIM, comes_first, OWN)
    as_user(ATTACKER, attacks, OWN + 1)
    assert Claims.open(str(directory)).check("repo-x", 1).current


def shared(directory: Path) -> None:
    os.chown(directory, 0, GROUP)
    directory.chmod(0o2775)


def test_a_member_can_break_a_live_claim_and_the_log_names_him(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group trusts its members: this is no attack that is defended. He can forge lines of the log, too."""
    shared(directory)

    def holds() -> None:
        claims = Claims.open(str(directory))
        assert isinstance(claims.claim("repo-x", claims.sessions.register("v").holder), Won)

    def breaks() -> None:
        os.environ["LOGNAME"] = "mallory"
        Claims.open(str(directory)).break_claim("repo-x", 1, "because")

    monkeypatch.setenv("LOGNAME", "root")
    as_user(VICTIM, holds)
    as_user(ATTACKER, breaks)
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    (broken,) = [each for each in events if each["event"] == "broken"]
    assert (broken["by_user"], broken["reason"], broken["generation"]) == (str(ATTACKER), "because", 2)
    assert not Claims.open(str(directory)).check("repo-x", 1).current


def test_a_member_that_holds_the_guard_makes_others_wait_and_give_up(directory: Path) -> None:
    """They are refused after its patience; none hangs, and none goes on without the guard."""
    shared(directory)
    path = str(directory / ".dirlock")

    def makes_it() -> None:
        with OS.guard(path, shared=OS.shared_bits(str(directory))):
            pass

    as_user(VICTIM, makes_it)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:  # The attacker, until he is ended.
        signal.alarm(60)
        if users.becomes(ATTACKER, GROUP):
            import fcntl

            fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
            os.write(told, b"x")
            signal.pause()
        os._exit(1)
    try:
        os.close(told)
        assert os.read(ready, 1) == b"x"

        def waits() -> None:
            began = elapsed()
            with pytest.raises(Unavailable, match="held"), guard(path, 0.3):
                raise AssertionError
            assert 0.3 <= elapsed() - began < 10

        as_user(VICTIM, waits)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)


def test_another_user_cannot_end_a_holder_by_a_signal_and_what_he_says_of_its_pid_is_refused(directory: Path) -> None:
    """The kernel refuses the signal. A session of his that names the holder's process says nothing about that."""
    shared(directory)
    pid = os.getpid()
    claims = Claims.open(str(directory))
    won = claims.claim("repo-x", claims.sessions.register("v").holder)
    assert isinstance(won, Won)

    def attacks() -> None:
        with pytest.raises(PermissionError):
            os.kill(pid, signal.SIGTERM)
        theirs = Claims.open(str(directory))
        assert isinstance(theirs.claim("repo-x", theirs.sessions.register("a", pid=pid).holder), Held)
        theirs.sessions.stop("a")
        assert isinstance(theirs.claim("repo-x", "a"), Held)

    as_user(ATTACKER, attacks)
    assert claims.check("repo-x", won.generation).current


def test_a_directory_that_is_full_of_strangers_files_is_read_and_used(directory: Path) -> None:
    """Five thousand names that nobody of ours makes, and as many tickets of nobody, by a member: it takes longer."""
    shared(directory)

    def fills() -> None:
        Claims.open(str(directory)).claim("repo-x", "a")
        queue = directory / "claims" / ".queue" / "repo-x"
        queue.mkdir(parents=True, exist_ok=True)
        for number in range(5000):
            (directory / "claims" / ".ledger" / f"stray-{number}").touch()
            (queue / f"{number:012}-x").write_bytes(b"{}")

    def works() -> None:
        claims = Claims.open(str(directory))
        me = claims.sessions.register("v").holder
        assert isinstance(claims.claim("mine", me), Won)
        assert claims.release("mine", me)
        claims.reap()

    as_user(ATTACKER, fills)
    began = elapsed()
    as_user(VICTIM, works)
    assert elapsed() - began < users.PATIENCE
