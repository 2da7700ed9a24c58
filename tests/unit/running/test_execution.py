"""The process of a command before it is the command: it begins only if who has told it to is still there."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator

import pytest
from support.capabilities import needs_fork

if sys.platform == "win32":
    pytest.skip("there is no fork: a process is made suspended", allow_module_level=True)

from support.elsewhere import Poll

from looop_portable.running.child.execution import _receive_go, send_go
from looop_portable.system.signals import arriving

pytestmark = [needs_fork]


@pytest.fixture(params=["as it is here", "as on macOS"])
def pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Its ends, to read and to write; with poll(2) that tells nothing of what it is asked nothing about, or not."""
    if request.param == "as on macOS":
        monkeypatch.setattr(select, "poll", Poll)
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def test_a_child_whose_parent_lives_runs(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    send_go(writer, {"A": "1"}, "/lock")
    assert _receive_go(reader) == ({"A": "1"}, "/lock")
    os.close(writer)


def test_a_child_whose_parent_is_gone_by_then_does_not_run(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    send_go(writer, {"A": "1"}, "/lock")
    os.close(writer)
    assert _receive_go(reader) is None


def test_a_child_that_was_sent_nothing_does_not_run(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(writer)
    assert _receive_go(reader) is None


# The signals that have come for a process, where the system has all of POSIX's calls, and where it has not.


@pytest.fixture(params=["sigtimedwait", "without it"])
def blocked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    if request.param == "without it":
        monkeypatch.delattr(signal, "sigtimedwait", raising=False)
        monkeypatch.setattr(arriving, "TELLS_WHO", False)
    elif not hasattr(signal, "sigtimedwait"):
        pytest.skip("signal.sigtimedwait is missing")
    numbers: set[int] = {signal.SIGUSR1, signal.SIGUSR2}
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    yield numbers
    while pending := signal.sigpending() & numbers:
        signal.sigwait(pending)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_signal_that_has_come_is_taken_and_no_other(blocked: set[int]) -> None:
    assert arriving.next_within(blocked, 0) == 0
    assert arriving.next_within(blocked, 0.03) == 0
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    assert arriving.next_within({signal.SIGUSR1}, 0) == 0
    assert arriving.next_within(blocked, 60) == signal.SIGUSR2
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert arriving.next_of(blocked) == (signal.SIGUSR1, False)
    assert arriving.next_within(blocked, 0) == 0


def test_a_signal_that_comes_while_it_is_waited_for_is_taken(blocked: set[int]) -> None:
    sender = threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
    sender.start()
    assert arriving.next_within(blocked, 60) == signal.SIGUSR1
    sender.join()
