"""Within `looop run --claim outer -- looop run --claim inner`: each verb acts for the inner session, and none is refused by
what is around it, or waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Nested = Callable[..., subprocess.CompletedProcess[str]]

LOOOP = (sys.executable, "-m", "looop_portable")
SLOTS = ("--slots", "3")


@pytest.fixture
def inside(looop: Run) -> Nested:
    """The command, within two others: of which the outer one holds `outer`, the inner one `inner`."""

    def run(*words: str, slots: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        within = ("run", "--claim", "inner", "--", *LOOOP, *words)
        return looop("run", "--claim", "outer", *slots, "--", *LOOOP, *within)

    return run


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


VERBS = [
    ("claim", "outer"),
    ("claim", "outer", "--wait"),
    ("claim", "outer", "--wait", "1h"),
    ("claim", "outer", "inner", "--wait"),
    ("unclaim", "outer"),
    ("unclaim", "outer", "inner"),
    ("unclaim", "outer", "--dry-run"),
    ("wait", "outer"),
    ("_", "claim", "outer"),
]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_what_a_session_around_holds_is_joined_and_stays_held(inside: Nested, verb: tuple[str, ...]) -> None:
    code, out, err = said(inside(*verb))
    assert (code, [line for line in out.splitlines() if "outer" in line]) == (0, []), err
    assert "outer: inside already: session 'auto-" in err
    first, *_ = (json.loads(line) for line in inside("--json", *verb).stdout.splitlines() if '"outer"' in line)
    assert first["outcome"] == "joined"
    assert Claims.open().show("outer").generation == 4  # Twice claimed, and released twice: by `run` alone.


def test_what_is_its_own_it_claims_and_releases(inside: Nested) -> None:
    assert said(inside("claim", "more")) == (0, "claimed more\n", "")
    assert said(inside("claim", "outer", "inner", "more"))[:2] == (0, "claimed more\n")
    assert said(inside("unclaim", "inner")) == (0, "", "")
    assert said(inside("wait", "inner"))[0] == 0


def test_check_says_yes_to_the_generation_around(inside: Nested) -> None:
    assert said(inside("check", "outer", "--generation", "1"))[0] == 0
    assert said(inside("check", "outer", "--generation", "1"))[0] == 1
    assert said(inside("check", "inner", "--generation", "5"))[0] == 0


@pytest.mark.parametrize("verb", [("claim", "outer", *SLOTS), ("claim", "outer", *SLOTS, "--wait"), ("wait", "outer#1")])
def test_a_slot_that_is_held_around_is_joined_before_another_is_taken(inside: Nested, verb: tuple[str, ...]) -> None:
    code, out, err = said(inside(*verb, slots=SLOTS))
    assert (code, out) == (0, "")
    assert "outer#1: inside already" in err
    assert Claims.open().show("outer#2").generation == 0


@pytest.mark.parametrize(
    "call",
    [
        "claim_all(claims, ['outer', 'inner'], me, timeout=None)",
        "[wait_for(claims, 'outer', me)]",
        "[asyncio.run(aio.claim(claims, 'outer', timeout=None))]",
        "[hold('outer', timeout=None).acquire().lease]",
        "hold_all('outer', 'inner', timeout=None).acquire()",
    ],
)
def test_so_it_is_in_programs(looop: Run, call: str) -> None:
    program = (
        "import asyncio; from looop_portable import *; from looop_portable import aio; "
        "claims = Claims.open(); me = claims.acting(None); "
        f"print({call}[-1].generation)"
    )
    within = ("run", "--claim", "inner", "--", sys.executable, "-c", program)
    assert said(looop("run", "--claim", "outer", "--", *LOOOP, *within)) == (0, "1\n", "")


def test_whoever_waits_is_not_in_the_way(inside: Nested, data_dir: Path) -> None:
    """As one that stands in line before us, and waits for who is around us."""
    tickets = Claims.open().backend.tickets
    assert tickets
    tickets.take("outer", Claims.open().sessions.evidence.this_process())
    assert said(inside("claim", "outer", "--wait"))[:2] == (0, "")


# What is not inside.


def test_another_session_that_is_named_is_in_none(inside: Nested, alive: Living) -> None:
    alive("w2")
    for verb in (("claim", "outer"), ("unclaim", "outer"), ("wait", "outer", "--timeout", "0")):
        code, out, err = said(inside(*verb, "--session", "w2"))
        assert (code, out) == (124 if verb[0] == "wait" else 1, "")
        assert "live session 'auto-" in err


def test_what_others_hold_is_refused(inside: Nested, alive: Living) -> None:
    alive("w2")
    Claims.open().claim("x", "w2")
    assert said(inside("claim", "x"))[:2] == (1, "")
    assert said(inside("claim", "x", "--timeout", "0.1"))[:2] == (124, "")


def test_all_or_none_takes_back_its_own_alone(inside: Nested, alive: Living) -> None:
    alive("w2")
    Claims.open().claim("x", "w2")
    assert said(inside("claim", "a", "outer", "x"))[:2] == (1, "")
    assert Claims.open().show("a").lease is None
    assert Claims.open().show("outer").generation == 2


def test_the_claim_around_cannot_be_handed_over(inside: Nested, alive: Living) -> None:
    alive("w2")
    assert inside("transfer", "outer", "--to", "w2").returncode == 1


def test_nobody_waits_for_what_he_holds_himself(run: Run, alive: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    alive("w1")
    run("claim", "x", "--session", "w1")
    code, out, err = said(run("wait", "x", "--session", "w1"))
    assert (code, out) == (0, "")
    assert err == "looop: wait x: inside already: session 'w1' holds it (generation 1)\n"
    monkeypatch.setenv("LOOOP_SESSION_ID", "w1")
    assert json.loads(run("--json", "wait", "x").stdout)["outcome"] == "renewed"
