"""Every verb of ours on what the real looop has left behind, and every verb of its on what we have, observed."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Note, Pair
from .parties import ALREADY, HELD, REFUSED, RELEASED, WON, Ours, Theirs, shown
from .rustlooop import Rust, events, wait_until

NAME = "repo-x"


def test_a_live_holder_keeps_its_claim_whoever_asks(pair: Pair, note: Note) -> None:
    pair.first.start("holder")
    pair.second.start("other")
    assert pair.first.claim(NAME, "holder") == WON
    record = (pair.ours.data_dir / "claims" / f"{NAME}.json").read_bytes()
    claimed = pair.second.claim(NAME, "other")
    unclaimed = pair.second.unclaim(NAME, "other")
    reaped = pair.second.reap()
    assert (claimed, unclaimed, reaped) == (f"{HELD} by 'holder'", REFUSED, [])
    assert (pair.ours.data_dir / "claims" / f"{NAME}.json").read_bytes() == record
    assert pair.ours.holder(NAME) == "holder"
    assert pair.first.claim(NAME, "holder") == ALREADY
    note("claim, of a live holder", claimed)
    note("unclaim, of another's live holder", unclaimed)
    note("reap, with a live holder", "kept")


@pytest.mark.parametrize("name", ["a:b", "con", "nul.txt", "50%2F", "x.", "é", "<>", "a'b"])
def test_a_name_that_we_spell_otherwise_is_the_same_claim(pair: Pair, name: str) -> None:
    pair.first.start("holder")
    pair.second.start("other")
    assert pair.first.claim(name, "holder") == WON
    assert pair.second.claim(name, "other") == f"{HELD} by 'holder'"
    assert pair.second.unclaim(name, "other") == REFUSED
    assert pair.first.unclaim(name, "holder") == RELEASED
    assert pair.second.claim(name, "other") == WON
    pair.second.kill("other")
    assert pair.first.reap() == [name]


def test_what_one_has_released_the_other_can_claim(pair: Pair, note: Note) -> None:
    pair.first.start("before")
    pair.second.start("after")
    assert pair.first.claim(NAME, "before") == WON
    assert pair.first.unclaim(NAME, "before") == RELEASED
    assert (pair.ours.holder(NAME), shown(pair.ours.data_dir, NAME)) == ("", "")
    claimed = pair.second.claim(NAME, "after")
    assert claimed == WON
    assert (pair.ours.holder(NAME), shown(pair.ours.data_dir, NAME)) == ("after", "after")
    assert pair.first.claim(NAME, "before") == f"{HELD} by 'after'"
    note("claim, after a release", claimed)


@pytest.mark.parametrize("death", ["killed", "ended"])
def test_a_dead_holders_claim_is_taken_over(pair: Pair, note: Note, death: str) -> None:
    pair.first.start("corpse")
    pair.second.start("heir")
    pair.first.start("late")
    assert pair.first.claim(NAME, "corpse") == WON
    (pair.first.kill if death == "killed" else pair.first.end)("corpse")
    claimed = pair.second.claim(NAME, "heir")
    assert claimed == WON
    assert (pair.ours.holder(NAME), shown(pair.ours.data_dir, NAME)) == ("heir", "heir")
    assert pair.first.claim(NAME, "late") == f"{HELD} by 'heir'"
    assert pair.second.unclaim(NAME, "heir") == RELEASED
    assert pair.first.claim(NAME, "late") == WON
    note(f"claim, of a holder that was {death}" if death == "killed" else "claim, of a holder that has ended", claimed)


def test_a_dead_holders_claim_can_be_released_by_another(pair: Pair, note: Note) -> None:
    pair.first.start("corpse")
    pair.second.start("passer-by")
    assert pair.first.claim(NAME, "corpse") == WON
    before = pair.ours.generation(NAME)
    pair.first.kill("corpse")
    unclaimed = pair.second.unclaim(NAME, "passer-by")
    assert unclaimed == RELEASED
    assert (pair.ours.holder(NAME), shown(pair.ours.data_dir, NAME)) == ("", "")
    pair.ours.start("next")
    assert pair.ours.claim(NAME, "next") == WON
    assert pair.ours.generation(NAME) > before
    note("unclaim, of a dead holder's", unclaimed)


def test_a_dead_holders_claim_is_reaped(pair: Pair, note: Note) -> None:
    pair.first.start("corpse")
    assert pair.first.claim(NAME, "corpse") == WON
    before = pair.ours.generation(NAME)
    pair.first.kill("corpse")
    reaped = pair.second.reap()
    assert reaped == [NAME]
    told = [event for event in events(pair.ours.data_dir / "events.jsonl") if event["event"] == "claim_reaped"]
    assert [str(event["session"]) for event in told] == ["corpse"]
    assert (pair.ours.holder(NAME), shown(pair.ours.data_dir, NAME)) == ("", "")
    pair.first.start("next")
    assert pair.first.claim(NAME, "next") == WON
    assert pair.ours.holder(NAME) == "next"
    assert pair.first.unclaim(NAME, "next") == RELEASED
    pair.ours.start("later")
    assert pair.ours.claim(NAME, "later") == WON
    assert pair.ours.generation(NAME) > before
    note("reap, of a dead holder's", "reaped")


def test_a_release_by_the_others_tool_under_the_same_session_counts(pair: Pair, note: Note) -> None:
    """A session may run either command."""
    pair.first.start("holder")
    pair.ours.start("next")
    assert pair.first.claim(NAME, "holder") == WON
    before = pair.ours.generation(NAME)
    unclaimed = pair.second.unclaim(NAME, "holder")
    assert unclaimed == RELEASED
    assert (pair.ours.holder(NAME), shown(pair.ours.data_dir, NAME)) == ("", "")
    assert pair.first.claim(NAME, "holder") == WON
    assert pair.first.unclaim(NAME, "holder") == RELEASED
    assert pair.ours.claim(NAME, "next") == WON
    assert pair.ours.generation(NAME) > before
    assert pair.ours.run("check", NAME, "--generation", str(before)).code == 1
    note("unclaim, by the same session", unclaimed)


def test_a_claim_by_the_others_tool_under_the_same_session_is_no_second_holder(pair: Pair, note: Note) -> None:
    pair.first.start("holder")
    pair.first.start("other")
    pair.second.start("another")
    assert pair.first.claim(NAME, "holder") == WON
    claimed = pair.second.claim(NAME, "holder")
    # Looop's lease tells no incarnation of the session; we write our own, with a generation, and say so.
    assert claimed == (ALREADY if pair.first is pair.ours else WON)
    assert pair.first.claim(NAME, "other") == f"{HELD} by 'holder'"
    assert pair.second.claim(NAME, "another") == f"{HELD} by 'holder'"
    # Since 1.0 looop has written the lease anew, in its own words.
    assert pair.first.claim(NAME, "holder") == (WON if pair.first is pair.ours and pair.theirs.rust.flocks else ALREADY)
    assert pair.first.unclaim(NAME, "holder") == RELEASED
    assert (pair.ours.holder(NAME), shown(pair.ours.data_dir, NAME)) == ("", "")
    assert pair.second.claim(NAME, "another") == WON
    note("claim, by the same session", claimed)


def test_generations_keep_growing_whatever_looop_does_in_between(parties: tuple[Ours, Theirs]) -> None:
    ours, theirs = parties
    theirs.start("b")
    steps: list[Callable[[], object]] = [
        lambda: theirs.unclaim(NAME, "b"),
        lambda: theirs.claim(NAME, "b"),
        lambda: theirs.claim(NAME, "b") + theirs.unclaim(NAME, "b"),
        lambda: theirs.claim(NAME, "b") + theirs.claim(NAME, "b") + ours.unclaim(NAME, "b"),
        theirs.reap,
        lambda: [theirs.claim(NAME, "b") + theirs.unclaim(NAME, "b") for _ in range(5)],
        lambda: theirs.claim(NAME, "b") + ours.claim(NAME, "b"),
    ]
    seen: list[int] = []
    for number, step in enumerate(steps):
        ours.start(f"a{number}")
        assert ours.claim(NAME, f"a{number}") == WON
        seen.append(ours.generation(NAME))
        ours.kill(f"a{number}")
        step()
        theirs.unclaim(NAME, "b")
    assert seen == sorted(set(seen))


def test_a_live_session_of_looops_id_is_not_registered_again(parties: tuple[Ours, Theirs]) -> None:
    ours, theirs = parties
    theirs.start("worker")
    said = ours.run("session", "start", "worker", "--pid", str(theirs.sessions["worker"].pid), "--lease", "0")
    assert said.code == 1, said
    assert "worker" in said.err
    theirs.kill("worker")
    ours.start("worker")
    assert ours.claim(NAME, "worker") == WON
    assert theirs.claim(NAME, "other") == f"{HELD} by 'worker'"


def test_each_sees_the_others_sessions_live_and_die(pair: Pair, note: Note) -> None:
    def alive() -> bool:
        return pair.second.sees_alive("worker")

    pair.first.start("worker")
    seen = [alive()]
    pair.first.sessions["worker"].send_signal(signal.SIGSTOP)
    seen.append(alive())
    pair.first.kill("worker")
    seen.append(alive())
    pair.first.start("another")
    pair.first.end("another")
    seen.append(pair.second.sees_alive("another"))
    assert seen == [True, True, False, False]
    note("the other's session", "alive; stopped: alive; killed, ended: dead")


def test_a_session_whose_registrar_was_killed_before_looop_could_see_it_holds_all_the_same(
    parties: tuple[Ours, Theirs],
) -> None:
    ours, theirs = parties
    ours.start("worker")
    shutil.rmtree(ours.data_dir / "sessions" / "worker")
    assert ours.claim(NAME, "worker") == WON
    assert theirs.claim(NAME, "other") == f"{HELD} by 'worker'"
    assert theirs.reap() == []


def test_a_session_of_ours_that_looop_cannot_see_may_not_claim(parties: tuple[Ours, Theirs]) -> None:
    ours, theirs = parties
    ours.start("worker")
    meta = ours.data_dir / "sessions" / "worker" / "meta.json"
    meta.unlink()
    meta.mkdir()  # Where looop looks for a file.
    said = ours.run("claim", NAME, "--session", "worker")
    assert (said.code, said.out, str(meta) in said.err) == (3, "", True), said
    assert theirs.claim(NAME, "other") == WON


def test_a_directory_that_looop_has_made_is_shared_from_then_on(rust_looop: Rust, short: Path) -> None:
    ours, theirs = Ours(short / "data"), Theirs(short / "data", rust_looop)
    try:
        theirs.start("holder")
        theirs.start("corpse")
        assert theirs.claim(NAME, "holder") == WON
        assert theirs.claim("repo-y", "corpse") == WON
        theirs.kill("corpse")
        ours.start("me")
        assert ours.claim(NAME, "me") == f"{HELD} by 'holder'"
        assert ours.claim("repo-y", "me") == WON
        assert theirs.claim("repo-y", "holder") == f"{HELD} by 'me'"
        assert theirs.unclaim(NAME, "holder") == RELEASED
        assert ours.claim(NAME, "me") == WON
    finally:
        ours.close()
        theirs.close()


def test_a_directory_made_without_a_guard_is_refused_and_the_way_out_that_is_told_leads_out(
    rust_looop: Rust, short: Path
) -> None:
    before, ours, theirs = Ours(short / "data", "auto"), Ours(short / "data"), Theirs(short / "data", rust_looop)
    stamp = short / "data" / "claims" / ".ledger" / ".protocol.json"
    try:
        before.start("holder")
        theirs.start("other")
        assert before.claim(NAME, "holder") == WON
        assert before.claim("repo-y", "nobody") == WON
        if not json.loads(stamp.read_bytes())["links"]:
            pytest.skip("hard links are missing: there every directory has the guard")
        said = ours.run("claim", NAME, "--session", "holder")
        assert (said.code, said.out) == (3, "")
        assert "`looop adopt advisory`" in said.err
        assert ours.run("adopt", "advisory", "--all-stopped").code == 1  # Two live, and two claims are held.
        assert before.unclaim(NAME, "holder") == RELEASED
        before.end("holder")
        theirs.end("other")
        assert before.reap() == ["repo-y"]
        generation = before.generation(NAME)
        assert ours.run("adopt", "advisory", "--all-stopped").code == 0
        assert json.loads(stamp.read_bytes()) == {"protocol": 1, "links": True, "guard": "flock", "aliases": True}
        ours.start("ours")
        theirs.start("theirs")
        assert ours.claim(NAME, "ours") == WON
        assert ours.generation(NAME) > generation
        assert theirs.claim(NAME, "theirs") == f"{HELD} by 'ours'"
        assert theirs.claim("repo-y", "theirs") == WON
        assert before.claim(NAME, "ours") == ALREADY  # `auto` holds its guard from now on.
        assert "is in use" in ours.run("adopt", "auto", "--all-stopped").err
    finally:
        before.close()
        ours.close()
        theirs.close()


def test_a_dead_session_of_ours_that_looop_has_pruned_can_come_back(parties: tuple[Ours, Theirs]) -> None:
    """Looop removes the directories of sessions that are dead for long, ours too."""
    ours, theirs = parties
    ours.start("worker")
    ours.start("bystander")
    assert ours.claim(NAME, "worker") == WON
    ours.kill("worker")
    assert theirs.rust.reap(ours.data_dir, LOOOP_SESSION_TTL="0") == [NAME]
    assert not (ours.data_dir / "sessions" / "worker").exists()
    assert (ours.data_dir / "sessions" / "bystander").exists()
    ours.start("worker")
    assert ours.claim(NAME, "worker") == WON
    assert theirs.claim(NAME, "other") == f"{HELD} by 'worker'"


def test_a_claim_of_looops_is_listed_and_can_be_broken(parties: tuple[Ours, Theirs]) -> None:
    ours, theirs = parties
    theirs.start("holder")
    theirs.start("other")
    assert theirs.claim(NAME, "holder") == WON
    listed = [json.loads(line) for line in ours.run("--json", "claims").out.splitlines()] or ours.run("claims").out
    assert NAME in str(listed)
    generation = ours.generation(NAME)
    said = ours.run("break", NAME, "--generation", str(generation), "--reason", "it hangs")
    assert said.code == 0, said
    assert shown(ours.data_dir, NAME) == ""
    assert theirs.claim(NAME, "other") == WON
    assert ours.holder(NAME) == "other"


def test_a_session_of_looops_that_is_stopped_keeps_its_claim(parties: tuple[Ours, Theirs]) -> None:
    ours, theirs = parties
    theirs.start("holder")
    ours.start("other")
    assert theirs.claim(NAME, "holder") == WON
    theirs.sessions["holder"].send_signal(signal.SIGSTOP)
    wait_until(lambda: "State:\tT" in Path(f"/proc/{theirs.sessions['holder'].pid}/status").read_text())
    assert ours.claim(NAME, "other") == f"{HELD} by 'holder'"
