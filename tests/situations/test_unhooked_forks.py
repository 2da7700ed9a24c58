"""A fork whose hooks have not run, or not yet: a C library's, and what an earlier callback does in the child.

The child is another process than its parent's session: what it claims it holds for itself, and dies with it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.capabilities import namespaces_or_skip, needs_fork

from .support import ANOTHER_NAMESPACE, HOST, Party, Place, let_in, never_free, python

pytestmark = needs_fork

_CHILD = """
def child():
    with hold("child", data_dir=sys.argv[1], lease_seconds=3) as lease:
        os.write(1, f"{os.getpid()} {lease.session}\\n".encode())
        time.sleep(600)
"""
_PARENT = """
import ctypes, os, sys, threading, time
early = lambda: None
if sys.argv[2] == "earlier callback":
    os.register_at_fork(after_in_child=lambda: early())
from looop_portable import ClaimLost, hold
fork = ctypes.PyDLL(None).fork if sys.argv[2] == "fork of C" else os.fork  # With the GIL: whoever holds it is in the child.
"""
CHILD_HOLDS = f"""{_PARENT}{_CHILD}
with hold("parent", data_dir=sys.argv[1], lease_seconds=3) as lease:
    print(lease.session, flush=True)
    if sys.argv[2] == "earlier callback":
        early = child
    if fork() == 0:
        try:
            child()
        finally:
            os._exit(1)
    sys.stdin.readline()
    lease.check()
"""
CHILD_SLEEPS = f"""{_PARENT}
with hold("parent", data_dir=sys.argv[1], lease_seconds=3) as lease:
    if fork() == 0:
        os.write(1, f"{{os.getpid()}}\\n".encode())
        while True:
            time.sleep(600)
    sys.stdin.readline()
"""
CHILD_LEAVES = f"""{_PARENT}
parent = os.getpid()
try:
    with hold("parent", data_dir=sys.argv[1], lease_seconds=3) as lease:
        if fork() == 0:
            try:
                lease.check()
                os.write(1, b"checked\\n")
            except ClaimLost:
                os.write(1, b"ClaimLost\\n")
        else:
            sys.stdin.readline()
            lease.check()
            print("checked", flush=True)
except ClaimLost:
    os.write(1, b"ClaimLost at leaving\\n")
if os.getpid() != parent:
    os.write(1, b"left\\n")
    os._exit(0)
"""
FORKS = ["fork", "fork of C", "earlier callback"]


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_is_a_session_of_its_own(tmp_path: Path, fork: str) -> None:
    """Nobody is let in beside the child or the parent; its claim is free when it was killed; the parent holds on."""
    namespaces_or_skip()
    with HOST.party(*python(CHILD_HOLDS, str(tmp_path), fork)) as party:
        parent = party.says()
        pid, session = party.says().split()
        assert session != parent
        assert let_in(tmp_path, ["parent", "child"], [HOST, ANOTHER_NAMESPACE]) == []
        os.kill(int(pid), signal.SIGKILL)
        assert never_free(tmp_path, ["child"], HOST) == []
        assert let_in(tmp_path, ["parent"], [HOST, ANOTHER_NAMESPACE], 0) == []
        party.hears("leave")
        assert party.process.wait() == 0, "the parent has lost its claim"


@pytest.mark.parametrize("place", [HOST, ANOTHER_NAMESPACE], ids=["host", "another pid namespace"])
@pytest.mark.parametrize("fork", FORKS[:2])
def test_a_child_that_outlives_its_parent_keeps_nothing_of_it(tmp_path: Path, fork: str, place: Place) -> None:
    """What it inherited and never closed, a lock of an open file description say, is none of its doing."""
    namespaces_or_skip()
    with HOST.party(*python(CHILD_SLEEPS, str(tmp_path), fork)) as party:
        child = int(party.says())
        try:
            os.kill(party.process.pid, signal.SIGKILL)
            party.process.wait()
            assert never_free(tmp_path, ["parent"], place) == []
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("fork", FORKS[:2])
def test_a_child_of_a_holder_does_not_hold_and_leaves_without_a_trace(tmp_path: Path, fork: str) -> None:
    namespaces_or_skip()
    with HOST.party(*python(CHILD_LEAVES, str(tmp_path), fork)) as party:
        assert _until_left(party) == ["ClaimLost", "left"]
        assert let_in(tmp_path, ["parent"], [HOST, ANOTHER_NAMESPACE], 0) == []
        party.hears("leave")
        assert (party.says(), party.process.wait()) == ("checked", 0)


def _until_left(party: Party) -> list[str]:
    said = [party.says()]
    while said[-1] not in ("left", ""):
        said.append(party.says())
    return said
