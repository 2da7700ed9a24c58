"""The clock that counts suspended time."""

import time

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
