"""A directory's stamp is given another guard: whole or not at all, against others, and against who slept through it."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import NativeFiles, needs_flock

from looop_portable import Claims, Held, Released, Unavailable, Won
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.backends.directory.policies import WINDOWS, AutoBackend
from looop_portable.backends.directory.restamping import Restamped, restamp
from looop_portable.claims.reaper import users
from looop_portable.errors import CannotExclude, UsageError
from looop_portable.ledger.stamp import FLOCK
from looop_portable.protocol.records import Holder
from looop_portable.testing.faults import (
    AFTER,
    BEFORE,
    KILLED_AFTER,
    KILLED_BEFORE,
    ONWARD,
    RIVAL,
    Fault,
    Injector,
    Killed,
    faulty,
)

pytestmark = needs_flock

NAME = "repo-x"
LOOOPS = '{"name":"repo-x","nonce":"1-5","session":"w1","ts":1795537091}'
GUARDS = {"advisory": FLOCK, "auto": ""}
OTHER = {"advisory": "auto", "auto": "advisory"}


def full(what: str) -> OSError:
    return OSError(errno.ENOSPC, what)


def store(directory: Path, injector: Injector | None = None) -> AutoBackend:
    files = NativeFiles()
    return AutoBackend(str(directory), faulty(files, injector) if injector else files)


def stamped(directory: Path) -> str:
    """The name of the stamp: any other bytes than a whole one raise."""
    record = json.loads((directory / "claims" / ".ledger" / ".protocol.json").read_bytes())
    assert (record["protocol"], record["links"], record["aliases"]) == (1, True, True)
    return {FLOCK: "advisory", None: "auto"}[record["guard"]]


def looop_claims(directory: Path, name: str) -> None:
    """As it does, within the guard: it knows no generations. Its session lives."""
    session = directory / "sessions" / "w1"
    session.mkdir()
    (session / "meta.json").write_text(json.dumps({"babysit_pid": os.getpid(), "started_at": "2026-11-24T16:18:10.7Z"}))
    (session / "status.json").write_text('{"state": "running"}')
    (directory / "claims" / f"{name}.json").write_text(LOOOPS)


def nobody() -> Iterator[str]:
    return iter(())


def holders_in(backend: AutoBackend) -> list[str]:
    """Who can be seen if no session can: the worst that an operator may overlook."""
    return [name for name, _ in backend.scan()]


def adopt(directory: Path, wanted: str) -> Restamped:
    backend = store(directory)
    return restamp(backend, GUARDS[wanted], lambda: holders_in(backend))


def made(directory: Path, wanted: str, cycles: int = 3) -> Holder:
    """The directory, used in that way. A session that lives."""
    claims = Claims.open(str(directory), {"advisory": "advisory", "auto": "posix"}[wanted])
    me = claims.sessions.register("me").holder
    for _ in range(cycles):
        for name in (NAME, "repo-y"):
            assert isinstance(claims.claim(name, me), Won)
            assert isinstance(claims.release(name, me), Released)
    return me


@pytest.fixture(params=list(GUARDS))
def wanted(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_guard_is_changed_and_all_goes_on_above(tmp_path: Path, wanted: str) -> None:
    me = made(tmp_path, OTHER[wanted])
    before = Claims.open(str(tmp_path), "auto").show(NAME).generation
    found = adopt(tmp_path, wanted)
    assert (found.changed, found.users, found.trouble) == (True, (), "")
    assert stamped(tmp_path) == wanted
    assert adopt(tmp_path, wanted).changed is False
    claims = Claims.open(str(tmp_path), "advisory" if wanted == "advisory" else "posix")
    for name in (NAME, "new"):
        won = claims.claim(name, me)
        assert isinstance(won, Won)
        assert won.generation > before
        assert isinstance(claims.release(name, me), Released)


def test_a_session_a_holder_and_a_waiter_are_in_the_way(tmp_path: Path, wanted: str) -> None:
    me = made(tmp_path, OTHER[wanted])
    claims = Claims(store(tmp_path))

    def seen() -> list[str]:
        return list(users(claims.backend, claims.sessions))

    assert [each.split(":")[0] for each in seen()] == ["session me"]
    claims.claim(NAME, me)
    assert claims.backend.tickets
    claims.backend.tickets.take("repo-y", claims.sessions.evidence.this_process())
    assert claims.sessions.stop("me")
    assert seen() == [f"claim {NAME}: held by session 'me'", "claim repo-y: somebody waits for it"]
    found = restamp(store(tmp_path), GUARDS[wanted], seen)
    assert (found.changed, list(found.users)) == (False, seen())
    assert stamped(tmp_path) == OTHER[wanted]


def test_a_record_that_is_being_written_is_in_the_way(tmp_path: Path, wanted: str) -> None:
    made(tmp_path, OTHER[wanted])
    (tmp_path / "claims" / ".ledger" / NAME / ".7-AAAA-0").write_text("{}")
    found = adopt(tmp_path, wanted)
    assert (found.changed, [f"claim {NAME}: a record is being written" in each for each in found.users]) == (False, [True])


def test_who_comes_during_the_change_is_told_of(tmp_path: Path, wanted: str) -> None:
    made(tmp_path, OTHER[wanted])
    answers = iter([[], [], ["session late: pid 1 runs"]])
    found = restamp(store(tmp_path), GUARDS[wanted], lambda: next(answers))
    assert (found.changed, found.users) == (True, ("session late: pid 1 runs",))


def test_what_has_no_stamp_or_no_hard_links_keeps_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nobody has claimed anything here"):
        restamp(store(tmp_path), FLOCK, nobody)
    assert not list(tmp_path.iterdir())
    root = tmp_path / "claims" / ".ledger"
    root.mkdir(parents=True)
    (root / ".protocol.json").write_text('{"protocol": 1, "links": false, "guard": "flock", "aliases": false}\n')
    with pytest.raises(CannotExclude, match="no hard links here, so the guard stays"):
        restamp(store(tmp_path), "", nobody)


def test_a_windows_host_gives_no_directory_a_guard_that_it_cannot_hold(tmp_path: Path) -> None:
    made(tmp_path, "auto")
    with pytest.raises(CannotExclude, match="flock, which Windows hosts cannot hold"):
        restamp(DirectoryBackend(str(tmp_path), WINDOWS), FLOCK, nobody)
    assert restamp(DirectoryBackend(str(tmp_path), WINDOWS), "", nobody).changed is False


def test_a_directory_that_has_spelled_long_names_otherwise_than_looop_would_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "auto")
    claims = Claims.open(str(tmp_path), "posix")
    assert isinstance(claims.claim("n" * 150, "gone"), Won)
    assert isinstance(claims.release("n" * 150, "gone"), Released)
    with pytest.raises(CannotExclude, match="another spelling where looop shares them"):
        adopt(tmp_path, "advisory")
    assert stamped(tmp_path) == "auto"


@pytest.mark.parametrize("kind", [BEFORE, AFTER, KILLED_BEFORE, KILLED_AFTER, ONWARD])
def test_a_fault_at_any_call_leaves_the_old_stamp_or_the_new_one(tmp_path: Path, wanted: str, kind: str) -> None:
    """A full disk, a lost reply, and the end of the process: after each it can be done again, and nothing is lost."""
    at, ways = 0, set()
    while True:
        at += 1
        directory = tmp_path / str(at)
        me = made(directory, OTHER[wanted], cycles=1)
        injector = Injector(Fault(at, kind), full)
        backend = store(directory, injector)
        with contextlib.suppress(Unavailable, OSError, Killed):
            restamp(backend, GUARDS[wanted], functools.partial(holders_in, backend))
        ways.add(stamped(directory))
        claims = Claims.open(str(directory), "auto")
        claims.reap()
        adopt(directory, wanted)
        assert stamped(directory) == wanted
        won = Claims.open(str(directory), "auto").claim(NAME, me)
        assert isinstance(won, Won)
        assert won.generation > 2
        assert not [each for each in (directory / "claims" / ".ledger").iterdir() if each.name.startswith(".stamp-")]
        if not injector.fired:
            break
    assert at > 20
    assert ways == {"auto", "advisory"}


@pytest.mark.parametrize("then", ["holds", "has let go", "is looop itself"])
@pytest.mark.parametrize("name", [NAME, "never-claimed"])
def test_a_claimer_that_sleeps_through_the_change_does_not_win_by_the_old_stamp(
    tmp_path: Path, name: str, then: str
) -> None:
    """At each of its calls. Nobody sees its session; what it holds, or is writing, stops the change.

    Another claims meanwhile, by the new stamp. Who had not looked yet, and goes by the stamp that he has read, is none that
    can be kept out: for his sake all processes have to end (see `restamping`).
    """
    at, changes, refusals, guarded = 0, 0, 0, 0
    while True:
        at += 1
        directory = tmp_path / str(at)
        me = made(directory, "auto")
        injector = Injector(Fault(at, RIVAL), full)
        sleeper = Claims(store(directory, injector))
        sleeper.backend.read("repo-y")  # It has read the stamp.
        injector.calls.clear()
        found: list[Restamped] = []
        others: list[Won] = []

        def change(directory: Path = directory, found: list[Restamped] = found, others: list[Won] = others) -> None:
            found.append(adopt(directory, "advisory"))
            claims = Claims.open(str(directory), "auto")
            if found[0].changed and then == "is looop itself":
                looop_claims(directory, name)
            elif found[0].changed:
                other = claims.sessions.register("other").holder
                won = claims.claim(name, other)
                assert isinstance(won, Won)
                others.append(won)
                if then != "holds":
                    assert isinstance(claims.release(name, other), Released)

        injector.rival = change
        won = sleeper.claim(name, me)
        if not found:
            break
        where = f"before call {at} of {injector.calls}"
        if not found[0].changed:
            refusals += 1
            assert isinstance(won, Won), where
            continue
        changes += 1
        if then == "is looop itself":
            assert isinstance(won, Held), where
            assert (won.lease.session, won.lease.foreign) == ("w1", True), where
            assert (directory / "claims" / f"{name}.json").read_text() == LOOOPS, where
        elif then == "holds":
            assert isinstance(won, Held), where
            assert Claims.open(str(directory), "auto").check(name, others[0].generation).current, where
            assert json.loads((directory / "claims" / f"{name}.json").read_bytes())["session"] == "other", where
        else:
            assert isinstance(won, Won), where
            assert won.generation > others[0].generation, where
            had_judged = "shared_bits" in injector.calls[:at]
            guarded += had_judged
            assert "guard" in injector.calls[at - 1 :] or not had_judged, where
    assert (changes > 3, refusals > 2) == (True, True)
    assert guarded or then != "has let go"


def test_who_waits_for_the_guard_through_the_change_goes_on_without_it(tmp_path: Path) -> None:
    """The other way round: looop's guard is given up while somebody is about to take it, who has judged."""
    at = judged = 0
    while True:
        at += 1
        directory = tmp_path / str(at)
        me = made(directory, "advisory")
        injector = Injector(Fault(at, RIVAL), full)
        sleeper = Claims(store(directory, injector))
        sleeper.backend.read("repo-y")
        injector.calls.clear()
        found: list[Restamped] = []
        injector.rival = lambda directory=directory, found=found: found.append(adopt(directory, "auto"))  # type: ignore[misc]
        won = sleeper.claim(NAME, me)
        assert isinstance(won, Won)
        assert [each.changed for each in found] == [True]
        if injector.calls[at - 1] == "shared_bits":
            judged += 1
        if judged:
            assert injector.calls[at - 1 :].count("guard") == 1, injector.calls
        if injector.calls[at - 1] == "guard":
            break
    assert judged


def test_a_release_that_sleeps_through_the_change_releases_nobody_elses(tmp_path: Path) -> None:
    at = changes = 0
    while True:
        at += 1
        directory = tmp_path / str(at)
        me = made(directory, "auto")
        injector = Injector(Fault(at, RIVAL), full)
        sleeper = Claims(store(directory, injector))
        injector.armed = False
        assert isinstance(sleeper.claim(NAME, me), Won)
        injector.armed = True
        found: list[Restamped] = []

        def change(directory: Path = directory, found: list[Restamped] = found) -> None:
            found.append(adopt(directory, "advisory"))
            claims = Claims.open(str(directory), "auto")
            if found[0].changed:
                assert isinstance(claims.claim(NAME, claims.sessions.register("other").holder), Won)

        injector.rival = change
        assert isinstance(sleeper.release(NAME, me), Released)
        if not found:
            break
        if found[0].changed:
            changes += 1
            assert json.loads((directory / "claims" / f"{NAME}.json").read_bytes())["session"] == "other"
    assert at > 3
    assert changes < at - 1


@pytest.mark.parametrize("reapers", [1, 2])
def test_a_reaper_that_sleeps_through_the_change_is_seen_and_of_two_one_is_not(tmp_path: Path, reapers: int) -> None:
    """What it is about to remove is in the way. Only if another has removed it, nobody can see that it will be removed.

    Therefore all have to end first. Whoever makes this harmless may ask for less.
    """
    at, harm = 0, []
    while True:
        at += 1
        directory = tmp_path / str(at)
        me = made(directory, "auto")
        claims, shown = Claims.open(str(directory), "posix"), directory / "claims" / f"{NAME}.json"
        assert isinstance(claims.claim(NAME, me), Won)
        left = shown.read_bytes()
        assert isinstance(claims.release(NAME, me), Released)
        shown.write_bytes(left)  # As a crash leaves it.
        injector = Injector(Fault(at, RIVAL), full)
        sleeper = Claims(store(directory, injector))
        found: list[Restamped] = []

        def change(directory: Path = directory, found: list[Restamped] = found) -> None:
            if reapers > 1:
                Claims.open(str(directory), "posix").reap()
            found.append(adopt(directory, "advisory"))
            if found[0].changed:
                looop_claims(directory, NAME)

        injector.rival = change
        sleeper.reap()
        if not found:
            break
        if found[0].changed and (not shown.exists() or shown.read_text() != LOOOPS):
            harm.append(injector.calls[at - 1])
    assert at > 30
    assert harm == ["remove"] * (reapers - 1)


def test_of_two_that_change_it_at_once_the_second_finds_it_changed(tmp_path: Path, wanted: str) -> None:
    made(tmp_path, OTHER[wanted])
    arrived = threading.Barrier(2)
    answers: list[object] = []

    def one() -> None:
        backend = store(tmp_path)
        looks = 0

        def seen() -> Iterator[str]:
            nonlocal looks
            looks += 1
            if looks == 1:  # Both have read the old stamp, and neither has the guard.
                arrived.wait(10)
            return iter(())

        try:
            answers.append(restamp(backend, GUARDS[wanted], seen).changed)
        except Unavailable as error:
            answers.append(str(error))

    both = [threading.Thread(target=one) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(30)
    assert sorted(map(str, answers))[1] == "True"
    assert "changed by somebody else" in min(map(str, answers))
    assert stamped(tmp_path) == wanted


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_stays_as_it_is(tmp_path: Path) -> None:
    made(tmp_path, "auto")
    root = tmp_path / "claims" / ".ledger"
    root.chmod(0o555)
    try:
        with pytest.raises(Unavailable):
            adopt(tmp_path, "advisory")
    finally:
        root.chmod(0o755)
    assert stamped(tmp_path) == "auto"
