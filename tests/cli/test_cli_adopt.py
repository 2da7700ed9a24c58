"""`looop adopt`: a directory that is in use is shared with the Rust looop from now on, or no longer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_flock

pytestmark = needs_flock

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]


def guard_of(data_dir: Path) -> object:
    return json.loads((data_dir / "claims" / ".ledger" / ".protocol.json").read_text())["guard"]


def use(run: Run) -> None:
    assert run("claim", "repo-x", "--session", "w1").returncode == 0
    assert run("unclaim", "repo-x", "--session", "w1").returncode == 0


def test_what_the_refusal_of_advisory_names_does_it(run: Run, data_dir: Path) -> None:
    use(run)
    refused = run("--backend", "advisory", "claim", "repo-x", "--session", "w1")
    assert (refused.returncode, "`looop adopt advisory`" in refused.stderr) == (3, True)
    done = run("adopt", "advisory", "--all-stopped")
    said = f"adopted advisory in {data_dir} (with hard links, guard: flock)\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert guard_of(data_dir) == "flock"
    done = run("--backend", "advisory", "claim", "repo-x", "--session", "w1")
    assert (done.returncode, done.stdout) == (0, "claimed repo-x\n")


def test_without_the_word_that_all_have_stopped_nothing_is_done(run: Run, data_dir: Path) -> None:
    use(run)
    done = run("adopt", "advisory")
    assert (done.returncode, done.stdout, guard_of(data_dir)) == (2, "", None)
    assert "end every process that uses this directory" in done.stderr
    assert "--all-stopped" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_there_and_back_and_twice(run: Run, data_dir: Path) -> None:
    use(run)
    for wanted, guard in (("advisory", "flock"), ("auto", None)):
        assert run("adopt", wanted, "--dry-run").stdout.startswith(f"would adopt {wanted} in {data_dir}")
        assert guard_of(data_dir) != guard
        done = json.loads(run("--json", "adopt", wanted, "--all-stopped").stdout)
        assert (done["outcome"], done["backend"], done["after"]["guard"] or None) == ("adopted", wanted, guard)
        assert (guard_of(data_dir), done["users"], done["trouble"]) == (guard, [], None)
        again = run("--json", "adopt", wanted)
        assert (again.returncode, json.loads(again.stdout)["outcome"]) == (0, "unchanged")


def test_who_is_in_the_way_is_named(run: Run, data_dir: Path, alive: Living) -> None:
    use(run)
    alive("w2")
    assert run("claim", "repo-x", "--session", "w2").returncode == 0
    done = run("adopt", "advisory", "--all-stopped")
    assert (done.returncode, done.stdout, guard_of(data_dir)) == (1, "", None)
    assert done.stderr.splitlines()[0] == f"adopt advisory: {data_dir} is in use, and stays as it is"
    assert "  session w2: " in done.stderr
    assert "  claim repo-x: held by session 'w2'\n" in done.stderr
    found = json.loads(run("--json", "adopt", "advisory", "--dry-run").stdout)
    assert (found["outcome"], len(found["users"])) == ("in_use", 2)


def test_the_dead_are_in_the_way_until_they_are_reaped(run: Run, data_dir: Path) -> None:
    assert run("claim", "repo-x", "--session", "gone").returncode == 0
    done = run("adopt", "advisory", "--all-stopped")
    assert (done.returncode, "`looop reap`" in done.stderr) == (1, True)
    assert run("reap").returncode == 0
    assert run("adopt", "advisory", "--all-stopped").returncode == 0
    assert guard_of(data_dir) == "flock"


@pytest.mark.parametrize("backend", ["redis://:secret@localhost", "memory"])
def test_what_is_no_directory_has_nothing_to_adopt(run: Run, backend: str, data_dir: Path) -> None:
    done = run("--backend", backend, "adopt", "advisory")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "secret" not in done.stderr
    assert not data_dir.exists()


def test_where_nothing_was_claimed_the_first_claim_decides(run: Run, data_dir: Path) -> None:
    done = run("adopt", "advisory", "--all-stopped")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--backend advisory" in done.stderr
    assert not data_dir.exists()
    assert run("adopt", "posix").returncode == 2


@pytest.mark.parametrize("word", ["migrate", "convert", "restamp"])
def test_the_words_of_other_tools_lead_there(run: Run, word: str) -> None:
    done = run(word)
    assert (done.returncode, "`looop adopt advisory`" in done.stderr) == (2, True)
