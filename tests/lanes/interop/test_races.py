"""Ours and the real looop fight for one claim: nobody is ever let in beside a live holder, as far as looop itself allows.

Looop since 0.57 holds a flock while it changes a claim, the same as we: there exclusion is required, kills included. 0.14.0
holds nothing. What it does to itself is measured (`lanes.interop.race`), and told in docs/explanation/coexistence.md;
required is only what it can keep.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from looop_portable import Released, Won

from .fighters import NAME
from .parties import WON, Ours, Theirs
from .rustlooop import PATIENCE, Rust

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fcntl") is None, reason="fcntl.flock is missing: looop's guard, and the oracle, rest on it"
)


def fought(module: str, rust: Rust, *options: str) -> dict[str, Any]:
    """What a fight reports. It is shown if the test fails."""
    command = [sys.executable, "-m", f"lanes.interop.{module}", "--looop", rust.path, *options]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240, check=False)
    print(done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["failed"], found["stuck"]) == (0, 0)
    return found


def needs_the_guard(rust: Rust) -> None:
    if not rust.flocks:
        pytest.skip(f"looop {rust.version} holds no guard: it races with itself, and so with everybody")


def assert_both_took_part(found: dict[str, Any], what: str) -> None:
    assert min(found[f"ours {what}"], found[f"theirs {what}"]) > 0


def claims_at_once(rust: Rust, data_dir: Path, sessions: list[str]) -> list[str]:
    processes = [
        subprocess.Popen(
            rust.command("claim", NAME, "--session", session),
            env=rust.environment(data_dir),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for session in sessions
    ]
    return [process.communicate(timeout=PATIENCE)[0] for process in processes]


def test_a_holder_that_holds_all_the_while_is_never_lost_sight_of(parties: tuple[Ours, Theirs]) -> None:
    """What every version of looop keeps: a lease that is not let go, of a session that lives."""
    ours, theirs = parties
    ours.start("ours")
    theirs.start("looops")
    me = ours.library().sessions.holder("ours")
    won = ours.library().claim(NAME, me)
    assert isinstance(won, Won)
    for _ in range(50):
        said = claims_at_once(theirs.rust, ours.data_dir, ["looops", "a", "b", "c"])
        assert said == [f"claim {NAME}: held by live session 'ours'\n"] * 4
    assert ours.library().check(NAME, won.generation).current
    assert isinstance(ours.library().release(NAME, me), Released)
    assert theirs.claim(NAME, "looops") == WON
    assert [ours.library().claim(NAME, me).lease.session for _ in range(200)] == ["looops"] * 200


def test_one_0_14_0_and_any_of_ours_that_want_a_vacant_claim_at_once_have_one_winner(rust_looop: Rust) -> None:
    """As long as nobody lets go meanwhile. It creates exclusively; and so do we, where nothing was."""
    found = fought("rounds", rust_looop, "--rounds", "200", "--theirs", "1")
    assert (found["overlap"], found["lost"]) == (0, 0)
    assert_both_took_part(found, "acquisitions")


def test_a_vacant_claim_that_all_want_at_once_has_one_winner(rust_looop: Rust) -> None:
    needs_the_guard(rust_looop)
    found = fought("rounds", rust_looop, "--rounds", "200")
    assert (found["overlap"], found["lost"]) == (0, 0)
    assert found["ours acquisitions"] + found["theirs acquisitions"] == 200
    assert_both_took_part(found, "acquisitions")


def test_a_dead_sessions_claim_that_all_want_at_once_has_one_heir(rust_looop: Rust) -> None:
    needs_the_guard(rust_looop)
    found = fought("rounds", rust_looop, "--rounds", "200", "--deaths")
    assert (found["overlap"], found["lost"]) == (0, 0)
    assert found["ours takeovers"] + found["theirs takeovers"] == 199
    assert_both_took_part(found, "takeovers")


def test_claims_and_releases_all_at_once_never_overlap(rust_looop: Rust) -> None:
    needs_the_guard(rust_looop)
    found = fought("race", rust_looop, "--seconds", "8")
    assert (found["overlap"], found["lost"], found["generation"]) == (0, 0, 0)
    assert_both_took_part(found, "acquisitions")
    assert_both_took_part(found, "refusals")


def test_kills_anywhere_and_both_reapers_let_nobody_in_beside_a_live_holder(rust_looop: Rust) -> None:
    needs_the_guard(rust_looop)
    found = fought("race", rust_looop, "--seconds", "12", "--kills", "--reapers")
    assert (found["overlap"], found["lost"], found["generation"]) == (0, 0, 0)
    assert_both_took_part(found, "takeovers")
    assert min(found["reaped"], found["kills"]) > 0
