"""What a signal's handler raises, at each point where Python lets one: afterwards nothing is held, all can be claimed.

Python runs a handler in the main thread when a function begins, and when a call of one that is not Python's has returned. A
profile function sees just these points, so the error is raised there: at the first, the second, and so on, until the block
completes. INTERRUPTED=1 takes every point; else each is one of a few, another few for each scenario.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from looop_portable import Claims, hold, hold_all
from looop_portable.holding.member import Member, this_process

PATIENCE = 10.0
STRIDE = 1 if os.environ.get("INTERRUPTED") else 7
BACKENDS = ["memory", "posix", "advisory"] if sys.platform != "win32" else ["memory", "auto"]


class Late(Exception):
    """As the time limits of task queues raise it."""


class Ended(BaseException):
    """As Ctrl-C is."""


class Raises:
    """A profile function that raises at the `point`th point."""

    def __init__(self, point: int, error: type[BaseException]) -> None:
        self.left = point
        self.error = error
        self.has_raised = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if code.co_filename == __file__ or not is_point(event, code.co_name):
            return
        self.left -= 1
        if not self.left:
            self.has_raised = f"{event} {arg!r} in {code.co_filename}:{frame.f_lineno} {code.co_name}"
            raise self.error


def is_point(event: str, name: str) -> bool:
    """What makes an object is called from C, so that its return is such a point, too."""
    return event in ("call", "c_return") or (event == "return" and name == "__init__")


def in_time(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def descriptors() -> Counter[str]:
    found: Counter[str] = Counter()
    for fd in Path("/proc/self/fd").iterdir() if sys.platform == "linux" else ():
        try:
            found[os.readlink(fd)] += 1
        except OSError:
            continue
    return found


def simple(store: str, backend: str) -> None:
    with hold("n", data_dir=store, backend=backend):
        pass


def told(store: str, backend: str) -> None:
    with hold("n", data_dir=store, backend=backend, on_lost=lambda _: None):
        pass


def patient(store: str, backend: str) -> None:
    with hold("n", data_dir=store, backend=backend, timeout=10):
        pass


def a_slot(store: str, backend: str) -> None:
    with hold("n", data_dir=store, backend=backend, slots=2):
        pass


def a_kept_one(store: str, backend: str) -> None:
    """Somebody has it yet when its block is over."""
    block = hold("n", data_dir=store, backend=backend)
    kept.append(block)
    with block:
        pass


kept: list[Any] = []


def several(store: str, backend: str) -> None:
    with hold_all("n", "m", data_dir=store, backend=backend):
        pass


def several_patient(store: str, backend: str) -> None:
    with hold_all("n", "m", data_dir=store, backend=backend, timeout=None, slots=1):
        pass


SCENARIOS: list[Callable[[str, str], None]] = [simple, told, patient, a_slot, a_kept_one, several, several_patient]


def claims_of(store: str, backend: str) -> Claims:
    """As another process has them, where there can be another."""
    if backend != "memory":
        return Claims.open(store, backend)
    return next(
        member.claims for key, member in list(this_process().members.items()) if Path(key[0].data_dir) == Path(store)
    )


def members_of(store: str) -> list[Member]:
    """Of this process in that store alone: what other tests have left is theirs."""
    return [member for key, member in list(this_process().members.items()) if Path(key[0].data_dir) == Path(store)]


def interrupted(call: Callable[[], object], point: int, error: type[BaseException]) -> tuple[str, BaseException | None]:
    raises, found = Raises(point, error), None
    try:
        sys.setprofile(raises)
        try:
            call()
        finally:
            sys.setprofile(None)
    except error as raised:
        found = raised
    return raises.has_raised, found


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # It is lost in the close of a generator, say.
@pytest.mark.parametrize("error", [Late, Ended])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_wherever_it_is_raised_nothing_is_held_and_all_can_be_claimed(
    tmp_path: Path, scenario: Callable[[str, str], None], backend: str, error: type[BaseException]
) -> None:
    store = str(tmp_path)
    simple(store, backend)
    scenario(store, backend)
    claims = claims_of(store, backend)
    gc.collect()
    before, threads = descriptors(), threading.active_count()
    point, raised = 1 + SCENARIOS.index(scenario) % STRIDE, 0
    while True:
        where, caught = interrupted(partial(scenario, store, backend), point, error)
        assert claims.list() == [], (where, point)
        if not where:
            break
        raised += 1
        scenario(store, backend)
        assert in_time(lambda: not any(member.holding for member in members_of(store))), where
        assert not claims.backend.tickets or not any(map(claims.backend.tickets.line, ("n", "m", "n#"))), where
        del caught
        kept.clear()
        point += STRIDE
    assert raised > 100 // STRIDE
    gc.collect()  # An error, and the frame that it was caught in, have each other.
    # Not equal: the idle sessions of earlier tests in this process leave, with their descriptors.
    assert in_time(lambda: descriptors() <= before), descriptors() - before
    assert in_time(lambda: threading.active_count() <= threads + 8)
