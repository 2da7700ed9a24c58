"""A user's program with threads, as the type checkers see it: `hold`, `hold_all`, and how a block is lost."""

import threading
from pathlib import Path
from typing import assert_type

import looop_portable
from looop_portable import (
    CancelEvent,
    ClaimHeld,
    ClaimLost,
    Hold,
    HoldAll,
    Lease,
    LooopError,
    WaitCancelled,
    WaitedTooLong,
    hold,
    hold_all,
)


def deploys(directory: Path) -> int:
    block = hold("repo-x", data_dir=directory, backend="auto", lease_seconds=30, timeout=None, slots=3)
    assert_type(block, Hold)
    with block as lease:
        assert_type(lease, Hold)
        assert_type(lease.lease, Lease)
        assert_type(lease.lost, threading.Event)
        assert_type(lease.session, str)
        assert_type(lease.name, str)
        lease.check()
        return assert_type(lease.generation, int)


def deploys_both() -> None:
    block = hold_all("repo-y", "repo-x", data_dir="/srv/claims", timeout=2.5)
    assert_type(block, HoldAll)
    with block as leases:
        assert_type(leases, tuple[Hold, ...])
        first, second = leases
        assert_type(first.generation + second.generation, int)


class Worker:
    """Whose method is told."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def stop(self, lease: Hold) -> None:
        self.stopped.append(lease.name)

    def work(self) -> str:
        try:
            with looop_portable.hold("repo-x", on_lost=self.stop):
                return "done"
        except WaitedTooLong as late:
            assert_type(late.evidence, str)
            return f"waited for {late.holder}"
        except ClaimHeld as held:
            assert_type(held.claim, str)
            return held.holder
        except ClaimLost as lost:
            return lost.code
        except LooopError as error:
            return str(error)


def prints(lease: Hold) -> None:
    print(lease)


hold("repo-x", on_lost=prints, timeout=0)
hold("repo-x", on_lost=lambda lease: print(lease.name))
hold_all(*["repo-x", "repo-y"], on_lost=prints)


class TestCase:
    """That holds from its `setUp` to its `tearDown`."""

    def setUp(self) -> None:
        self.claim = assert_type(hold("repo-x").acquire(), Hold)
        self.both = hold_all("repo-y", "repo-z")
        assert_type(self.both.acquire(), tuple[Hold, ...])

    def tearDown(self) -> None:
        self.both.release()
        self.claim.release()


def may_be_told_not_to(stop: CancelEvent, closing: threading.Event) -> str:
    try:
        with hold("repo-x", timeout=None, cancel=stop, cancel_check=closing.is_set):
            return "done"
    except WaitCancelled as cancelled:
        stop.clear()
        return assert_type(cancelled.holder, str)


@hold("nightly", timeout=None)
def backs_up(directory: Path, *, again: bool = False) -> str:
    return f"{directory} {again}"


assert_type(backs_up(Path(), again=True), str)
assert_type(hold_all("a", "b")(len)([1]), int)
