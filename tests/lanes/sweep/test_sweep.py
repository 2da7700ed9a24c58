"""A fault at some of the filesystem calls of every verb, other ones in each run: nobody is told what is not so. See run.py.

The long form, all points, is `tox -e sweep`.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import needs_fork, needs_proc

from looop_portable.testing import without_links

from .mutants import MUTANTS

TESTS = Path(__file__).parents[2]
EVERY = 400
"""Of all points one in so many: about 40 s on one core, in all."""

pytestmark = [
    needs_fork,
    needs_proc,
    pytest.mark.skipif(importlib.util.find_spec("fcntl") is None, reason="fcntl is missing: its calls fail, too"),
]
FOUND_BY = {
    "error is a win": ("link", "claim vacant"),
    "renamed over": ("link", "claim vacant"),
    "releases whatever stands": ("close", "unclaim won"),
    "released all the same": ("link", "unclaim won"),
    "leaks where it fails": ("listdir", "claim vacant"),
}
"""The calls at which faults show it, and a verb that makes them."""


def swept(*options: str) -> tuple[int, dict[str, int], str]:
    """The exit code, the counts, and all that was printed."""
    command = [sys.executable, "-m", "lanes.sweep.run", *options]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=280, check=False)
    print(done.stdout)
    lines = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line and line[0] != " "]
    counts = {what: int(number) for what, number in lines if number.isdecimal() and not what.startswith("seed")}
    return done.returncode, counts, done.stdout + done.stderr


@pytest.mark.parametrize("where", ["posix", "advisory", "auto --without-links"])
def test_a_fault_at_any_call_of_any_verb_has_nobody_told_what_is_not_so(where: str) -> None:
    backend, *without = where.split()
    if without and not without_links.possible():
        pytest.skip("a seccomp filter that denies hard links: not on this system")
    seed = os.environ.get("SWEEP_SEED") or str(random.randrange(1 << 30))
    code, counts, told = swept("--backends", backend, *without, "--every", str(EVERY), "--seed", seed)
    assert code == 0, told
    assert counts["untrue"] == 0, told
    assert counts["faults"] > 100, told


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_sweep_finds_what_was_broken_on_purpose(mutant: str) -> None:
    """Else it would see nothing at all."""
    only, verb = FOUND_BY[mutant]
    code, counts, told = swept("--backends", "posix", "--seed", "1", "--only", only, "--mutant", mutant, verb)
    assert code == 1, told
    assert counts["untrue"] > 0, told
