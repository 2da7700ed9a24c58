"""Two pid namespaces on one directory, as two containers that share a volume: each knows itself as pid 1."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from support.capabilities import needs_fork

from looop_portable.system.files import OS

HOLDER = """
import os, sys, time
from looop_portable import hold
with hold("repo-x", data_dir=sys.argv[1], lease_seconds=3) as lease:
    if sys.argv[2] == "forks" and os.fork() == 0:
        os.setsid()
        os.write(1, f"{os.getpid()}\\n".encode())  # One write a line: two processes do.
        time.sleep(600)
    os.write(1, f"{os.getpid()} holds {lease.generation}\\n".encode())
    sys.stdin.readline()
    lease.check()
"""
TAKER = """
import os, sys, time
from looop_portable import ClaimHeld, hold
while True:
    try:
        with hold("repo-x", data_dir=sys.argv[1], lease_seconds=3) as lease:
            print(f"{os.getpid()} won {lease.generation} at {time.monotonic()}", flush=True)
            break
    except ClaimHeld as error:
        print(f"{os.getpid()} refused: {error.evidence}", flush=True)
        time.sleep(0.05)
"""


class Container:
    """A program in a pid namespace of its own, which dies with it."""

    def __init__(self, program: str, *args: str) -> None:
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", program, *args]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def says(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill(self) -> float:
        """When it was killed. What it started is killed with it."""
        self.process.kill()
        at = time.monotonic()
        self.process.wait()
        return at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    probe = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "true"]
    if not shutil.which("unshare") or subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("unshare --pid --mount-proc is not possible here")
    with ExitStack() as held:
        yield held


def refused_for(taker: Container, seconds: float, evidence: str) -> None:
    """All that it says for so long is a refusal, on that evidence."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        said = taker.says()
        assert said.startswith("1 refused"), said
        assert evidence in said


@pytest.fixture
def volume(tmp_path: Path) -> str:
    mount = OS.mount_of(str(tmp_path))
    if not (mount and mount.disk):
        pytest.skip(f"no local disk: {mount.type if mount else 'unknown'}")
    return str(tmp_path)


def test_no_theft_while_the_holder_lives_and_after_it_was_killed_its_free_lock_counts_once_nothing_was_heard(
    stack: ExitStack, volume: str
) -> None:
    holder = stack.enter_context(Container(HOLDER, volume, ""))
    assert holder.says() == "1 holds 1"
    taker = stack.enter_context(Container(TAKER, volume))
    refused_for(taker, 7, "in another pid namespace, holds its lock")  # More than twice its lease.
    killed = holder.kill()
    while (said := taker.says()).startswith("1 refused"):
        assert "holds its lock" in said or "its lock is free" in said, said
    assert said.startswith("1 won 2"), said
    assert float(said.split()[-1]) - killed > 1, "a lock alone is no proof: half of its lease, which is three seconds"


def test_the_holder_releases_in_good_order(stack: ExitStack, volume: str) -> None:
    holder = stack.enter_context(Container(HOLDER, volume, ""))
    assert holder.says() == "1 holds 1"
    holder.process.communicate("\n")
    assert holder.process.returncode == 0
    taker = stack.enter_context(Container(TAKER, volume))
    assert taker.says().startswith("1 won 3")


@needs_fork
def test_a_child_that_outlives_the_holder_keeps_nothing(stack: ExitStack, volume: str) -> None:
    """A lock that is inherited, as flock is, would be kept by it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, volume, "forks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    said = sorted([holder.stdout.readline(), holder.stdout.readline()], key=len)
    child = int(said[0])
    try:
        taker = stack.enter_context(Container(TAKER, volume))
        assert taker.says().startswith("1 refused")
        holder.kill()
        holder.wait()
        while (won := taker.says()).startswith("1 refused"):
            assert "holds its lock" in won or "its lock is free" in won
        assert won.startswith("1 won")
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        holder.communicate()


def test_where_there_is_no_lock_the_heartbeat_decides(stack: ExitStack, volume: str) -> None:
    """On a disk that is not known to be local, say."""
    nowhere = "from looop_portable.system.mounts import Mount; Mount.disk = property(lambda mount: '')\n"
    holder = stack.enter_context(Container(nowhere + HOLDER, volume, ""))
    assert holder.says() == "1 holds 1"
    taker = stack.enter_context(Container(nowhere + TAKER, volume))
    refused_for(taker, 7, "was last heard")
    killed = holder.kill()
    while (said := taker.says()).startswith("1 refused"):
        assert "was last heard" in said
    assert said.startswith("1 won 2"), said
    assert float(said.split()[-1]) - killed > 1, "it may have been heard a second before, and its lease is three"
