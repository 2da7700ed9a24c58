"""The clock that counts suspended time."""

import runpy
import sys
import time

import pytest

from looop_portable import clock
from looop_portable.clock import elapsed


def test_it_goes_as_fast_as_time_does() -> None:
    began, real = elapsed(), time.perf_counter()
    while time.perf_counter() - real < 0.2:
        pass
    passed = elapsed() - began
    assert 0.15 < passed < 30


def test_it_never_goes_back() -> None:
    seen = [elapsed() for _ in range(1000)]
    assert seen == sorted(seen)


def test_setting_the_time_of_day_is_not_what_it_shows() -> None:
    assert abs(elapsed() - time.time()) > 86400  # It begins with the machine, or the process; not in 1970.


def test_on_macos_it_is_the_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_MONOTONIC steps back there. Where the clock of that name is not, it is made up here."""
    monkeypatch.setattr(time, "CLOCK_MONOTONIC_RAW", 4711, raising=False)
    monkeypatch.setattr(time, "CLOCK_MONOTONIC", 1, raising=False)
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "clock_gettime", float, raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    found = runpy.run_path(str(clock.__file__))
    assert found["elapsed"]() == 4711
