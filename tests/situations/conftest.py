"""Tells which situations were tried on the real thing, and why others were not, in the file that $SITUATIONS names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .containers import SITUATIONS


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A line for each test, "ran ..." or "skipped ...". Many are equal: `.ci/run` tells each once."""
    file = os.environ.get("SITUATIONS")
    if not file or not (report.skipped or report.when == "call"):
        return
    what = Path(report.location[0]).stem.removeprefix("test_").replace("_", " ")
    kind = report.location[2].partition("[")[2].rstrip("]").rpartition("-")[2]
    what = f"{what} ({kind})" if "boot_ids" in report.location[0] and kind in SITUATIONS else what
    if "test_only_" in report.location[0] and not report.skipped:  # What one system alone can tell, in its own words.
        what = f"{what}: {report.location[2].removeprefix('test_').replace('_', ' ')}"
    why = f": {report.longrepr[2].removeprefix('Skipped: ')}" if isinstance(report.longrepr, tuple) else ""
    with open(file, "a", encoding="utf-8") as told:  # One write a line: several may do so at once.
        told.write(f"{'skipped' if report.skipped else 'ran'} {what}{why}\n")
