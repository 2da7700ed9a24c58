"""Heartbeats from within a process, by a clock that the test moves: when they are lost, and who is told."""

import threading
from collections.abc import Callable, Iterator

import pytest
from support.clocks import Clock

from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import interval, patience
from looop_portable.sessions.heartbeats import Pulse

LEASE = 3
STEP = interval(LEASE) / 5
"""Seconds of the clock within which each thread looks once."""
SOON = 30.0
"""Seconds that a test waits for what has to happen: never, if all is well."""


class Scripted:
    """A filesystem that answers, fails or hangs, a clock, and what was heard."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[bool] = []
        self.renewed = threading.Event()
        self.answer: Callable[[], bool] = lambda: True
        self.reasons: list[str] = []
        self.lost = threading.Event()

    def renew(self, after_long_silence: bool) -> bool:
        self.calls.append(after_long_silence)
        answer = self.answer()
        self.renewed.set()
        return answer

    def lose(self, reason: str) -> None:
        self.reasons.append(reason)
        self.lost.set()

    def pulse(self) -> Pulse:
        return self.clock.pulse(self.renew, LEASE, self.lose, self.clock.now)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def running(scripted: Scripted) -> Iterator[Pulse]:
    pulse = scripted.pulse()
    pulse.start()
    yield pulse
    pulse.stop()


def fail() -> bool:
    raise Unavailable("no answer")


def test_a_heartbeat_is_given_every_third_of_the_lease(scripted: Scripted, running: Pulse) -> None:
    scripted.clock.move(interval(LEASE) - 0.01)
    assert scripted.calls == []
    scripted.clock.move(STEP)
    assert scripted.calls == [False]
    scripted.clock.move(interval(LEASE) + STEP)
    assert scripted.calls == [False, False]
    assert running.over == ""
    assert not scripted.lost.is_set()


def test_what_fails_for_a_while_is_tried_again(scripted: Scripted, running: Pulse) -> None:
    scripted.answer = fail
    scripted.clock.move(patience(LEASE) - STEP)
    assert len(scripted.calls) > 2
    scripted.answer = lambda: True
    scripted.clock.move(STEP)
    assert scripted.renewed.is_set()
    scripted.clock.move(patience(LEASE) - STEP)
    assert running.check() == ""
    assert not scripted.lost.is_set()


def test_two_thirds_of_the_lease_without_success_are_a_loss(scripted: Scripted, running: Pulse) -> None:
    scripted.answer = fail
    scripted.clock.move(patience(LEASE) - 0.2)
    assert not scripted.lost.is_set()
    scripted.clock.move(0.4)
    assert scripted.lost.is_set()
    assert len(scripted.reasons) == 1
    assert "no answer" in running.over
    assert "lease of 3 s" in running.over


def test_a_call_that_never_returns_keeps_nobody_from_being_told(scripted: Scripted, running: Pulse) -> None:
    never = threading.Event()

    def hang() -> bool:
        scripted.clock.hang(never)
        return True

    scripted.answer = hang
    scripted.clock.move(patience(LEASE) - 0.2)
    assert not scripted.lost.is_set()
    scripted.clock.move(0.4)
    assert scripted.lost.is_set()
    assert "does not answer" in running.over
    never.set()  # It does return, late: what is lost stays lost.
    assert scripted.renewed.wait(SOON)
    assert running.over


def test_a_session_that_has_ended_is_lost_at_once(scripted: Scripted, running: Pulse) -> None:
    scripted.answer = lambda: False
    scripted.clock.move(interval(LEASE) + STEP)
    assert scripted.lost.is_set()
    assert running.over == "its session has ended"


def test_a_session_that_has_slept_says_that_it_goes_on(scripted: Scripted, running: Pulse) -> None:
    def answer_late() -> bool:
        scripted.clock.let_others_look()
        return True

    scripted.answer = answer_late
    scripted.clock.suspend(3600)
    scripted.clock.move(STEP)
    assert scripted.calls[0] is True
    assert running.check() == ""
    assert not scripted.lost.is_set()


def test_a_session_that_has_slept_and_was_superseded_is_lost(scripted: Scripted, running: Pulse) -> None:
    scripted.answer = lambda: False
    scripted.clock.suspend(3600)
    scripted.clock.move(STEP)
    assert scripted.lost.is_set()
    assert running.over == "its session has ended"


def test_without_its_threads_a_check_finds_out_by_itself(scripted: Scripted) -> None:
    """They are as late as everybody is, after a sleep."""
    pulse = scripted.pulse()
    assert pulse.check() == ""
    assert scripted.calls == []
    scripted.clock.suspend(3600)
    assert pulse.check() == ""
    assert scripted.calls == [True]
    scripted.clock.suspend(3600)
    scripted.answer = fail
    assert "no answer" in pulse.check()
    scripted.answer = lambda: True
    assert "no answer" in pulse.check()
    assert len(scripted.reasons) == 1


def test_a_renewal_counts_from_when_it_was_begun(scripted: Scripted) -> None:
    pulse = scripted.pulse()
    scripted.clock.suspend(3600)

    def takes_long() -> bool:
        scripted.clock.now += patience(LEASE) + 0.1
        return True

    scripted.answer = takes_long
    assert pulse.check()


def test_nothing_is_lost_after_it_was_stopped(scripted: Scripted) -> None:
    pulse = scripted.pulse()
    pulse.start()
    pulse.stop()
    scripted.answer = fail
    scripted.clock.move(patience(LEASE) + 1)
    assert pulse.check() == ""
    assert not scripted.lost.is_set()


def test_without_a_thread_it_is_not_begun(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two is not enough; and the one that was made does not stay."""
    start, made = threading.Thread.start, list[threading.Thread]()

    def only_one(thread: threading.Thread) -> None:
        if made:
            raise RuntimeError("can't start new thread")
        made.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", only_one)
    with pytest.raises(Unavailable, match="can't start new thread"):
        scripted.pulse().prepare()
    made[0].join(SOON)
    assert not made[0].is_alive()
    assert scripted.calls == []


def test_its_threads_do_nothing_before_it_starts(scripted: Scripted) -> None:
    pulse = scripted.pulse()
    pulse.prepare()
    scripted.clock.move(LEASE + 1)
    assert scripted.calls == []
    assert not scripted.lost.is_set()
    pulse.begins(scripted.clock.now)
    pulse.start()
    scripted.clock.move(interval(LEASE) + STEP)
    assert scripted.calls == [False]
    pulse.stop()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread"), OSError(24, "Too many open files")]
)
def test_whatever_a_renewal_raises_it_has_failed_and_is_tried_again(
    scripted: Scripted, running: Pulse, error: Exception
) -> None:
    def breaks() -> bool:
        raise error

    scripted.answer = breaks
    scripted.clock.move(interval(LEASE) + STEP)
    assert scripted.calls == [False, False]
    assert running.over == ""
    scripted.answer = lambda: True
    scripted.clock.move(STEP)
    assert scripted.renewed.is_set()
    scripted.answer = breaks
    scripted.clock.move(patience(LEASE) + 0.2)
    assert scripted.lost.is_set()
    assert type(error).__name__ in running.over


def test_a_holder_that_could_not_be_told_is_told_again(scripted: Scripted, running: Pulse) -> None:
    tell, failed = scripted.lose, list[str]()

    def fails_twice(reason: str) -> None:
        if len(failed) < 2:
            failed.append(reason)
            raise MemoryError
        tell(reason)

    running._report_lost = fails_twice
    scripted.answer = lambda: False
    scripted.clock.move(interval(LEASE) + STEP)
    assert scripted.lost.is_set()
    assert scripted.reasons == ["its session has ended"]
    assert failed == 2 * ["its session has ended"]
