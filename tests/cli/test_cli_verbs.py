"""`show`, `check`, `break`, `claims` and `reap`: what they print, change, and answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def events(data_dir: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (data_dir / "events.jsonl").read_text().splitlines()]


def test_show_of_a_claim_that_never_was(run: Run, data_dir: Path) -> None:
    assert said(run("show", "repo-x")) == (0, "repo-x: free, at generation 0\n", "")
    assert not data_dir.exists()


def test_show_tells_the_holder_and_the_evidence(run: Run, alive: Living) -> None:
    holder = alive("w1")
    run("claim", "repo-x", "--session", "w1")
    code, out, err = said(run("show", "repo-x"))
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "repo-x: held by session 'w1', generation 1"
    assert lines[1] == f"  session     alive: pid {holder.pid} runs (seen now)"
    assert re.fullmatch(
        r"  claimed     \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(\d+[smhd] ago by this host's clock\), on .+", lines[2]
    )
    found = {line.split()[0]: line for line in lines[3:]}
    assert found.keys() - {"user"} == {"waiting", "end"}
    assert found["end"].endswith(": looop break repo-x --generation 1 --reason TEXT")


def test_show_tells_that_a_dead_sessions_claim_is_there_for_the_taking(run: Run, dead: Dying) -> None:
    holder = dead("w1", "repo-x")
    lines = run("show", "repo-x").stdout.splitlines()
    assert lines[1] == f"  session     dead: pid {holder.pid} is gone (seen now)"
    assert lines[-1] == "  next        whoever claims it takes it over at once"


def test_check_says_yes_to_the_generation_that_is_held(run: Run, alive: Living) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    expected = "repo-x: generation 1 is current, held by 'w1'\n"
    assert said(run("check", "repo-x", "--generation", "1")) == (0, expected, "")


def test_check_says_no_to_a_generation_that_was_superseded(run: Run, alive: Living, dead: Dying) -> None:
    dead("w1", "repo-x")
    alive("w2")
    run("claim", "repo-x", "--session", "w2")
    expected = "check repo-x: generation 1 is not current: generation 2 is held by 'w2'\n"
    assert said(run("check", "repo-x", "--generation", "1")) == (1, "", expected)
    assert run("check", "repo-x", "--generation", "2").returncode == 0


def test_check_says_no_to_a_generation_that_was_released(run: Run, alive: Living) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    run("unclaim", "repo-x", "--session", "w1")
    for generation in ("1", "2", "3"):
        expected = f"check repo-x: generation {generation} does not hold it: it is free, at generation 2\n"
        assert said(run("check", "repo-x", "--generation", generation)) == (1, "", expected)


@pytest.mark.parametrize(
    "args",
    [
        ("check", "repo-x"),
        ("check", "repo-x", "--generation", ""),
        ("check", "repo-x", "--generation", "-1"),
        ("check", "repo-x", "--generation", "one"),
        ("check", "repo-x", "--generation", "9" * 5000),
        ("break", "repo-x", "--reason", "r"),
        ("break", "repo-x", "--generation", "1"),
        ("break", "repo-x", "--generation", "", "--reason", "r"),
        ("reap", "--watch", "0"),
        ("reap", "--watch", "-1"),
        ("reap", "--watch", "often"),
    ],
    ids=lambda args: " ".join(args)[:40],
)
def test_wrong_numbers_and_missing_options_are_usage_in_one_line(run: Run, data_dir: Path, args: tuple[str, ...]) -> None:
    code, out, err = said(run(*args))
    assert (code, out) == (2, "")
    assert err.startswith("looop: ")
    assert err.count("\n") == 1
    assert not data_dir.exists()


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300"])
def test_a_time_that_nobody_can_wait_is_usage(looop: Run, seconds: str) -> None:
    done = looop("reap", "--watch", seconds)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_break_releases_the_generation_that_holds_and_logs_the_reason(run: Run, alive: Living, data_dir: Path) -> None:
    alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    done = run("break", "repo-x", "--generation", "1", "--reason", "host lost, ticket 7")
    assert said(done) == (0, "broke repo-x: generation 1 of session 'w1'\n", "")
    last = events(data_dir)[-1]
    assert last.pop("ts")
    assert last.pop("by_user")
    assert last.pop("by_host")
    assert last == {
        "event": "broken",
        "claim": "repo-x",
        "session": "w1",
        "generation": 2,
        "reason": "host lost, ticket 7",
    }
    assert not (data_dir / "claims" / "repo-x.json").exists()
    assert run("check", "repo-x", "--generation", "1").returncode == 1
    assert run("claim", "repo-x", "--session", "w2").stdout == "claimed repo-x\n"
    assert run("unclaim", "repo-x", "--session", "w1").returncode == 1
    assert run("check", "repo-x", "--generation", "3").returncode == 0


def test_break_of_another_generation_changes_nothing(run: Run, alive: Living, tree: Tree) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    before = tree()
    for generation in ("2", "99"):
        expected = f"break repo-x: generation {generation} is not current: it is held by 'w1', at generation 1\n"
        assert said(run("break", "repo-x", "--generation", generation, "--reason", "r")) == (1, "", expected)
    assert tree() == before


def test_a_lease_that_looop_wrote_is_broken_at_generation_nought(run: Run, data_dir: Path) -> None:
    (data_dir / "claims").mkdir(parents=True)
    (data_dir / "claims" / "repo-x.json").write_text('{"session": "w1", "name": "repo-x"}')
    assert run("check", "repo-x", "--generation", "0").returncode == 0
    done = run("break", "repo-x", "--generation", "0", "--reason", "r")
    assert said(done) == (0, "broke repo-x: generation 0 of session 'w1'\n", "")
    assert not (data_dir / "claims" / "repo-x.json").exists()
    assert run("check", "repo-x", "--generation", "0").returncode == 1


def test_break_of_a_free_claim_is_refused(run: Run, alive: Living) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    run("unclaim", "repo-x", "--session", "w1")
    expected = "break repo-x: nothing to break: it is free, at generation 2\n"
    assert said(run("break", "repo-x", "--generation", "2", "--reason", "r")) == (1, "", expected)


def test_no_claims_are_said_on_stderr(run: Run, data_dir: Path) -> None:
    assert said(run("claims")) == (0, "", f"no claims are held: {data_dir.as_posix()} is not there yet\n")
    assert not data_dir.exists()
    data_dir.mkdir()
    assert said(run("claims")) == (0, "", "no claims are held\n")


def test_claims_are_listed_with_holder_and_evidence(run: Run, alive: Living, dead: Dying) -> None:
    living, gone = alive("w1"), dead("w2", "repo-b")
    for name, session in (("repo-a", "w1"), ("free", "w1")):
        run("claim", name, "--session", session)
    run("unclaim", "free", "--session", "w1")
    code, out, err = said(run("claims"))
    rows = [re.split(r" {2,}", line.rstrip()) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert rows[0] == ["NAME", "SESSION", "GENERATION", "AGE", "LIVENESS", "EVIDENCE"]
    assert [row[:3] + row[4:] for row in rows[1:]] == [
        ["repo-a", "w1", "1", "alive", f"pid {living.pid} runs (seen now)"],
        ["repo-b", "w2", "1", "dead", f"pid {gone.pid} is gone (seen now)"],
    ]
    assert all(re.fullmatch(r"\d+[smhd]", row[3]) for row in rows[1:])


@pytest.mark.parametrize(
    "name", ["日本語" * 20, "\x1b" * 20, "x" * 200, "é" * 100], ids=["wide", "control", "long", "accented"]
)
def test_off_a_terminal_a_table_is_whole_whatever_is_in_it(run: Run, dead: Dying, name: str) -> None:
    gone = dead("w1", name)
    lines = run("claims").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].split() == ["NAME", "SESSION", "GENERATION", "AGE", "LIVENESS", "EVIDENCE"]
    assert lines[1].startswith(name.replace("\x1b", "\\x1b") + " ")
    assert lines[1].rstrip().endswith(f"pid {gone.pid} is gone (seen now)")


def test_reap_releases_the_dead_keeps_the_living_and_says_on_what_evidence(
    run: Run, alive: Living, dead: Dying, data_dir: Path
) -> None:
    gone = dead("w1", "repo-a", "repo-d")
    alive("w2")
    for name, session in (("repo-b", "w2"), ("repo-c", "nobody")):
        run("claim", name, "--session", session)
    code, out, err = said(run("reap"))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"reaped repo-a: session 'w1', generation 1: pid {gone.pid} is gone",
        "reaped repo-c: session 'nobody', generation 1: no such session",
        f"reaped repo-d: session 'w1', generation 1: pid {gone.pid} is gone",
    ]
    assert [path.name for path in (data_dir / "claims").glob("*.json")] == ["repo-b.json"]
    reaped = [event for event in events(data_dir) if event["event"] == "claim_reaped"]
    assert [(event["claim"], event["session"]) for event in reaped] == [
        ("repo-a", "w1"),
        ("repo-c", "nobody"),
        ("repo-d", "w1"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(event["ts"])) for event in reaped)
    assert said(run("reap")) == (0, "", "")
    assert run("check", "repo-b", "--generation", "1").returncode == 0


def test_reap_releases_a_lease_without_a_readable_holder(run: Run, data_dir: Path) -> None:
    run("session", "start", "w1", "--pid", str(os.getpid()))
    (data_dir / "claims").mkdir(parents=True)
    (data_dir / "claims" / "repo-x.json").write_text('{"session": "w1", "na')
    expected = "reaped repo-x: no session, generation 0: no holder can be read from its lease\n"
    assert said(run("reap")) == (0, expected, "")
    assert not (data_dir / "claims" / "repo-x.json").exists()
    assert said(run("reap")) == (0, "", "")


def test_a_dry_run_says_what_would_be_released_and_changes_nothing(
    run: Run, alive: Living, dead: Dying, tree: Tree
) -> None:
    gone = dead("w1", "repo-a")
    alive("w2")
    run("claim", "repo-b", "--session", "w2")
    before = tree()
    expected = f"would reap repo-a: session 'w1', generation 1: pid {gone.pid} is gone\n"
    assert said(run("reap", "--dry-run")) == (0, expected, "")
    assert tree() == before


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["in earnest", "dry"])
def test_when_sessions_cannot_be_enumerated_nothing_is_reaped(
    run: Run, dead: Dying, data_dir: Path, tree: Tree, dry: tuple[str, ...]
) -> None:
    dead("w1", "repo-x")
    (data_dir / "sessions").rename(data_dir / "away")
    (data_dir / "sessions").write_text("not a directory")
    before = tree()
    code, out, err = said(run("reap", *dry))
    assert (code, out) == (3, "")
    assert err.startswith("looop: warning: nothing was reaped: the sessions cannot be enumerated: ")
    assert err.count("\n") == 1
    assert tree() == before


def test_a_claim_that_cannot_be_read_is_named_and_the_others_are_reaped(run: Run, dead: Dying, data_dir: Path) -> None:
    dead("w1", "repo-x")
    (data_dir / "claims" / ".ledger" / "broken").write_text("not a directory")
    code, out, err = said(run("reap"))
    assert code == 3
    assert out.startswith("reaped repo-x: session 'w1'")
    assert err.startswith("looop: reap broken: ")
    assert err.count("\n") == 1


def test_verbose_reap_counts(run: Run, alive: Living, dead: Dying) -> None:
    dead("w1", "repo-a")
    alive("w2")
    run("claim", "repo-b", "--session", "w2")
    assert run("-v", "reap").stderr.splitlines()[-1] == "reaped 1, kept 1, failed 0"


def test_watching_reaps_until_it_is_interrupted(run: Run, dead: Dying, interruptible: Start) -> None:
    dead("w1", "repo-x")
    with interruptible("reap", "--watch", "0.05") as watcher:
        try:
            assert watcher.stdout
            assert watcher.stdout.readline().startswith(b"reaped repo-x: session 'w1', generation 1: ")
            Claims.open().claim("repo-y", "w1")
            assert watcher.stdout.readline().startswith(b"reaped repo-y: session 'w1', generation 1: ")
            _, err = watcher.communicate(timeout=60)
        finally:
            watcher.kill()
    assert watcher.returncode == 130
    assert err.strip() == b""


def test_a_generation_is_checked_for_the_session_that_is_named(run: Run, alive: Living) -> None:
    """A number alone may be somebody else's, in a store that was restored from a backup."""
    alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    assert run("check", "repo-x", "--generation", "1", "--session", "w1").returncode == 0
    found = said(run("check", "repo-x", "--generation", "1", "--session", "w2"))
    assert found == (1, "", "check repo-x: generation 1 is not that of session 'w2': it is held by 'w1'\n")
    run("session", "stop", "w1")
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    assert run("check", "repo-x", "--generation", "1", "--session", "w1").returncode == 1
    assert run("check", "repo-x", "--generation", "3", "--session", "w1").returncode == 0
