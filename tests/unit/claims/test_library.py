"""What programs use: `Claims` and its outcomes, and `hold`."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NATIVE, needs_fork

import looop_portable
from looop_portable import (
    Broken,
    Claims,
    Held,
    InvalidName,
    LooopError,
    NoSession,
    NoSuchBackend,
    Refused,
    Released,
    Renewed,
    Standing,
    Superseded,
    Unavailable,
    Won,
    hold,
)
from looop_portable.errors import ClaimHeld, ClaimLost
from looop_portable.protocol.liveness import Liveness

BACKENDS = [NATIVE, "memory"]


@pytest.fixture(params=BACKENDS)
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    """Two sessions, `one` and `two`, both this process; nobody else is registered."""
    opened = Claims.open(str(tmp_path), request.param)
    opened.sessions.register("one")
    opened.sessions.register("two")
    return opened


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOOOP_DATA_DIR", "LOOOP_BACKEND", "LOOOP_SESSION_ID"):
        monkeypatch.delenv(variable, raising=False)


def test_opening_touches_nothing(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path / "data"), NATIVE)
    assert claims.show("n").standing is Standing.VACANT
    assert claims.list() == []
    assert not claims.check("n", 1).current
    assert claims.sessions.statuses() == []
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("no_environment")
def test_an_argument_goes_before_the_environment_and_that_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOOP_DATA_DIR", str(tmp_path / "environment"))
    monkeypatch.setenv("LOOOP_BACKEND", "memory")
    monkeypatch.setenv("LOOOP_SESSION_ID", "environment")
    assert Claims.open().backend.name == "memory"
    by_environment = Claims.open(backend=NATIVE).claim("n")
    assert isinstance(by_environment, Won)
    assert by_environment.lease.session == "environment"
    assert (tmp_path / "environment/claims/n.json").exists()
    by_argument = Claims.open(str(tmp_path / "argument"), NATIVE).claim("n", "argument")
    assert isinstance(by_argument, Won)
    assert by_argument.lease.session == "argument"
    assert (tmp_path / "argument/claims/n.json").exists()
    monkeypatch.setenv("LOOOP_SESSION_ID", "")
    with pytest.raises(NoSession, match="LOOOP_SESSION_ID"):
        Claims.open(backend="memory").claim("n")


def test_an_unknown_backend_is_named_with_those_that_there_are() -> None:
    with pytest.raises(NoSuchBackend, match=r"'floppy'.*auto"):
        Claims.open("x", "floppy")
    with pytest.raises(NoSuchBackend, match="'floppy'"):
        hold("n", data_dir="x", backend="floppy").__enter__()


def test_auto_is_a_backend_that_is_available(tmp_path: Path) -> None:
    opened = Claims.open(str(tmp_path), "auto")
    assert opened.backend.name != "auto"
    assert opened.backend.unavailable() is None


def test_the_installed_entry_points_are_the_backends_that_ship() -> None:
    from importlib.metadata import PackageNotFoundError, entry_points, metadata

    from looop_portable.backends import GROUP, SHIPPED

    try:
        metadata("looop-portable")
    except PackageNotFoundError:
        pytest.skip("the package is not installed: there are no entry points")
    assert SHIPPED.items() <= {entry.name: entry.value for entry in entry_points(group=GROUP)}.items()


def test_a_claim_is_won_renewed_held_and_released(claims: Claims) -> None:
    won = claims.claim("n", "one")
    assert isinstance(won, Won)
    assert (won.generation, won.previous, won.verdict) == (1, None, None)
    assert won.lease == claims.show("n").lease
    assert (won.lease.name, won.lease.session, won.lease.generation) == ("n", "one", 1)

    renewed = claims.claim("n", "one")
    assert isinstance(renewed, Renewed)
    assert renewed.generation == 1

    held = claims.claim("n", "two")
    assert isinstance(held, Held)
    assert held.lease == won.lease
    assert held.verdict.liveness is Liveness.ALIVE
    assert str(os.getpid()) in held.verdict.evidence

    refused = claims.release("n", "two")
    assert isinstance(refused, Refused)
    assert refused.lease == won.lease
    assert refused.verdict.liveness is Liveness.ALIVE

    assert claims.release("n", "one") == Released("n", 2, won.lease)
    assert claims.release("n", "one") == Released("n", 2, None)
    assert claims.show("n") == ("n", 2, None, None, Standing.VACANT)
    again = claims.claim("n", "two")
    assert isinstance(again, Won)
    assert (again.generation, again.previous) == (3, None)


def test_releasing_what_was_never_claimed_is_no_error(claims: Claims) -> None:
    assert claims.release("n", "one") == Released("n", 0, None)


def test_another_view_of_the_store_sees_the_same(tmp_path: Path) -> None:
    one, other = (Claims.open(str(tmp_path), NATIVE) for _ in range(2))
    one.sessions.register("s")
    assert isinstance(one.claim("n", "s"), Won)
    assert isinstance(other.claim("n", "s"), Renewed)
    assert isinstance(other.claim("n", "t"), Held)
    assert isinstance(other.release("n", "s"), Released)
    assert isinstance(one.claim("n", "s"), Won)


def test_a_dead_session_s_claim_is_taken_over_with_the_evidence(claims: Claims) -> None:
    claims.claim("n", "one")
    claims.sessions.stop("one")
    won = claims.claim("n", "two")
    assert isinstance(won, Won)
    assert won.generation == 2
    assert won.previous is not None
    assert won.previous.session == "one"
    assert won.verdict is not None
    assert (won.verdict.dead, won.verdict.evidence) == (True, "the session has ended")


def test_an_unregistered_session_claims_and_loses_at_once(claims: Claims) -> None:
    won = claims.claim("n", "nobody")
    assert isinstance(won, Won)
    assert won.lease.incarnation == ""
    assert isinstance(claims.claim("n", "nobody"), Renewed)
    taken = claims.claim("n", "one")
    assert isinstance(taken, Won)
    assert taken.generation == 2
    assert isinstance(claims.release("n", "nobody"), Refused)


def test_a_release_of_a_dead_session_s_claim_succeeds_for_anybody(claims: Claims) -> None:
    claims.claim("n", "nobody")
    released = claims.release("n", "one")
    assert isinstance(released, Released)
    assert released.previous is not None
    assert released.previous.session == "nobody"


def test_after_a_takeover_the_former_holder_cannot_release(claims: Claims) -> None:
    claims.claim("n", "one")
    claims.break_claim("n", 1, "test")
    claims.claim("n", "two")
    assert isinstance(claims.release("n", "one"), Refused)
    found = claims.show("n")
    assert found.lease is not None
    assert (found.lease.session, found.generation, found.standing) == ("two", 3, Standing.HELD)


def test_exactly_the_lease_that_was_won_is_released(claims: Claims) -> None:
    won = claims.claim("n", "one")
    assert isinstance(won, Won)
    claims.break_claim("n", 1, "test")
    again = claims.claim("n", "one")
    assert isinstance(again, Won)
    refused = claims.release_lease(won.lease)
    assert isinstance(refused, Refused)
    assert "generation 1 has been superseded" in refused.verdict.evidence
    assert claims.release_lease(again.lease) == Released("n", 4, again.lease)


def test_a_generation_is_current_while_it_holds(claims: Claims) -> None:
    claims.claim("n", "one")
    found = claims.check("n", 1)
    assert (found.current, found.head) == (True, 1)
    assert not claims.check("n", 2).current
    assert not claims.check("n", 0).current
    claims.release("n", "one")
    assert claims.check("n", 2) == ("n", 2, 2, None)
    assert not claims.check("n", 2).current
    assert not claims.check("n", 1).current
    claims.claim("n", "one")
    assert not claims.check("n", 1).current
    assert claims.check("n", 3).current


def test_a_break_names_its_generation(claims: Claims) -> None:
    won = claims.claim("n", "one")
    assert isinstance(won, Won)
    assert claims.break_claim("n", 2, "why") == Superseded("n", 1, won.lease)
    assert claims.break_claim("n", 1, "why") == Broken(won.lease, 2)
    assert claims.break_claim("n", 1, "why") == Superseded("n", 2, None)
    assert claims.break_claim("n", 2, "why") == Superseded("n", 2, None)
    assert isinstance(claims.claim("n", "two"), Won)


def test_the_list_has_what_is_held_by_whom_and_how_alive(claims: Claims) -> None:
    claims.claim("b", "one")
    claims.claim("a", "nobody")
    claims.claim("c", "one")
    claims.release("c", "one")
    found = claims.list()
    assert [(s.name, s.generation, s.standing) for s in found] == [("a", 1, Standing.ORPHANED), ("b", 1, Standing.HELD)]
    assert [s.verdict.liveness for s in found if s.verdict] == [Liveness.DEAD, Liveness.ALIVE]


def test_to_retire_a_session_ends_it_and_releases_what_it_holds_alone(claims: Claims) -> None:
    one = claims.sessions.holder("one")
    won = [claims.claim(name, one) for name in ("a", "c")]
    claims.claim("b", "two")
    retired = claims.retire(one)
    assert [(each.name, each.generation) for each in retired.released] == [("a", 2), ("c", 2)]
    assert [each.previous for each in retired.released] == [each.lease for each in won]
    assert (retired.stopped, retired.failed) == (True, ())
    assert claims.sessions.verdict(*one).dead
    assert [status.name for status in claims.list()] == ["b"]
    assert claims.retire(one) == (False, (), ())


def test_to_retire_an_incarnation_leaves_the_next_one_alone(claims: Claims) -> None:
    before = claims.sessions.holder("one")
    claims.claim("left", before)
    claims.sessions.stop(*before)
    now = claims.sessions.register("one").holder
    claims.claim("ours", now)
    retired = claims.retire(before)
    assert (retired.stopped, [each.name for each in retired.released]) == (False, ["left"])
    assert not claims.sessions.verdict(*now).dead
    assert claims.check("ours", 1).current


def test_to_retire_is_not_kept_from_the_others_by_a_claim_that_fails(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), NATIVE)
    one = claims.sessions.register("one").holder
    for name in ("a", "c"):
        claims.claim(name, one)
    (tmp_path / "claims/.ledger/b").write_text("not a directory")
    retired = claims.retire(one)
    assert [each.name for each in retired.released] == ["a", "c"]
    assert [name for name, _ in retired.failed] == ["b"]


def test_a_claim_that_cannot_be_read_is_listed_with_the_reason(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.claim("good", "s")
    (tmp_path / "claims/.ledger/bad").write_text("not a directory")
    bad, good = claims.list()
    assert (bad.name, bad.standing, good.name) == ("bad", Standing.HELD, "good")
    assert bad.verdict is not None
    assert (bad.verdict.liveness, "bad" in bad.verdict.evidence) == (Liveness.UNKNOWN, True)
    assert {name for name, _ in claims.reap().failed} == {"bad"}


def test_the_reaper_releases_what_the_dead_hold_and_keeps_the_rest(claims: Claims) -> None:
    claims.claim("a", "one")
    claims.claim("b", "two")
    claims.claim("c", "nobody")
    claims.sessions.stop("one")
    rehearsed = claims.reap(dry_run=True)
    assert rehearsed.dry_run
    assert [s.name for s in claims.list()] == ["a", "b", "c"]
    swept = claims.reap()
    assert [(r.lease.name, r.lease.session, r.generation) for r in swept.reaped] == [("a", "one", 2), ("c", "nobody", 2)]
    assert swept.reaped == rehearsed.reaped
    assert all(reaped.verdict.dead for reaped in swept.reaped)
    assert (swept.kept, swept.failed, swept.skipped) == (1, (), "")
    assert [s.name for s in claims.list()] == ["b"]
    assert claims.reap().reaped == ()


def test_what_was_reaped_is_told_even_if_tidying_up_after_it_fails(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.claim("n", "nobody")
    (tmp_path / "claims/.ledger/n/.in-the-way").mkdir()
    swept = claims.reap()
    assert claims.show("n").lease is None
    assert [reaped.lease.name for reaped in swept.reaped] == ["n"]


def test_the_reaper_loses_to_whoever_moved_the_claim_meanwhile(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    claims.claim("n", "nobody")
    publish = claims.backend.advance
    rival: list[str] = []

    def late(name: str, expected: int, lease: looop_portable.Lease | None) -> bool:
        if not rival:
            rival.append(name)
            assert publish(name, expected, looop_portable.Lease("n", "two", claims.sessions.holder("two").incarnation))
        return publish(name, expected, lease)

    monkeypatch.setattr(claims.backend, "advance", late)
    assert claims.reap().reaped == ()
    found = claims.show("n").lease
    assert found is not None
    assert found.session == "two"


def test_a_claimer_that_loses_the_race_reads_again_and_answers_held(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = claims.backend.advance
    rival: list[str] = []

    def late(name: str, expected: int, lease: looop_portable.Lease | None) -> bool:
        if not rival:
            rival.append(name)
            assert publish(name, expected, looop_portable.Lease("n", "two", claims.sessions.holder("two").incarnation))
        return publish(name, expected, lease)

    monkeypatch.setattr(claims.backend, "advance", late)
    held = claims.claim("n", "one")
    assert isinstance(held, Held)
    assert held.lease.session == "two"


def test_a_claim_that_others_move_all_the_time_is_no_answer(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims.backend, "advance", lambda name, expected, lease: False)
    with pytest.raises(Unavailable, match="try again"):
        claims.claim("n", "one")


def test_a_bad_name_is_refused_by_every_verb(claims: Claims) -> None:
    verbs: list[Callable[[], object]] = [
        lambda: claims.claim("a/b", "one"),
        lambda: claims.release("a/b", "one"),
        lambda: claims.check("a/b", 1),
        lambda: claims.show("a/b"),
        lambda: claims.break_claim("a/b", 1, "why"),
        lambda: hold("a/b"),
    ]
    for verb in verbs:
        with pytest.raises(InvalidName):
            verb()


def test_both_forms_of_a_name_are_one_claim_and_odd_names_are_claims(claims: Claims) -> None:
    assert isinstance(claims.claim("e\u0301", "one"), Won)
    assert isinstance(claims.claim("\u00e9", "one"), Renewed)
    odd = ["con", "a:b", "x.", "%41", "l" * 300, "A b"]
    for name in odd:
        assert isinstance(claims.claim(name, "one"), Won)
    assert sorted(s.name for s in claims.list()) == sorted([*odd, "\u00e9"])
    for name in odd:
        assert isinstance(claims.release(name, "one"), Released)
    assert [s.name for s in claims.list()] == ["\u00e9"]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_block_holds_its_claim_and_releases_it(store: str, backend: str) -> None:
    with hold("n", data_dir=store, backend=backend) as lease:
        first = lease.generation
        assert (lease.name, lease.lease.generation, lease.lease.session) == ("n", first, lease.session)
        lease.check()
    with hold("n", data_dir=store, backend=backend) as lease:
        assert lease.generation == first + 2
    for outside in (lambda: lease.generation, lease.check):
        with pytest.raises(ClaimLost, match="not held"):
            outside()


def test_what_a_block_holds_others_see_held_by_this_process(store: str) -> None:
    others = Claims.open(store, NATIVE)
    with hold("n", data_dir=store, backend=NATIVE) as lease:
        held = others.claim("n", "other")
        assert isinstance(held, Held)
        assert held.lease.session == lease.session
        assert str(os.getpid()) in held.verdict.evidence
        assert others.check("n", lease.generation).current
    assert others.show("n").lease is None


def test_the_environment_says_where_a_block_s_claim_is(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_DATA_DIR", store)
    monkeypatch.setenv("LOOOP_BACKEND", NATIVE)
    with hold("n"):
        assert Path(store, "claims/n.json").exists()
    assert not Path(store, "claims/n.json").exists()


def test_a_claim_that_another_holds_is_not_entered(store: str) -> None:
    others = Claims.open(store, NATIVE)
    others.sessions.register("other")
    others.claim("n", "other")
    with (
        pytest.raises(ClaimHeld, match="held by live session 'other'") as refusal,
        hold("n", data_dir=store, backend=NATIVE),
    ):
        pytest.fail("entered")
    assert (refusal.value.claim, refusal.value.holder) == ("n", "other")
    assert str(os.getpid()) in refusal.value.evidence
    others.release("n", "other")
    with hold("n", data_dir=store, backend=NATIVE):
        pass


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_block_is_not_reentrant(store: str, backend: str) -> None:
    with hold("n", data_dir=store, backend=backend) as lease:
        with pytest.raises(ClaimHeld, match="not reentrant"), hold("n", data_dir=store, backend=backend):
            pytest.fail("entered")
        with pytest.raises(ClaimHeld, match="not reentrant"):
            lease.__enter__()
        lease.check()
        with hold("m", data_dir=store, backend=backend) as another:
            assert another.session == lease.session


def test_one_of_many_threads_is_in_the_block_at_a_time(store: str) -> None:
    inside, most, entered, refused = [0], [0], [0], [0]
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(25):
            try:
                with hold("n", data_dir=store, backend=NATIVE):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    entered[0] += 1
                    inside[0] -= 1
            except ClaimHeld:
                refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert entered[0] + refused[0] == 100
    assert entered[0] > 0


def test_a_block_that_lost_its_claim_says_so_at_the_end(store: str) -> None:
    others = Claims.open(store, NATIVE)
    others.sessions.register("other")
    block = hold("n", data_dir=store, backend=NATIVE)
    lease = block.__enter__()
    others.break_claim("n", lease.generation, "test")
    with pytest.raises(ClaimLost, match="superseded"):
        lease.check()
    assert isinstance(others.claim("n", "other"), Won)
    with pytest.raises(ClaimLost, match="superseded"):
        lease.check()
    with pytest.raises(ClaimLost, match="generation 1 was superseded"):
        block.__exit__(None, None, None)
    found = others.show("n").lease
    assert found is not None
    assert found.session == "other"


def test_a_lost_claim_does_not_hide_the_block_s_own_error(store: str) -> None:
    others = Claims.open(store, NATIVE)

    def work() -> None:
        with hold("n", data_dir=store, backend=NATIVE) as lease:
            others.break_claim("n", lease.generation, "test")
            raise KeyError("the block's own")

    with pytest.raises(KeyError, match="the block's own"):
        work()


def test_an_error_in_the_block_releases_the_claim(store: str) -> None:
    with pytest.raises(KeyError), hold("n", data_dir=store, backend=NATIVE):
        raise KeyError
    assert Claims.open(store, NATIVE).show("n").lease is None
    with hold("n", data_dir=store, backend=NATIVE):
        pass


def test_a_store_that_cannot_be_used_is_no_answer_and_nothing_is_held(store: str) -> None:
    Path(store, "claims").write_text("in the way")
    block = hold("n", data_dir=store, backend=NATIVE)
    for _ in range(2):
        with pytest.raises(Unavailable):
            block.__enter__()
    Path(store, "claims").unlink()
    with block:
        pass


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    return done.stdout


def test_at_exit_the_session_of_a_process_is_gone_without_a_trace(store: str) -> None:
    program = """
import sys
from looop_portable import hold
with hold("n", data_dir=sys.argv[1], backend="auto") as lease:
    print(lease.session)
"""
    session = run(program, store).strip()
    claims = Claims.open(store, NATIVE)
    assert session
    assert claims.sessions.ids() == []
    assert claims.sessions.verdict(session, "").evidence == "no such session"
    assert sorted(path.name for path in Path(store, "sessions").iterdir()) == [".ledger"]
    assert claims.show("n").generation == 2


def test_a_process_that_died_in_its_block_loses_its_claim_to_the_next(store: str) -> None:
    program = """
import os, sys
from looop_portable import hold
with hold("n", data_dir=sys.argv[1], backend="auto") as lease:
    os._exit(9)
"""
    with pytest.raises(subprocess.CalledProcessError):
        run(program, store)
    claims = Claims.open(store, NATIVE)
    assert claims.show("n").standing is Standing.ORPHANED
    with hold("n", data_dir=store, backend=NATIVE) as lease:
        assert lease.generation == 2
    claims.claim("n", "unregistered")
    claims.reap()
    events = [json.loads(line)["event"] for line in Path(store, "events.jsonl").read_text().splitlines()]
    claims_only = [event for event in events if not event.startswith("session")]
    assert claims_only == ["claimed", "taken_over", "released", "claimed", "claim_reaped"]


@needs_fork
def test_a_forked_child_is_another_session_and_leaves_its_parent_s_claim_alone(store: str) -> None:
    program = """
import os, sys
from looop_portable import Claims, hold
from looop_portable.errors import ClaimHeld
where = {"data_dir": sys.argv[1], "backend": "auto"}
block = hold("n", **where)
with block as lease:
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        lease.check()
    else:
        try:
            try:
                with hold("n", **where):
                    os._exit(1)
            except ClaimHeld as refusal:
                assert "not reentrant" not in str(refusal)
            with hold("m", **where) as other:
                assert other.session != lease.session
            block.__exit__(None, None, None)
            os._exit(7)
        except BaseException as error:
            print(repr(error))
            os._exit(2)
print(status)
"""
    assert run(program, store) == "7\n"
    assert Claims.open(store, NATIVE).show("n").generation == 2


def test_every_public_name_is_there() -> None:
    for name in looop_portable.__all__:
        assert getattr(looop_portable, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = looop_portable.nothing  # type: ignore[attr-defined]
    assert all(
        issubclass(found, LooopError)
        for name in looop_portable.__all__
        if isinstance(found := getattr(looop_portable, name), type) and issubclass(found, Exception)
    )


def test_a_relative_data_directory_is_another_one_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from looop_portable.config import resolve

    found: list[tuple[str, str]] = []
    for name in ("one", "two", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        found.append((resolve("store").data_dir, resolve(found[0][0] if found else str(tmp_path)).data_dir))
    assert len({relative for relative, _ in found}) == 2
    assert found[1][1] == found[2][1] == found[0][0]
