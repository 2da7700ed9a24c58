"""Tells which servers were really tried, and why others were not, in the file that $SERVERS names."""

from __future__ import annotations

import os

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A line for each test, "ran ..." or "skipped ...". Many are equal: `.ci/run` tells each once."""
    file = os.environ.get("SERVERS")
    if not file or not (report.skipped or report.when == "call"):
        return
    why = f": {report.longrepr[2].removeprefix('Skipped: ')}" if isinstance(report.longrepr, tuple) else ""
    with open(file, "a", encoding="utf-8") as told:  # One write a line: several may do so at once.
        told.write(f"{'skipped' if report.skipped else 'ran'} {report.location[0].split('/')[1]}{why}\n")
