"""A few seconds of pruning a name that others claim, with kills: no number is won twice. See `lanes.pruning`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import needs_flock, needs_fork

pytestmark = [needs_fork, needs_flock]


@pytest.mark.parametrize("backend", ["posix", "advisory"])
def test_no_number_is_won_twice_while_its_name_is_pruned(backend: str, tmp_path: Path) -> None:
    options = ["--rounds", "150", "--seconds", "30", "--backend", backend, "--directory", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "lanes.pruning", *options],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"(\w+): (\d+) rounds, (\d+) wins, (\d+) killed, the greatest number \d+, 0 broken\n", done.stdout)
    assert found, done.stdout
    assert int(found[2]) > 0
    assert int(found[3]) > 0
