"""A few seconds of chaos among those who share claims: see sharing.py."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from looop_portable.testing import without_links

from .harness import there

TESTS = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("fcntl") is None, reason="fcntl.flock is missing: the oracle rests on it"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing"),
]


def ran(*options: str) -> tuple[int, dict[str, float], str]:
    command = [sys.executable, "-m", "lanes.chaos.sharing", *options]
    done = subprocess.run(command, cwd=TESTS, env=there(), capture_output=True, text=True, timeout=240, check=False)
    found = {key: float(value) for key, value in (line.split() for line in done.stdout.splitlines())}
    return done.returncode, found, done.stdout + done.stderr


@pytest.mark.parametrize("where", ["posix", "advisory", "auto --without-links"])
def test_nobody_is_let_in_beside_whom_he_may_not_be_beside(where: str) -> None:
    backend, *without = where.split()
    if without and not without_links.possible():
        pytest.skip("a seccomp filter that denies hard links: not on this system")
    code, found, said = ran("--processes", "5", "--seconds", "6", "--every", "0.5", "--backend", backend, *without)
    assert code == 0, said
    assert (found["overlap"], found["number"], found["failed"], found["stuck"], found["left"]) == (0, 0, 0, 0, 0), said
    assert all(found[deed] for deed in ("kills", "shared", "alone", "beside")), said


def test_one_that_joins_whoever_holds_is_found() -> None:
    code, found, said = ran("--processes", "5", "--seconds", "5", "--every", "1", "--names", "1", "--fault", "joins")
    assert code == 1, said
    assert found["overlap"] or found["failed"] or found["number"], said
