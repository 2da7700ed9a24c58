"""Nothing is asked needlessly: what has been read is not read again, and what others hold is not judged."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NATIVE, times_or_skip
from support.counting import Asked, asked

from looop_portable import Claims, Held, Released, Renewed, Unavailable, Won
from looop_portable.backends import open_backend
from looop_portable.backends.memory import MemoryBackend
from looop_portable.cli import main
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.shares import slots_of
from looop_portable.sessions.births import Births
from looop_portable.system.files import OS
from looop_portable.waiting.attempts import Attempts, claim_any

Command = Callable[..., tuple[int, Asked]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of the commands. Both sessions, `me` and `other`, are this process."""
    directory = tmp_path / "data"
    monkeypatch.setenv("LOOOP_DATA_DIR", str(directory))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID"):
        monkeypatch.delenv(name, raising=False)
    claims = Claims.open(str(directory))
    for session in ("me", "other"):
        claims.sessions.register(session)
    claims.claim("first", "other")
    return directory


@pytest.fixture
def command(store: Path) -> Command:
    def run(*args: str) -> tuple[int, Asked]:
        with asked(store) as found, pytest.raises(SystemExit) as end:
            main(args)
        assert isinstance(end.value.code, int)
        return end.value.code, found

    return run


def own_and_others(store: Path) -> tuple[Claims, Holder, Holder]:
    claims = Claims.open(str(store), NATIVE)
    return claims, claims.sessions.holder("me"), claims.sessions.holder("other")


def later(claims: Claims, store: Path) -> Holder:
    """A session that begins when the filesystem's clock has gone on."""
    began = OS.now(str(store))
    while OS.now(str(store)) < began + 50_000_000:
        pass
    holder = claims.sessions.register("run").holder
    times_or_skip(claims, store)
    return holder


@pytest.mark.parametrize(("session", "code"), [("me", 0), ("other", 0)])
def test_a_claim_reads_the_head_and_its_own_registration_once(command: Command, session: str, code: int) -> None:
    """Of `other` it is the claim that is its own already."""
    name = "new" if session == "me" else "first"
    found, what = command("claim", name, "--session", session)
    assert found == code
    assert len([path for path in what.listings if f"/sessions/.ledger/{session}" in path]) == 1
    assert len([path for path in what.reads if f"/sessions/.ledger/{session}/" in path]) == 1
    assert len([path for path in what.reads if path.endswith(f"/sessions/{session}/meta.json")]) == 1
    assert len([path for path in what.reads if path.endswith(f"/claims/{name}.json")]) == 1
    assert what.more_than_once(".ledger/") == ([] if name == "first" else what.more_than_once("/claims/.ledger/new"))


def test_a_refused_claim_reads_nothing_twice(command: Command) -> None:
    code, what = command("claim", "first", "--session", "me")
    assert code == 1
    assert what.more_than_once() == []


def test_the_names_of_one_command_share_what_is_known_of_its_session(command: Command) -> None:
    assert command("claim", "a", "b", "c", "--session", "me")[0] == 0
    code, what = command("unclaim", "a", "b", "c", "--session", "me")
    assert code == 0
    assert len([path for path in what.reads if "/sessions/.ledger/me/" in path]) == 1


@pytest.mark.parametrize("session", ["other", "unregistered"])
def test_the_list_judges_each_session_once_and_reads_each_claim_once(store: Path, session: str) -> None:
    claims = Claims.open(str(store))
    for number in range(20):
        claims.claim(f"n{number}", session)
    with asked(store) as what:
        found = Claims.open(str(store)).list()
    assert len(found) == 21
    assert {each.verdict.dead for each in found if each.verdict and each.name != "first"} == {session == "unregistered"}
    assert what.more_than_once() == []
    assert len(what.listings) < 21 + 10


def test_a_reaper_reads_what_is_kept_once(store: Path) -> None:
    claims = Claims.open(str(store))
    for number in range(20):
        claims.claim(f"n{number}", "other")
    with asked(store) as what:
        assert Claims.open(str(store)).reap(dry_run=True).kept == 21
    assert what.more_than_once("/claims/") == []


def test_slots_that_are_all_held_are_read_once_each(store: Path) -> None:
    claims, me, other = own_and_others(store)
    wanted = slots_of("n", 100)
    for name in wanted:
        claims.claim(name, other)
    fresh, reads = Claims.open(str(store), NATIVE), list[str]()
    read = fresh.backend.read

    def counted(name: str) -> object:
        reads.append(name)
        return read(name)

    setattr(fresh.backend, "read", counted)  # noqa: B010 (a method, for the type checker)
    with asked(store) as what:
        outcome = Attempts(fresh, wanted, me)()
    assert isinstance(outcome, Held)
    assert outcome.lease.name == "n#1"
    assert len(reads) <= 101
    assert what.more_than_once() == []


def test_a_slot_whose_holder_is_gone_is_read_again_before_it_is_taken(store: Path) -> None:
    """What was read of all slots may be old by then: somebody else has it."""
    claims, me, other = own_and_others(store)
    claims.claim("n#1", other)
    claims.claim("n#2", "unregistered")
    third = claims.sessions.register("third").holder
    read, seen = claims.backend.read, list[str]()

    def then_it_is_taken(name: str) -> object:
        found = read(name)
        if name == "n#2" and name not in seen:
            seen.append(name)
            assert isinstance(Claims.open(str(store), NATIVE).claim(name, third), Won)
        return found

    setattr(claims.backend, "read", then_it_is_taken)  # noqa: B010 (a method, for the type checker)
    assert isinstance(claim_any(claims, slots_of("n", 2), me), Held)


class TestTheEndOfASession:
    def test_asks_nobody_about_others(self, store: Path) -> None:
        claims, me, other = own_and_others(store)
        for number in range(30):
            claims.claim(f"n{number}", other)
        claims.claim("mine", me)
        with asked(store) as what:
            assert [each.name for each in claims.retire(me).released] == ["mine"]
        assert [path for path in what.reads if "/sessions/.ledger/other/" in path] == []
        assert what.more_than_once("/claims/.ledger/n") == []
        assert len([path for path in what.reads if "/claims/n" in path]) == 0

    def test_reads_nothing_of_what_was_untouched_since_it_began(self, store: Path) -> None:
        claims, _, other = own_and_others(store)
        for number in range(30):
            claims.claim(f"n{number}", other)
        me = later(claims, store)
        claims.claim("mine", me)
        Claims.open(str(store), NATIVE).claim("its-command-s", me)
        claims.release("n7", other)
        Claims.open(str(store), NATIVE).claim("n7", me)
        with asked(store) as what:
            released = [each.name for each in claims.retire(me).released]
        assert released == ["its-command-s", "mine", "n7"]
        assert [path for path in what.listings if "/claims/.ledger/n" in path and "/n7" not in path] == []

    def test_goes_by_no_time_that_somebody_has_set(self, store: Path) -> None:
        claims, _, other = own_and_others(store)
        claims.claim("a", other)
        claims.release("a", other)
        me = later(claims, store)
        Claims.open(str(store), NATIVE).claim("a", me)
        for path in (store / "claims/.ledger/a", store / "claims/.ledger"):
            os.utime(path, (0, 0))
        assert [each.name for each in claims.retire(me).released] == ["a"]

    def test_reads_everything_where_the_clock_was_set_back(self, store: Path) -> None:
        """Then what was claimed for it may look older than it is: here everything does."""
        claims, _, other = own_and_others(store)
        claims.claim("a", other)
        claims.release("a", other)
        wall = [5e9, 4.9e9]
        claims.sessions.evidence.births = Births(wall=lambda: wall.pop(0) if len(wall) > 1 else wall[0], even=lambda: 0.0)
        claims.backend.sessions.stamp = lambda *_: 2**62  # type: ignore[method-assign]
        me = later(claims, store)
        Claims.open(str(store), NATIVE).claim("a", me)
        assert [each.name for each in claims.retire(me).released] == ["a"]

    def test_releases_what_another_process_has_claimed_for_it(self, store: Path) -> None:
        claims, me, _ = own_and_others(store)
        claims.claim("b", me)
        Claims.open(str(store), NATIVE).claim("a", "me")
        Claims.open(str(store), NATIVE).claim("con", "me")
        long = "long" * 60
        Claims.open(str(store), NATIVE).claim(long, "me")
        assert [each.name for each in claims.retire(me).released] == ["con", "a", "b", long]
        assert [status.name for status in claims.list()] == ["first"]

    def test_releases_what_is_held_and_not_shown(self, store: Path) -> None:
        """Whoever claimed it was killed before he had shown it; or somebody has removed that."""
        claims, me, _ = own_and_others(store)
        Claims.open(str(store), NATIVE).claim("a", me)
        os.unlink(store / "claims/a.json")
        assert [each.name for each in claims.retire(me).released] == ["a"]

    def test_does_not_count_what_it_has_lost_as_released(self, store: Path) -> None:
        claims, me, _ = own_and_others(store)
        won = claims.claim("a", me)
        assert isinstance(won, Won)
        claims.break_claim("a", won.lease.generation, "on purpose")
        assert claims.retire(me) == (True, (), ())
        assert not claims.check("a", won.lease.generation).current

    def test_releases_what_was_lost_and_won_again_by_another_process(self, store: Path) -> None:
        claims, me, _ = own_and_others(store)
        won = claims.claim("a", me)
        assert isinstance(won, Won)
        claims.break_claim("a", won.lease.generation, "on purpose")
        assert isinstance(Claims.open(str(store), NATIVE).claim("a", me), Won)
        assert [(each.name, each.generation) for each in claims.retire(me).released] == [("a", won.lease.generation + 3)]

    def test_leaves_another_s_claim_alone_that_its_own_was_lost_to(self, store: Path) -> None:
        claims, me, other = own_and_others(store)
        won = claims.claim("a", me)
        assert isinstance(won, Won)
        claims.break_claim("a", won.lease.generation, "on purpose")
        again = claims.claim("a", other)
        assert isinstance(again, Won)
        assert claims.retire(me).released == ()
        assert claims.check("a", again.lease.generation).is_held_by(other)

    def test_in_memory(self) -> None:
        claims = Claims(MemoryBackend())
        me, other = (claims.sessions.register(name).holder for name in ("me", "other"))
        claims.claim("a", me)
        Claims(claims.backend).claim("b", me)
        claims.claim("c", other)
        assert [each.name for each in claims.retire(me).released] == ["a", "b"]
        assert [status.name for status in claims.list()] == ["c"]

    def test_of_a_session_without_registration_releases_what_its_id_claimed(self, store: Path) -> None:
        claims = Claims.open(str(store), NATIVE)
        nobody = Holder("me", "")
        Claims.open(str(store), NATIVE).claim("a", nobody)
        assert [each.name for each in claims.retire(nobody).released] == ["a"]


class TestAnAttempt:
    """What is undone, when it was interrupted, is what it has won, and nothing that was its own before."""

    def test_undoes_what_it_won_before_it_was_interrupted(self, store: Path) -> None:
        claims, me, _ = own_and_others(store)
        advance = claims.backend.advance

        def then_interrupted(name: str, expected: int, lease: Lease | None) -> bool:
            done = advance(name, expected, lease)
            if lease:
                raise KeyboardInterrupt
            return done

        setattr(claims.backend, "advance", then_interrupted)  # noqa: B010 (a method, for the type checker)
        with pytest.raises(KeyboardInterrupt):
            Attempts(claims, ["a"], me)()
        assert claims.show("a").lease is None
        assert claims.show("a").generation == 2

    def test_owns_up_to_what_it_may_have_won_on_a_disk_that_fails_from_then_on(self, store: Path) -> None:
        claims, me, _ = own_and_others(store)
        advance = claims.backend.advance

        def fails(*_: object) -> object:
            raise Unavailable("the disk fails", "there")

        def then_fails(name: str, expected: int, lease: Lease | None) -> object:
            advance(name, expected, lease)
            for verb in ("advance", "read", "release"):
                setattr(claims.backend, verb, fails)
            return fails()

        setattr(claims.backend, "advance", then_fails)  # noqa: B010 (a method, for the type checker)
        with pytest.raises(Unavailable) as caught:
            Attempts(claims, ["a"], me)()
        assert str(caught.value) == f"the disk fails; a may be held all the same, by session '{me.session}'"
        assert caught.value.path == "there"

    def test_leaves_what_was_its_own_before(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        claims, me, _ = own_and_others(store)
        won = claims.claim("a", me)
        assert isinstance(won, Won)
        claim = claims.claim

        def then_interrupted(name: str, session: Holder) -> object:
            assert isinstance(claim(name, session), Renewed)
            raise KeyboardInterrupt

        monkeypatch.setattr(claims, "claim", then_interrupted)
        with pytest.raises(KeyboardInterrupt):
            Attempts(claims, ["a"], me)()
        assert claims.check("a", won.lease.generation).current

    def test_leaves_what_another_process_won_for_it_meanwhile(self, store: Path) -> None:
        claims, me, other = own_and_others(store)
        claims.claim("a", me)
        assert isinstance(claims.release("a", me), Released)

        def fails(name: str, expected: int, lease: Lease | None) -> bool:
            assert isinstance(Claims.open(str(store), NATIVE).claim("b", other), Won)
            raise KeyboardInterrupt

        setattr(claims.backend, "advance", fails)  # noqa: B010 (a method, for the type checker)
        with pytest.raises(KeyboardInterrupt):
            Attempts(claims, ["b"], me)()
        assert claims.show("b").lease is not None


def test_the_list_has_what_cannot_be_read_and_what_looop_wrote(store: Path) -> None:
    (store / "claims/.ledger/bad").write_text("not a directory")
    (store / "claims/theirs.json").write_text('{"session": "w1", "name": "theirs"}')
    found: dict[str, Status] = {each.name: each for each in Claims.open(str(store)).list()}
    assert sorted(found) == ["bad", "first", "theirs"]
    assert found["bad"].lease == Lease("bad", "")
    assert found["theirs"].verdict
    assert found["theirs"].verdict.dead


def test_a_backend_in_memory_lists_what_is_held() -> None:
    claims = Claims(open_backend("memory", sys.prefix))
    claims.claim("a", claims.sessions.register("me").holder)
    assert [each.name for each in claims.list()] == ["a"]
