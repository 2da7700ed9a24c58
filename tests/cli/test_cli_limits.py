"""What is too long is bad usage, told in one line that does not repeat it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

Run = Callable[..., subprocess.CompletedProcess[str]]

LONG = "n" * 100_000


def refused(found: subprocess.CompletedProcess[str]) -> None:
    said = found.stdout + found.stderr
    assert found.returncode == 2, said[:1000]
    assert len(said) < 2_000
    assert said.count("\n") == 1


def test_a_name_an_id_or_a_note_that_is_too_long(run: Run) -> None:
    for args in (
        ("claim", LONG, "--session", "a"),
        ("claim", LONG, "--session", "a", "--slots", "3"),
        ("unclaim", LONG, "--session", "a"),
        ("check", LONG, "--generation", "1"),
        ("show", LONG),
        ("break", LONG, "--generation", "1", "--reason", "x"),
        ("break", "n", "--generation", "1", "--reason", LONG),
        ("claim", "n", "--session", LONG),
        ("unclaim", "n", "--session", LONG),
        ("session", "start", LONG),
        ("session", "stop", LONG),
        ("session", "keep", LONG),
        ("session", "start", "a", "--lease", "9" * 400),
        ("run", "--claim", LONG, "--", "true"),
        ("run", "--session", LONG, "--", "true"),
        ("--json", "claim", LONG, "--session", "a"),
    ):
        refused(run(*args))
    assert run("claims").returncode == 0


def test_an_id_from_the_environment_that_is_too_long(looop: Run) -> None:
    for args in (("claim", "n"), ("unclaim", "n"), ("session", "stop"), ("session", "keep")):
        refused(looop(*args, env={**os.environ, "LOOOP_SESSION_ID": LONG}, text=True))
