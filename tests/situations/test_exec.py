"""A program that holds becomes another image of itself, by execv: an autoreload, an update. Its claim is its again.

The pid and the start of a process stay the same, so its old session looks alive for ever to whoever looks at processes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.capabilities import namespaces_or_skip, needs_fork

from .support import ANOTHER_NAMESPACE, HOST, WATCHED, Place, let_in, python

SAME = """
import os, sys, time
from looop_portable import ClaimHeld, hold
store, timeout, turn = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
try:
    with hold("v", data_dir=store, lease_seconds=3, timeout=timeout) as lease:
        print("turn", turn, "generation", lease.generation, flush=True)
        if turn < 3:
            os.execv(sys.executable, [*sys.orig_argv[:-1], str(turn + 1)])
        sys.stdin.readline()
except ClaimHeld as error:
    print("turn", turn, error.evidence, flush=True)
"""
ANOTHER_SESSION = """
import os, subprocess, sys
from looop_portable import ClaimHeld, hold
looop = [sys.executable, "-m", "looop_portable", "--data-dir", sys.argv[1]]
if sys.argv[3] == "0":
    start = [*looop, "session", "start", "w", "--pid", str(os.getpid()), "--lease", sys.argv[2]]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*looop, "claim", "v", "--session", "w"], check=True, stdout=subprocess.DEVNULL)
    os.execv(sys.executable, [*sys.orig_argv[:-1], "1"])
for _ in range(3):
    try:
        with hold("v", data_dir=sys.argv[1], lease_seconds=3):
            print("got in", flush=True)
    except ClaimHeld as error:
        print("held by", error.holder, flush=True)
"""


@pytest.mark.parametrize("place", [HOST, ANOTHER_NAMESPACE], ids=["host", "pid 1 of a namespace"])
@pytest.mark.parametrize("timeout", ["0", "20"])
def test_what_held_before_execv_gets_its_claim_again(tmp_path: Path, timeout: str, place: Place) -> None:
    namespaces_or_skip()
    with place.party(*python(SAME, str(tmp_path), timeout, "0")) as party:
        said = [party.says() for _ in range(4)]
        assert said == [f"turn {turn} generation {turn + 1}" for turn in range(4)]
        assert let_in(tmp_path, ["v"], [HOST, ANOTHER_NAMESPACE], WATCHED if timeout == "0" else 0) == []


@needs_fork  # Where there is none, what is executed is another process.
@pytest.mark.parametrize("lease", ["0", "3"], ids=["without a keeper", "kept"])
def test_a_session_that_lives_by_this_process_and_that_others_act_for_is_no_former_self(tmp_path: Path, lease: str) -> None:
    """`session start --pid` of this very process: this process knows nothing of it, and holds no lock for it."""
    with HOST.party(*python(ANOTHER_SESSION, str(tmp_path), lease, "0")) as party:
        assert [party.says() for _ in range(3)] == ["held by w"] * 3
