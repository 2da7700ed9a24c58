"""`looop prune`, and `looop reap --prune`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


def use(run: Run, *names: str) -> None:
    for name in names:
        assert run("claim", name, "--session", "w1").returncode == 0
        assert run("unclaim", name, "--session", "w1").returncode == 0


def make_old(data_dir: Path, name: str, days: float) -> None:
    directory, then = data_dir / "claims" / ".ledger" / name, time.time() - days * 86400
    for path in (*directory.iterdir(), directory):
        os.utime(path, (then, then))


def test_what_is_free_and_old_is_pruned(run: Run, data_dir: Path) -> None:
    use(run, "repo-x", "repo-y")
    make_old(data_dir, "repo-x", 31)
    done = run("prune", "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "would prune repo-x: free at generation 2\n", "")
    done = run("prune")
    assert (done.returncode, done.stdout, done.stderr) == (0, "pruned repo-x: free at generation 2\n", "")
    assert not (data_dir / "claims" / ".ledger" / "repo-x").exists()
    assert run("prune").stdout == ""
    done = run("--json", "prune", "--older-than", "0")
    assert json.loads(done.stdout) == {"verb": "prune", "outcome": "pruned", "name": "repo-y", "generation": 2}
    assert run("show", "repo-x").returncode == 0
    assert run("claim", "repo-x", "--session", "w1").returncode == 0


def test_the_reaper_does_it_when_asked(run: Run) -> None:
    use(run, "repo-x")
    assert run("reap").stdout == ""
    assert run("reap", "--dry-run", "--prune", "0").stdout == "would prune repo-x: free at generation 2\n"
    assert run("reap", "--prune", "30d").stdout == ""
    assert run("reap", "--prune", "0").stdout == "pruned repo-x: free at generation 2\n"


def test_a_bad_age_is_usage(run: Run) -> None:
    done = run("prune", "--older-than", "soon")
    assert (done.returncode, "--older-than" in done.stderr) == (2, True)


def test_what_cannot_be_done_here_is_told(run: Run, data_dir: Path) -> None:
    (data_dir / "claims").mkdir(parents=True)
    (data_dir / "claims" / "package.json").write_text("{}")
    done = run("prune")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing was pruned" in done.stderr
    assert "no store" in done.stderr
