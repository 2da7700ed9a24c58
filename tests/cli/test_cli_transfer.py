"""`transfer`: words, exit codes, slots."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def held(run: Run, alive: Living) -> subprocess.Popen[bytes]:
    """repo-x, by w1; w2 lives as well. The process of w2."""
    alive("w1")
    other = alive("w2")
    assert run("claim", "repo-x", "--session", "w1").returncode == 0
    return other


def test_it_is_handed_over(run: Run, held: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_SESSION_ID", "w1")
    assert said(run("transfer", "repo-x", "--to", "w2")) == (0, "transferred repo-x to w2: generation 2\n", "")
    assert run("check", "repo-x", "--generation", "2", "--session", "w2").returncode == 0
    code, out, err = said(run("transfer", "repo-x", "--to", "w2"))
    assert (code, out) == (1, "")
    assert err.startswith("transfer repo-x: not ours: it is held by 'w2'\n")
    found = json.loads(run("--json", "transfer", "repo-x", "--to", "w1", "--session", "w2").stdout)
    told = {key: found[key] for key in ("verb", "outcome", "name", "session", "previous", "generation")}
    assert told == {
        "verb": "transfer",
        "outcome": "transferred",
        "name": "repo-x",
        "session": "w1",
        "previous": "w2",
        "generation": 3,
    }
    refused = json.loads(run("--json", "transfer", "repo-x", "--to", "w1", "--session", "w2").stdout)
    assert (refused["outcome"], refused["session"]) == ("refused", "w1")


def test_what_is_free_is_not_ours(run: Run, held: object) -> None:
    line = "transfer free: not ours: it is free, at generation 0\n"
    assert said(run("transfer", "free", "--to", "w2", "--session", "w1")) == (1, "", line)


def test_to_nobody_who_lives_it_is_usage(run: Run, held: subprocess.Popen[bytes], tree: Tree) -> None:
    held.kill()
    held.wait()
    before = tree()
    for to in ("w2", "stranger", "a/b"):
        code, out, err = said(run("transfer", "repo-x", "--to", to, "--session", "w1"))
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert run("transfer", "repo-x", "--session", "w1").returncode == 2
    assert run("transfer", "repo-x", "--to", "w1").returncode == 2
    assert tree() == before


def test_of_slots_those_that_are_ours_are_handed_over(run: Run, held: object) -> None:
    for session in ("w1", "w2"):
        run("claim", "gpu", "--slots", "3", "--session", session)
    done = run("transfer", "gpu", "--slots", "3", "--to", "w2", "--session", "w1")
    assert said(done) == (0, "transferred gpu#1 to w2: generation 2\n", "")
    assert run("claims", "gpu*", "--session", "w2", "-o", "name").stdout.split() == ["gpu#1", "gpu#2"]
    code, out, err = said(run("transfer", "gpu", "--slots", "3", "--to", "w2", "--session", "w1"))
    assert (code, out, err) == (1, "", "transfer gpu: no slot of it is held by session 'w1'\n")
    assert run("transfer", "gpu#2", "--to", "w1", "--session", "w2").returncode == 0
