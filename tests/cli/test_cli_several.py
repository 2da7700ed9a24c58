"""Several claims at once, by a pattern: which are listed, in which order, which are released, and which are broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from looop_portable import Claims
from looop_portable.cli.verbs.show.selecting import Selection
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Lease
from looop_portable.protocol.standings import Standing

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def held(run: Run, alive: Living) -> subprocess.Popen[bytes]:
    """ci-1 and x by w1, ci-2 by w2, ci-3 by w3, which has been killed. The process that w1 lives by."""
    first, _, third = (alive(session) for session in ("w1", "w2", "w3"))
    for name, session in (("ci-1", "w1"), ("x", "w1"), ("ci-2", "w2"), ("ci-3", "w3")):
        assert run("claim", name, "--session", session).returncode == 0
    third.kill()
    third.wait()
    return first


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), ["ci-1", "ci-2", "ci-3", "x"]),
        (("ci-*",), ["ci-1", "ci-2", "ci-3"]),
        (("ci-[13]",), ["ci-1", "ci-3"]),
        (("x",), ["x"]),
        (("CI-*",), []),
        (("--session", "w1"), ["ci-1", "x"]),
        (("ci-*", "--session", "w1"), ["ci-1"]),
        (("--session", "w[23]"), ["ci-2", "ci-3"]),
        (("--dead",), ["ci-3"]),
        (("--held",), ["ci-1", "ci-2", "x"]),
        (("--dead", "--held"), ["ci-1", "ci-2", "ci-3", "x"]),
        (("--host", "no-such-host"), []),
        (("--host", "*"), ["ci-1", "ci-2", "ci-3", "x"]),
        (("--older-than", "2h"), []),
        (("--older-than", "0"), ["ci-1", "ci-2", "ci-3", "x"]),
        (("--sort", "session"), ["ci-1", "x", "ci-2", "ci-3"]),
    ],
)
def test_those_that_are_meant_are_listed(run: Run, held: object, args: tuple[str, ...], expected: list[str]) -> None:
    done = run("claims", "-o", "name", *args)
    assert (done.returncode, done.stdout.split()) == (0, expected)
    found = [json.loads(each)["name"] for each in run("--json", "claims", *args).stdout.splitlines()]
    assert found == expected


def test_where_none_are_meant_it_says_so(run: Run, held: object) -> None:
    assert said(run("claims", "nothing-*")) == (0, "", "no such claims are held, of 4\n")


def test_by_age_the_oldest_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that tells no time is the last, and older than nothing."""
    monkeypatch.setattr(time, "time", lambda: 7200.0 + 1577836800)  # 2020-01-01T02:00:00Z
    when = {"a": "2020-01-01T01:30:00Z", "b": "2020-01-01T00:00:00Z", "c": "soon", "d": "2020-01-01T01:00:00Z"}
    alive = Verdict(Liveness.ALIVE, "")
    found = [Status(name, 1, Lease(name, "s", claimed_at=at), alive, Standing.HELD) for name, at in when.items()]
    assert [each.name for each in Selection(sort="age").of(found)] == ["b", "d", "a", "c"]
    assert [each.name for each in Selection(older_than=3600).of(found)] == ["b", "d"]


def test_one_that_cannot_be_read_is_told_where_its_name_fits(run: Run, held: object, data_dir: Path) -> None:
    (data_dir / "claims" / ".ledger" / "torn").write_text("no directory")
    assert run("claims").returncode == 3
    assert run("claims", "t*").returncode == 3
    assert run("claims", "ci-*").returncode == 0


# unclaim


def test_all_of_ours_that_fit_are_released(run: Run, held: object) -> None:
    assert run("claim", "ci-9", "--session", "w1").returncode == 0
    assert said(run("unclaim", "--pattern", "ci-*", "--session", "w1")) == (0, "released ci-1\nreleased ci-9\n", "")
    assert run("claims", "-o", "name", "--held").stdout.split() == ["ci-2", "x"]
    code, out, err = said(run("unclaim", "--pattern", "ci-*", "--session", "w1"))
    assert (code, out, err) == (0, "", "session 'w1' holds no claim that fits 'ci-*'\n")


def test_a_dry_run_releases_nothing(run: Run, held: object, tree: Tree) -> None:
    before = tree()
    line = "would release ci-1: generation 1 of session 'w1'\n"
    assert said(run("unclaim", "--pattern", "ci-*", "--session", "w1", "--dry-run")) == (0, line, "")
    assert said(run("unclaim", "ci-1", "--session", "w1", "--dry-run")) == (0, line, "")
    code, out, err = said(run("unclaim", "ci-1", "ci-2", "free", "--session", "w1", "--dry-run"))
    assert (code, out) == (1, line)
    assert err.startswith("unclaim ci-2: held by another live session 'w2'\n")
    found = json.loads(run("--json", "unclaim", "x", "--session", "w1", "--dry-run").stdout)
    assert (found["outcome"], found["name"], found["generation"]) == ("would_release", "x", 1)
    assert tree() == before


# break


def test_all_that_fit_are_broken_whoever_holds_them(run: Run, held: object) -> None:
    code, out, err = said(run("break", "--pattern", "ci-*", "--reason", "a test"))
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"broke ci-{n}: generation 1 of session 'w{n}'" for n in (1, 2, 3)]
    assert run("claims", "-o", "name").stdout.split() == ["x"]
    code, out, err = said(run("break", "--pattern", "ci-*", "--reason", "a test"))
    assert (code, out, err) == (0, "", "no claim that is held fits 'ci-*'\n")


def test_one_that_was_moved_meanwhile_is_not_broken(run: Run, held: object, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Claims.list

    def list_then_move(self: Claims) -> list[Status]:
        found = listed(self)
        self.release("ci-2", self.sessions.holder("w2"))
        self.claim("ci-2", self.sessions.holder("w1"))
        return found

    monkeypatch.setattr(Claims, "list", list_then_move)
    code, out, err = said(run("break", "--pattern", "ci-*", "--reason", "a test"))
    assert (code, out.count("broke")) == (1, 2)
    assert err == "break ci-2: generation 1 is not current: it is held by 'w1', at generation 3\n"
    monkeypatch.setattr(Claims, "list", listed)
    assert run("claims", "-o", "name").stdout.split() == ["ci-2", "x"]


def test_a_dry_run_breaks_nothing(run: Run, held: subprocess.Popen[bytes], tree: Tree) -> None:
    before = tree()
    code, out, err = said(run("break", "--pattern", "ci-[12]", "--reason", "a test", "--dry-run"))
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == f"would break ci-1: generation 1 of session 'w1': alive: pid {held.pid} runs (seen now)"
    assert second.startswith("would break ci-2: generation 1 of session 'w2'")
    assert said(run("break", "ci-1", "--generation", "1", "--reason", "a test", "--dry-run")) == (0, f"{first}\n", "")
    assert run("break", "ci-1", "--generation", "2", "--reason", "a test", "--dry-run").returncode == 1
    assert run("break", "free", "--generation", "2", "--reason", "a test", "--dry-run").returncode == 1
    assert tree() == before


@pytest.mark.parametrize(
    "args",
    [
        ("break", "x", "--reason", "why"),
        ("break", "--generation", "1", "--reason", "why"),
        ("break", "--pattern", "x"),
        ("break", "--pattern", "x", "--reason", " "),
        ("break", "x", "--pattern", "x", "--reason", "why"),
        ("break", "--pattern", "x", "--generation", "1", "--reason", "why"),
        ("unclaim", "--session", "w1"),
        ("unclaim", "--pattern", "x"),
        ("claims", "--sort", "colour"),
        ("claims", "--older-than", "soon"),
        ("claims", "a", "b"),
    ],
)
def test_what_is_meant_has_to_be_said(run: Run, held: object, args: tuple[str, ...], tree: Tree) -> None:
    before = tree()
    code, out, err = said(run(*args))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert tree() == before


def test_one_that_cannot_be_released_is_in_no_others_way(run: Run, alive: Living, data_dir: Path) -> None:
    alive("w1")
    run("claim", "a", "b", "c", "--session", "w1")
    ledger = data_dir / "claims" / ".ledger" / "a"
    shutil.rmtree(ledger)
    ledger.write_text("no directory")
    code, out, err = said(run("unclaim", "a", "b", "c", "--session", "w1"))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert Claims.open().show("b").lease is None
    assert Claims.open().show("c").lease is None
