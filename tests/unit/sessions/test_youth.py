"""What removes old files takes nothing from who gives heartbeats."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.capabilities import FILE_BACKENDS, NATIVE, NativeFiles, open_or_skip
from support.clocks import Clock

from looop_portable import Claims, Held, Won, hold
from looop_portable.claims.youth import Youth
from looop_portable.config import Config
from looop_portable.holding import own_session
from looop_portable.protocol.liveness import SHORTEST_LEASE
from looop_portable.protocol.records import Holder
from looop_portable.running import command
from looop_portable.running.command import run
from looop_portable.running.keeper import Keeper
from looop_portable.running.request import Request
from looop_portable.system.processes.handle import Watch

NAME = "repo-x"
LONG_AGO = 40 * 86_400.0
"""Seconds."""
CLEANER = shutil.which("systemd-tmpfiles") or ""

needs_cleaner = pytest.mark.skipif(not CLEANER, reason="no systemd-tmpfiles on PATH")


def make_old(store: Path) -> None:
    then = time.time() - LONG_AGO
    for path in store.rglob("*"):
        with suppress(FileNotFoundError):  # Whoever lives makes files, and removes them.
            os.utime(path, (then, then))


def old(store: Path) -> list[str]:
    """The files that anything which removes old files would remove: by the times that can be set."""
    limit, found = time.time() - LONG_AGO / 2, []
    for path in store.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < limit:
                found.append(path.relative_to(store).as_posix())
    return sorted(found)


def clean_by_age(store: Path) -> None:
    for name in old(store):
        (store / name).unlink(missing_ok=True)
    for directory in sorted((path for path in store.rglob("*") if path.is_dir()), reverse=True):
        if not os.listdir(directory):
            directory.rmdir()


def clean_by_systemd(store: Path) -> None:
    """By the times of last modification alone: those that the test can set."""
    config = store.parent / "clean.conf"
    config.write_text(f"e {store} - - - m:20d\n")
    subprocess.run([CLEANER, "--clean", str(config)], check=True, timeout=60)


CLEANERS = [clean_by_age, pytest.param(clean_by_systemd, marks=needs_cleaner)]


@pytest.fixture(params=FILE_BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    open_or_skip(request.param, tmp_path / "tried")
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


class Beaten:
    """Heartbeats by a clock, and how often what a session in `store` relies on was kept young with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
        self.clock = Clock()
        self._renewed = 0
        renew = Youth.renew

        def counted(youth: Youth, *args: object) -> None:
            renew(youth, *args)  # type: ignore[arg-type]
            if youth._backend.ledger.root.startswith(store.as_posix()):  # type: ignore[attr-defined]
                self._renewed += 1

        monkeypatch.setattr(Youth, "renew", counted)
        for module in (own_session, command):
            self.clock.rules(monkeypatch, module)

    def again(self) -> None:
        before = self._renewed
        self.clock.move(1.2 * SHORTEST_LEASE / 3)
        assert self._renewed == before + 1


@pytest.fixture
def beaten(monkeypatch: pytest.MonkeyPatch, store: Path) -> Iterator[Beaten]:
    found = Beaten(monkeypatch, store)
    yield found
    found.clock.stop()


@contextmanager
def left_behind(claims: Claims) -> Iterator[None]:
    """Some other name has an old record that nobody keeps."""
    other = claims.sessions.register("other").holder
    claims.claim("repo-old", other)
    claims.release("repo-old", other)
    yield


def is_refused(store: Path, backend: str) -> Held:
    claims = Claims.open(str(store), backend)
    outcome = claims.claim(NAME, claims.sessions.register().holder)
    assert isinstance(outcome, Held)
    return outcome


@pytest.mark.parametrize("clean", CLEANERS)
def test_a_holder_keeps_his_claim_while_old_files_are_removed(
    store: Path, backend: str, clean: Callable[[Path], None], beaten: Beaten
) -> None:
    claims = Claims.open(str(store), backend)
    with left_behind(claims), hold(NAME, data_dir=str(store), backend=backend, lease_seconds=SHORTEST_LEASE) as mine:
        make_old(store)
        beaten.again()
        clean(store)
        assert not list((store / "claims" / ".ledger" / "repo-old").glob("*"))
        assert is_refused(store, backend).lease.generation == mine.generation
        mine.check()
        floors = store / "claims" / ".ledger" / ".floors"
        assert floors.exists()
    won = claims.claim("repo-old", claims.sessions.register().holder)
    assert isinstance(won, Won)
    assert won.generation > 2


def kept(claims: Claims) -> tuple[Keeper, Holder]:
    registration = claims.sessions.register("shell", lease_seconds=30, kept=True)
    watch = Watch(registration.pid, registration.start)
    keeper = Keeper(claims, registration, lambda line: None, watch)
    return keeper, registration.holder


def test_a_keeper_keeps_young_what_its_session_has_claimed_since(store: Path, backend: str) -> None:
    claims = Claims.open(str(store), backend)
    keeper, holder = kept(claims)
    for name in (NAME, "repo-y"):
        assert isinstance(claims.claim(name, holder), Won)
    make_old(store)
    assert keeper._beat()
    heads = {f"claims/.ledger/{name}/1" for name in (NAME, "repo-y")}
    assert not heads & set(old(store))
    clean_by_age(store)
    assert is_refused(store, backend).lease.session == "shell"


@pytest.mark.parametrize("slots", [0, 2])
def test_a_command_keeps_its_claim_while_old_files_are_removed(
    store: Path, backend: str, beaten: Beaten, slots: int
) -> None:
    """Time and again: all that its session holds is looked for too, but with few of its heartbeats."""
    claims = Claims.open(str(store), backend)
    found: list[int] = []

    def cleans() -> None:
        try:
            for _ in range(3):
                make_old(store)
                beaten.again()
                clean_by_age(store)
            found.extend(status.lease.generation for status in Claims.open(str(store), backend).list() if status.lease)
        finally:
            (store.parent / "enough").touch()

    class Told:
        def waits(self, held: Held, seconds: float) -> None: ...
        def won(self, lease: object) -> None:
            cleaner.start()

        def joined(self, lease: object) -> None: ...
        def expired(self, names: object, seconds: float) -> None: ...
        def lost(self, names: object, reason: str, ends: bool) -> None: ...
        def left(self, name: str, reason: str) -> None: ...

    cleaner = threading.Thread(target=cleans)
    waits = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.05)"
    waiting = [sys.executable, "-c", waits, str(store.parent / "enough")]
    request = Request(waiting, [NAME], lease_seconds=SHORTEST_LEASE, slots=slots)
    run(Config(str(store), backend), claims, request, Told())
    cleaner.join()
    assert found == [1]


def test_over_a_network_only_what_is_old_is_touched(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = open_or_skip(NATIVE, store)
    monkeypatch.setattr(claims.backend.tickets, "far", lambda: True)
    holder = claims.sessions.register("me", lease_seconds=30).holder
    claims.claim(NAME, holder)
    record = store / "claims" / ".ledger" / NAME / "1"
    recently, long_ago = time.time() - 300, time.time() - LONG_AGO
    os.utime(record, (recently, recently))
    Youth(claims).renew(holder, [NAME])
    assert record.stat().st_mtime == pytest.approx(recently, abs=1)
    os.utime(record, (long_ago, long_ago))
    Youth(claims).renew(holder, [NAME])
    assert record.stat().st_mtime > recently


def test_looking_for_claims_takes_a_few_of_many_at_each_heartbeat(store: Path) -> None:
    claims = open_or_skip(NATIVE, store)
    holder = claims.sessions.register("me", lease_seconds=30).holder
    names = [f"repo-{number}" for number in range(5)]
    for name in names:
        claims.claim(name, holder)
    now = iter(range(1000))
    youth = Youth(claims, looks=True, clock=lambda: float(next(now)))  # Each look takes longer than it may.
    make_old(store)
    left = []
    for _ in names:
        youth.renew(holder)
        left.append(sum(f"claims/.ledger/{name}/1" in old(store) for name in names))
    assert left == [4, 3, 2, 1, 0]


def test_a_round_through_all_claims_is_begun_every_quarter_of_an_hour(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = open_or_skip(NATIVE, store)
    holder = claims.sessions.register("me", lease_seconds=30).holder
    claims.claim(NAME, holder)
    rounds: list[float] = []
    all_claims, now = claims.backend.claims, 0.0

    def listed() -> Iterator[str]:
        rounds.append(now)
        return all_claims()

    monkeypatch.setattr(claims.backend, "claims", listed)
    youth = Youth(claims, looks=True, clock=lambda: now)
    for second in range(0, 2000, 10):
        now = float(second)
        youth.renew(holder)
    assert rounds == [0.0, 900.0, 1800.0]


def test_a_store_that_is_gone_keeps_no_heartbeat_from_being_given(store: Path) -> None:
    claims = open_or_skip(NATIVE, store)
    holder = claims.sessions.register("me", lease_seconds=30).holder
    claims.claim(NAME, holder)
    shutil.rmtree(store)
    Youth(claims, looks=True).renew(holder, [NAME])
    assert not store.exists()


@pytest.mark.parametrize("backend", FILE_BACKENDS)
def test_what_cannot_be_kept_young_costs_no_heartbeat(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the filesystem came out raw: a hold counted its heartbeat as failed, and a keeper ended."""
    open_or_skip(backend, tmp_path).claim(NAME, Holder("me", ""))
    claims = open_or_skip(backend, tmp_path)

    def fails(self: object, path: str) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(NativeFiles, "read", fails)
    Youth(claims).renew(Holder("me", ""), [NAME])
