"""The logger `looop_portable`: what blocks tell it, at which level, and that it says nothing by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.capabilities import NATIVE
from support.crew import program_says

from looop_portable import CancelEvent, ClaimLost, Claims, Held, Lease, Unavailable, WaitCancelled, aio, hold, hold_all
from looop_portable.aio import waiting as of_tasks
from looop_portable.claims.own import OwnSession
from looop_portable.holding.blocks import log
from looop_portable.holding.member import this_process
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import HeldInLine, OnWaiting
from looop_portable.waiting import waits
from looop_portable.waiting.limits import Minutes, still_waiting

PATIENCE = 60  # Seconds, after which something is taken for hanging.
HELD = Held(Lease("n", "other", generation=7), Verdict(Liveness.ALIVE, "its process runs"))


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def others(store: str) -> Claims:
    claims = Claims.open(store, NATIVE)
    claims.sessions.register("other")
    return claims


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "looop_portable"):
        yield


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "looop_portable"]


def test_claimed_and_released(store: str, others: Claims, caplog: pytest.LogCaptureFixture) -> None:
    others.claim("n", "gone")
    with hold("n", data_dir=store, backend=NATIVE) as lease:
        session = lease.session
    with hold_all("a", data_dir=store, backend=NATIVE):
        pass

    async def main() -> None:
        async with aio.hold("b", data_dir=store, backend=NATIVE):
            pass

    asyncio.run(main())
    assert said(caplog) == [
        ("DEBUG", f"claim n: claimed: generation 2, session {session!r}, taken over from session 'gone'"),
        ("DEBUG", "claim n: released: generation 2"),
        ("DEBUG", f"claim a: claimed: generation 1, session {session!r}"),
        ("DEBUG", "claim a: released: generation 1"),
        ("DEBUG", f"claim b: claimed: generation 1, session {session!r}"),
        ("DEBUG", "claim b: released: generation 1"),
    ]


def test_a_loss_is_a_warning_and_is_said_once(store: str, others: Claims, caplog: pytest.LogCaptureFixture) -> None:
    block = hold("n", data_dir=store, backend=NATIVE).acquire()
    others.break_claim("n", block.generation, "test")
    for _ in range(2):
        with pytest.raises(ClaimLost):
            block.check()
    with pytest.raises(ClaimLost):
        block.release()
    assert [each for each in said(caplog) if each[0] != "DEBUG"] == [
        ("WARNING", "claim n: lost: was superseded (it is at 2): broken, or ended")
    ]
    assert not any("released" in message for _, message in said(caplog))


def test_a_session_that_is_lost_says_so_of_each_block_after_all_were_told(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    block = hold_all("a", "b", data_dir=store, backend=NATIVE)
    leases = block.acquire()
    seen: list[bool] = []

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.extend(lease.lost.is_set() for lease in leases)

    logger = logging.getLogger("looop_portable")
    logger.addHandler(handler := Looks())
    leases[0]._block._session._lose("a test says so")
    logger.removeHandler(handler)
    assert seen == [True] * 4
    assert said(caplog)[-2:] == [("WARNING", f"claim {name}: lost: a test says so") for name in ("a", "b")]
    with pytest.raises(ClaimLost):
        block.release()


def test_heartbeats_that_fail_are_said_once_and_so_is_that_they_do_not(
    store: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold("n", data_dir=store, backend=NATIVE) as lease:
        session = lease._block._session

        def fails(*_: object) -> bool:
            raise Unavailable("the server is gone")

        with monkeypatch.context() as patched:
            patched.setattr(OwnSession, "renew", fails)
            for _ in range(3):
                with pytest.raises(Unavailable):
                    session._renew(after_long_silence=False)
        for _ in range(2):
            assert session._renew(after_long_silence=False)
        assert said(caplog)[1:] == [
            ("WARNING", f"session {lease.session}: a heartbeat did not get through: the server is gone"),
            ("INFO", f"session {lease.session}: heartbeats get through again"),
        ]


@pytest.mark.parametrize("tasks", [False, True], ids=["threads", "tasks"])
def test_who_waits_says_for_whom(
    store: str, others: Claims, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tasks: bool
) -> None:
    others.claim("n", "other")
    monkeypatch.setattr(waits, "REPORT_AFTER", 0.0)
    monkeypatch.setattr(of_tasks, "REPORT_AFTER", 0.0)
    cancel = CancelEvent()

    class Cancels(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            cancel.set()

    async def main() -> None:
        task = asyncio.create_task(aio.hold("n", data_dir=store, backend=NATIVE, timeout=None).acquire())
        while not cancel.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    logger = logging.getLogger("looop_portable")
    logger.addHandler(handler := Cancels())
    if tasks:
        asyncio.run(main())
    else:
        with pytest.raises(WaitCancelled):
            hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel=cancel).acquire()
    logger.removeHandler(handler)
    (record,) = said(caplog)
    assert record[0] == "INFO"
    assert record[1].startswith("claim n: held by live session 'other'; waiting for it (")


def test_a_wait_is_said_again_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    on_waiting = log.waiting()
    assert on_waiting
    for waited in (2, 25, 59.9, 61, 70, 118, 190, 3725):
        on_waiting(HeldInLine.of(HELD, 2), waited)
    begins = "claim n: still waiting for n, "
    assert [message for _, message in said(caplog)[1:]] == [
        f"{begins}{time} so far, held by live session 'other' (place 2 in line)" for time in ("1m", "3m", "1h02m")
    ]


def test_nobody_is_asked_who_would_not_be_heard(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "looop_portable"):
        assert log.waiting() is None


def test_a_minute_is_counted_from_what_was_said_last() -> None:
    minutes, another = Minutes(), Held(HELD.lease._replace(generation=9), HELD.verdict)
    assert minutes.is_new(HELD, 2)
    assert not minutes.is_new(HELD, 3)
    assert minutes.is_due(60)
    assert not minutes.is_due(61)
    assert minutes.is_new(another, 125)
    assert not minutes.is_due(126)
    assert minutes.is_due(180)
    assert still_waiting(HELD, 180) == "still waiting for n, 3m so far, held by live session 'other'"


def test_who_waits_in_line_knows_the_place(store: str, others: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    if not others.backend.tickets:
        pytest.skip("this backend has no tickets")
    monkeypatch.setattr(waits, "REPORT_AFTER", 0.0)
    others.claim("n", "other")
    places: dict[int, int] = {}
    cancel = CancelEvent()

    def note(waits: int) -> OnWaiting:
        def on_waiting(held: Held, _: float) -> None:
            assert isinstance(held, HeldInLine)
            places[waits] = held.place

        return on_waiting

    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for number in (1, 2):
            monkeypatch.setattr(log, "waiting", lambda number=number: note(number))
            block = hold("n", data_dir=store, backend=NATIVE, timeout=None, cancel=cancel, cancel_check=lambda: False)
            waiting.append(pool.submit(block.acquire))
            while number not in places:
                assert not waiting[-1].done()
        cancel.set()
        for each in waiting:
            with pytest.raises(WaitCancelled):
                each.result(PATIENCE)
    assert places == {1: 1, 2: 2}


def test_a_filter_that_raises_leaves_nothing_held(store: str, others: Claims) -> None:
    class Raises(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise KeyError("a filter")

    async def main() -> None:
        await aio.hold("n", data_dir=store, backend=NATIVE).acquire()

    logger = logging.getLogger("looop_portable")
    logger.addFilter(raising := Raises())
    try:
        with pytest.raises(KeyError):
            hold("n", data_dir=store, backend=NATIVE).acquire()
        assert others.list() == []
        with pytest.raises(KeyError):
            asyncio.run(main())
        assert others.list() == []
    finally:
        logger.removeFilter(raising)
    assert [member.holding for member in this_process().members.values() if member.holding] == []


def test_a_program_that_says_nothing_of_logging_says_nothing(store: str) -> None:
    program = """
    import sys
    from looop_portable import ClaimLost, Claims, hold
    block = hold("n", data_dir=sys.argv[1], backend=sys.argv[2]).acquire()
    Claims.open(sys.argv[1], sys.argv[2]).break_claim("n", 1, "test")
    try:
        block.check()
    except ClaimLost:
        print("lost")
    """
    assert program_says(program, store, NATIVE) == "lost\n"


def test_a_start_of_the_command_imports_no_logging() -> None:
    program = """
    import sys
    sys.modules.pop("logging", None)  # What starts with every Python here may have it: an editable install, a disguise.
    import looop_portable, looop_portable.cli.verbs.claim
    print("logging" in sys.modules)
    """
    assert program_says(program) == "False\n"
