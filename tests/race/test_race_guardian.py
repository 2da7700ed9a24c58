"""A guardian that something goes wrong for: what it guards ends all the same, and its exit code tells."""

from __future__ import annotations

import contextlib
import marshal
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from support.capabilities import needs_fork, needs_proc

if sys.platform == "win32":
    pytest.skip("there is no fork, and nothing to be guarded", allow_module_level=True)

from looop_portable.running.child import guardian
from looop_portable.running.child.guardian import LEAVE, OVER, guarded, marks_said

pytestmark = [needs_fork]
SOON = 30.0


@pytest.fixture
def command() -> Iterator[subprocess.Popen[bytes]]:
    """One that leads a group, and waits for nothing."""
    found = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, process_group=0)
    yield found
    found.kill()
    found.communicate()


def fail(*_: object) -> None:
    raise RuntimeError("a fault")


def fail_to_read(*_: object) -> None:
    raise OSError(5, "Input/output error")


def no_memory(*_: object) -> None:
    raise MemoryError


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "hearing": lambda patch: patch.setattr(guardian._Guardian, "serve", fail),
    "reading": lambda patch: patch.setattr(os, "read", fail_to_read),
    "understanding": lambda patch: patch.setattr(marshal, "loads", fail),
    "no memory": lambda patch: patch.setattr(marshal, "loads", no_memory),
    "a session of its own": lambda patch: patch.setattr(os, "setsid", fail_to_read),
    "looking at it": lambda patch: patch.setattr(guardian, "look", fail),
    "looking at others": lambda patch: patch.setattr(guardian, "everybody", fail),
    "ending": lambda patch: patch.setattr(guardian._Guardian, "end_all", no_memory),
}


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    "fault", [pytest.param(each, marks=[needs_proc] * (each == "looking at others")) for each in FAULTS]
)
def test_whatever_fails_the_command_ends_with_who_runs_it(
    command: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with monkeypatch.context() as patch:
        FAULTS[fault](patch)
        pid, told = guarded(command.pid, leads=True)
    with contextlib.suppress(BrokenPipeError):  # It has not waited for that.
        os.write(told, marks_said("", [b"A=1"]))
    os.close(told)
    assert command.wait(SOON) == -9
    assert code_of(pid) == 1


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"00", b"4e", marshal.dumps(["/nowhere"]).hex().encode(), marshal.dumps(("", 1)).hex().encode(), b"\xff"],
)
def test_what_is_not_understood_is_passed_over_and_what_comes_after_counts(
    command: subprocess.Popen[bytes], line: bytes
) -> None:
    pid, told = guarded(command.pid, leads=True)
    os.write(told, line + b"\n" + LEAVE)
    assert code_of(pid) == 1
    os.close(told)
    assert command.poll() is None
    pid, told = guarded(command.pid, leads=True)
    os.write(told, line + b"\n")
    os.close(told)
    assert code_of(pid) == 1
    assert command.wait(SOON) == -9


@pytest.mark.parametrize("said", [LEAVE, OVER, OVER + LEAVE, marks_said("", []) + LEAVE])
def test_told_to_leave_or_that_it_is_over_it_kills_nothing_and_its_code_is_0(
    command: subprocess.Popen[bytes], said: bytes
) -> None:
    pid, told = guarded(command.pid, leads=True)
    os.write(told, said)
    os.close(told)
    assert code_of(pid) == 0
    assert command.poll() is None
