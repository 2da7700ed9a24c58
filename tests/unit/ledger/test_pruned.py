"""`Claims.prune`: names that are free and old leave nothing behind, and go on above what they had."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.capabilities import FILE_BACKENDS, NATIVE, needs_symlinks, open_or_skip

from looop_portable import Claims, Held, Released, Unavailable, Won
from looop_portable.ledger.pruning import ENDS
from looop_portable.protocol.records import Holder, Judged
from looop_portable.system.mounts.mount import Mount

NAME = "repo-x"


@pytest.fixture(params=FILE_BACKENDS)
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    return open_or_skip(request.param, tmp_path)


def opened(claims: Claims, tmp_path: Path) -> Claims:
    """Another process, as it were: it remembers nothing."""
    return Claims.open(str(tmp_path), claims.backend.name)


def me(claims: Claims) -> Holder:
    return claims.sessions.register().holder


def cycle(claims: Claims, holder: Holder, name: str = NAME) -> int:
    won = claims.claim(name, holder)
    assert isinstance(won, Won)
    assert isinstance(claims.release(name, holder), Released)
    return won.generation + 1


def ledger_in(tmp_path: Path) -> Path:
    return tmp_path / "claims" / ".ledger"


def entries(tmp_path: Path) -> list[str]:
    """All that there is below the ledger, but for what it has of its own."""
    root = ledger_in(tmp_path)
    return sorted(each.relative_to(root).as_posix() for each in root.rglob("*") if not each.name.startswith("."))


@pytest.mark.parametrize("cycles", [1, 2, 9, 40])
@pytest.mark.parametrize("again", [False, True], ids=["the same process", "another"])
def test_a_name_that_was_pruned_goes_on_above_its_numbers(claims: Claims, tmp_path: Path, cycles: int, again: bool) -> None:
    holder = me(claims)
    for _ in range(3):
        for _ in range(cycles):
            last = cycle(claims, holder)
        sweep = opened(claims, tmp_path).prune(0)
        assert (sweep.pruned, sweep.kept, sweep.failed, sweep.skipped) == (((NAME, last),), 0, (), "")
        assert entries(tmp_path) == [f".pruned/{number}" for number in os.listdir(ledger_in(tmp_path) / ".pruned")]
        current = opened(claims, tmp_path) if again else claims
        shown = current.show(NAME)
        assert (shown.generation > last, shown.lease) == (True, None)
        won = current.claim(NAME, holder)
        assert isinstance(won, Won)
        assert won.generation > last
        assert current.check(NAME, won.generation).current
        assert isinstance(current.release(NAME, holder), Released)


def test_nothing_is_pruned_that_is_held_or_shown_or_waited_for_or_young(claims: Claims, tmp_path: Path) -> None:
    holder = me(claims)
    cycle(claims, holder)
    assert claims.prune(3600).pruned == ()
    assert claims.backend.tickets
    ticket = claims.backend.tickets.take(NAME, claims.sessions.evidence.this_process())
    assert claims.prune(0).pruned == ()
    claims.backend.tickets.give_back(NAME, ticket)
    (tmp_path / "claims" / f"{NAME}.json").write_text('{"session": "theirs", "name": "repo-x"}')
    assert claims.prune(0).pruned == ()
    (tmp_path / "claims" / f"{NAME}.json").unlink()
    (ledger_in(tmp_path) / NAME / "notes.txt").write_text("somebody's own")
    assert claims.prune(0).pruned == ()
    (ledger_in(tmp_path) / NAME / "notes.txt").unlink()
    claims.claim(NAME, holder)
    assert claims.prune(0).pruned == ()
    assert isinstance(opened(claims, tmp_path).claim(NAME, me(claims)), Held)
    claims.release(NAME, holder)
    assert [name for name, _ in claims.prune(0).pruned] == [NAME]


def test_a_dry_run_says_what_would_be_pruned(claims: Claims, tmp_path: Path) -> None:
    last = cycle(claims, me(claims))
    before = entries(tmp_path)
    sweep = claims.prune(0, dry_run=True)
    assert (sweep.pruned, sweep.dry_run, entries(tmp_path)) == (((NAME, last),), True, before)
    assert sweep.as_dict()["pruned"] == [{"name": NAME, "generation": last}]


def test_where_nothing_was_ever_claimed_there_is_nothing_to_prune(claims: Claims, tmp_path: Path) -> None:
    sweep = claims.prune(0)
    assert (sweep.pruned, sweep.kept, sweep.failed) == ((), 0, ())
    assert entries(tmp_path) == []


def test_a_late_claimer_and_a_late_release_lose(claims: Claims, tmp_path: Path) -> None:
    holder = me(claims)
    late, slow = opened(claims, tmp_path), opened(claims, tmp_path)
    assert late.backend.read(NAME).generation == 0
    won = claims.claim(NAME, holder)
    assert isinstance(won, Won)
    assert slow.backend.read(NAME).generation == won.generation
    broken = claims.break_claim(NAME, won.generation, "tried")
    assert not isinstance(broken, Unavailable)
    head = slow.backend.read(NAME).generation
    assert len(claims.prune(0).pruned) == 1
    assert not late.backend.advance(NAME, 0, won.lease)
    assert not slow.backend.advance(NAME, head, won.lease._replace(generation=head + 1))
    assert not slow.backend.advance(NAME, Judged(won.generation, won.lease), None)
    assert not os.path.exists(ledger_in(tmp_path) / NAME)
    now = claims.claim(NAME, holder)
    assert isinstance(now, Won)
    assert not slow.backend.advance(NAME, head, won.lease._replace(generation=head + 1))
    assert not slow.backend.advance(NAME, Judged(won.generation, won.lease), None)
    assert claims.check(NAME, now.generation).current


def about_to_end(claims: Claims) -> tuple[int, str]:
    """Somebody has crashed before he took the directory away: the last generation, and with what it ends."""
    ledger = claims.backend.ledger  # type: ignore[attr-defined]
    generation, common = int(ledger.head(NAME)[0]), ledger.floors.common
    common.rise(generation + 2)
    nonce = common.announce()
    assert ledger.advance(NAME, generation, {"released": True, ENDS: nonce})
    return generation + 1, nonce


@pytest.mark.parametrize("then", ["claim", "prune", "reap", "show"])
def test_one_that_crashed_in_the_middle_is_in_nobodys_way(claims: Claims, tmp_path: Path, then: str) -> None:
    holder = me(claims)
    cycle(claims, holder)
    last, _ = about_to_end(opened(claims, tmp_path))
    other = opened(claims, tmp_path)
    if then == "prune":
        assert other.prune(0).pruned == ((NAME, last),)
    elif then == "reap":
        assert other.reap().failed == ()
    elif then == "show":
        assert (other.show(NAME).generation, other.show(NAME).lease) == (last, None)
    won = other.claim(NAME, holder)
    assert isinstance(won, Won)
    assert won.generation > last


def test_what_a_crash_left_aside_is_swept(claims: Claims, tmp_path: Path) -> None:
    cycle(claims, me(claims))
    common = opened(claims, tmp_path).backend.ledger.floors.common  # type: ignore[attr-defined]
    last, nonce = about_to_end(claims)
    common.take_away(NAME, nonce)
    common.announce()
    common.stage(common.number(), 0)
    assert claims.reap().failed == ()
    assert os.listdir(ledger_in(tmp_path) / ".pruned" / str(common.number())) == []
    assert [name for name in os.listdir(ledger_in(tmp_path)) if name.startswith((".end-", ".dir-"))] == []
    assert claims.show(NAME).generation >= last


def test_what_cannot_be_taken_away_is_told_and_stays_to_be_claimed(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = me(claims)
    last = cycle(claims, holder)

    def denied(self: object, key: str, nonce: str) -> None:
        raise PermissionError(13, "scripted", key)

    monkeypatch.setattr("looop_portable.ledger.pruning.Common.take_away", denied)
    sweep = claims.prune(0)
    assert ([name for name, _ in sweep.failed], sweep.pruned) == ([NAME], ())
    won = claims.claim(NAME, holder)
    assert isinstance(won, Won)
    assert won.generation == last + 2


def test_a_floor_that_was_cleaned_up_is_remembered(claims: Claims, tmp_path: Path) -> None:
    """What removes empty directories by their age removes this one, too."""
    last = cycle(claims, me(claims))
    assert len(claims.prune(0).pruned) == 1
    (number,) = os.listdir(ledger_in(tmp_path) / ".pruned")
    (ledger_in(tmp_path) / ".pruned" / number).rmdir()
    (ledger_in(tmp_path) / ".pruned").rmdir()
    assert cycle(opened(claims, tmp_path), me(claims)) > last + 1
    assert cycle(opened(claims, tmp_path), me(claims), "another") > int(number)


def test_a_new_name_begins_above_what_was_pruned(claims: Claims, tmp_path: Path) -> None:
    holder = me(claims)
    last = cycle(claims, holder)
    assert len(claims.prune(0).pruned) == 1
    assert cycle(claims, holder, "new") == last + 4


def test_a_network_mount_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = open_or_skip(NATIVE, tmp_path)
    cycle(claims, me(claims))
    monkeypatch.setattr(type(claims.backend), "far", lambda self: True)
    sweep = claims.prune(0)
    assert "network mount" in sweep.skipped
    assert sweep.pruned == ()
    assert Mount("/", "nfs4", "", ()).network


def test_an_engine_is_refused_by_its_name() -> None:
    sweep = Claims.open(backend="memory").prune(0)
    assert "'memory'" in sweep.skipped


@needs_symlinks
def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    claims = open_or_skip(NATIVE, tmp_path / "store")
    cycle(claims, me(claims))
    root, elsewhere = ledger_in(tmp_path / "store"), tmp_path / "elsewhere"
    (root / ".pruned").rename(elsewhere)
    (root / ".pruned").symlink_to(elsewhere, target_is_directory=True)
    os.chmod(root, 0o777)
    sweep = Claims.open(str(tmp_path / "store"), claims.backend.name).prune(0)
    assert "symbolic link" in sweep.skipped
    assert sweep.pruned == ()


def test_the_age_is_that_of_the_latest_change(claims: Claims, tmp_path: Path) -> None:
    cycle(claims, me(claims))
    directory = ledger_in(tmp_path) / NAME
    long_ago = time.time() - 40 * 86400
    for path in directory.iterdir():
        os.utime(path, (long_ago, long_ago))
    os.utime(directory, (long_ago, long_ago))
    assert claims.prune(41 * 86400).pruned == ()
    assert len(claims.prune(39 * 86400).pruned) == 1


def test_one_that_was_killed_while_it_asked_for_the_time_leaves_nothing(claims: Claims, tmp_path: Path) -> None:
    cycle(claims, me(claims))
    asked: list[str] = []

    class Asked(type(claims.backend.ledger.files)):  # type: ignore[misc]
        def now(self, directory: str) -> int:
            asked.append(directory)
            return int(super().now(directory))

    claims.backend.ledger.files = Asked()  # type: ignore[attr-defined]
    assert len(claims.prune(0).pruned) == 1
    for directory in asked:
        Path(directory, ".age-0123456789abcdef").touch()
    assert claims.reap().failed == ()
    assert [each for directory in asked for each in os.listdir(directory) if each.startswith(".age-")] == []
