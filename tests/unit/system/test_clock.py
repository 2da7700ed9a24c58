"""The clock that counts suspended time."""

import runpy
import sys
import time

import pytest

from looop_portable.system import clock
from looop_portable.system.clock import elapsed, of_windows


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


class _Library:
    """A library of Windows: each function writes what is given, or returns it."""

    def __init__(self, written: dict[str, int], returned: dict[str, int]) -> None:
        self.asked: list[str] = []
        for name, value in written.items():
            setattr(self, name, self._function(name, value, writes=True))
        for name, value in returned.items():
            setattr(self, name, self._function(name, value, writes=False))

    def _function(self, name: str, value: int, *, writes: bool) -> object:
        def called(*where: object) -> int:
            self.asked.append(name)
            for each in where if writes else ():
                each._obj.value = value  # type: ignore[attr-defined]
            return value

        return called


HOUR = 36_000_000_000


def test_on_windows_the_time_counts_for_which_the_machine_was_suspended() -> None:
    """Interrupt time does so, and the unbiased one does not: see QueryInterruptTimePrecise."""
    awake = {"QueryUnbiasedInterruptTime": HOUR, "QueryUnbiasedInterruptTimePrecise": HOUR}
    base = _Library({"QueryInterruptTimePrecise": 2 * HOUR, **awake}, {})
    kernel = _Library({"QueryUnbiasedInterruptTime": HOUR}, {"GetTickCount64": 7_200_000})
    assert of_windows(base, kernel)() == 7200
    assert (base.asked, kernel.asked) == (["QueryInterruptTimePrecise"], [])


def test_before_windows_10_it_is_the_clock_of_16_milliseconds() -> None:
    base = _Library({"QueryUnbiasedInterruptTime": HOUR}, {})
    assert of_windows(base, _Library({}, {"GetTickCount64": 7_200_016}))() == 7200.016


def test_on_macos_it_is_the_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_MONOTONIC steps back there. Where the clock of that name is not, it is made up here."""
    monkeypatch.setattr(time, "CLOCK_MONOTONIC_RAW", 4711, raising=False)
    monkeypatch.setattr(time, "CLOCK_MONOTONIC", 1, raising=False)
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "clock_gettime", float, raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    found = runpy.run_path(str(clock.__file__))
    assert found["elapsed"]() == 4711
