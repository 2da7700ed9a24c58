"""Threads that are there before they are needed; and which of several requests to end counts."""

from __future__ import annotations

import threading

import pytest

from looop_portable.errors import Unavailable
from looop_portable.system.signals.asking import REPEAT, Asked
from looop_portable.system.threads.standby import Standby, Standbys

SOON = 60.0


def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)


def test_what_it_is_handed_is_done_in_order_also_when_there_are_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    standby, done, over = Standby("test"), list[int](), threading.Event()
    no_more_threads(monkeypatch)
    for number in range(3):
        standby.do(lambda number=number: done.append(number))  # type: ignore[misc]
    standby.do(over.set)
    standby.dismiss()
    assert over.wait(SOON)
    assert done == [0, 1, 2]


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_one_that_cannot_be_made_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: threading.Thread) -> None:
        raise error

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(Unavailable, match=r"^a thread .* could not be started: .+ \(raise the limit of processes, .*\)$"):
        Standby("test")


def test_those_that_were_not_needed_are_used_again_and_the_others_end(monkeypatch: pytest.MonkeyPatch) -> None:
    standbys = Standbys("test", most=1)
    one, two = standbys.take(), standbys.take()
    standbys.give_back(one, used=False)
    standbys.give_back(two, used=False)
    no_more_threads(monkeypatch)
    assert standbys.take() is one
    standbys.give_back(one, used=True)
    with pytest.raises(Unavailable):
        standbys.take()


def test_a_request_within_a_second_of_one_that_counted_does_not_count() -> None:
    time = [100.0]
    asked = Asked(lambda: time[0])
    assert not asked.ever
    assert asked.counts()
    assert asked.ever
    time[0] += REPEAT * 0.9
    assert not asked.counts()
    time[0] += REPEAT * 0.2
    assert asked.counts(), "since the one that counted, not since the last"
    asked.begin_anew()
    assert asked.ever, "it is the same request still"
    time[0] += REPEAT
    asked.begin_anew()
    assert not asked.ever
