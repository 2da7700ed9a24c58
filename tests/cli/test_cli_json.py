"""`--json`: one object a line, with exactly these keys, for answers, refusals and errors; the exit codes stay."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]

LEASE = {"session", "incarnation", "claimed_at", "host", "note", "readers"}
VERDICT = {"liveness", "evidence", "basis", "evidence_age", "until"}
REFUSAL = {"user", "command", "waiting", "next", "end"}
CLAIM = {"verb", "outcome", "name", "generation"}
OUR_PID = "our pid"  # Stands for it, so that every process collects the same tests.
FILE = "a file"  # Which is there in the current directory, and can be no data directory.
NOBODY = dict.fromkeys(LEASE)


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What was said: nothing but objects, and all of it on stdout."""
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(isinstance(each, dict) for each in found)
    return found


def only(done: subprocess.CompletedProcess[str], code: int) -> dict[str, Any]:
    assert done.returncode == code
    (found,) = objects(done)
    return found


@pytest.fixture
def held(run: Run, alive: Living, dead: Dying) -> dict[str, int]:
    """`repo-a` is held by w1, which lives; `repo-b` by w2, which has died; `repo-c` is free. The pids, by session."""
    pids = {"w1": alive("w1").pid, "w2": dead("w2", "repo-b").pid}
    for name, session in (("repo-a", "w1"), ("repo-c", "w1")):
        run("claim", name, "--session", session)
    run("unclaim", "repo-c", "--session", "w1")
    return pids


def test_claim_won(run: Run, alive: Living) -> None:
    holder = alive("w1")
    found = only(run("--json", "claim", "repo-x", "--session", "w1"), 0)
    assert set(found) == CLAIM | LEASE | VERDICT | {"previous", "protected"}
    assert (found["verb"], found["outcome"], found["name"], found["generation"]) == ("claim", "won", "repo-x", 1)
    assert (found["session"], found["previous"], found["liveness"]) == ("w1", None, "alive")
    assert found["evidence"] == f"pid {holder.pid} runs"
    assert (found["basis"], found["evidence_age"]) == ("process", 0.0)


def test_claim_taken_over(run: Run, held: dict[str, int]) -> None:
    found = only(run("--json", "claim", "repo-b", "--session", "w1"), 0)
    assert set(found) == CLAIM | LEASE | VERDICT | {"previous", "protected"}
    assert (found["outcome"], found["generation"], found["session"], found["previous"]) == ("won", 2, "w1", "w2")


def test_claim_of_a_session_that_is_not_registered_says_so_in_the_object(run: Run) -> None:
    found = only(run("--json", "claim", "repo-x", "--session", "nobody"), 0)
    assert (found["session"], found["incarnation"], found["liveness"]) == ("nobody", None, "dead")
    assert found["evidence"] == "no such session"


def test_claim_renewed(run: Run, held: dict[str, int]) -> None:
    found = only(run("--json", "claim", "repo-a", "--session", "w1"), 0)
    assert set(found) >= CLAIM | LEASE
    assert set(found) <= CLAIM | LEASE | VERDICT | {"previous", "protected"}
    assert (found["outcome"], found["generation"], found["session"]) == ("renewed", 1, "w1")


def test_claim_held(run: Run, held: dict[str, int]) -> None:
    found = only(run("--json", "_", "claim", "repo-a", "--session", "other"), 1)
    assert set(found) - {"previous"} == CLAIM | LEASE | VERDICT | REFUSAL
    assert (found["verb"], found["outcome"], found["session"], found["liveness"]) == ("claim", "held", "w1", "alive")


def test_unclaim(run: Run, held: dict[str, int]) -> None:
    refused = only(run("--json", "unclaim", "repo-a", "--session", "other"), 1)
    assert set(refused) == CLAIM | LEASE | VERDICT | REFUSAL
    assert (refused["verb"], refused["outcome"], refused["session"]) == ("unclaim", "refused", "w1")
    released = only(run("--json", "unclaim", "repo-a", "--session", "w1"), 0)
    assert released == {"verb": "unclaim", "outcome": "released", "name": "repo-a", "generation": 2}
    assert only(run("--json", "unclaim", "repo-a", "--session", "w1"), 0) == released


def test_check(run: Run, held: dict[str, int]) -> None:
    current = only(run("--json", "check", "repo-a", "--generation", "1"), 0)
    superseded = only(run("--json", "check", "repo-a", "--generation", "7"), 1)
    free = only(run("--json", "check", "repo-c", "--generation", "2"), 1)
    assert set(current) == set(superseded) == set(free) == CLAIM | LEASE | {"head"}
    assert [each["outcome"] for each in (current, superseded, free)] == ["current", "superseded", "superseded"]
    assert [each["session"] for each in (current, superseded, free)] == ["w1", "w1", None]
    assert [each["generation"] for each in (current, superseded, free)] == [1, 7, 2]
    assert [each["head"] for each in (current, superseded, free)] == [1, 1, 2]


def test_break(run: Run, held: dict[str, int]) -> None:
    wrong = only(run("--json", "break", "repo-a", "--generation", "7", "--reason", "r"), 1)
    broken = only(run("--json", "break", "repo-a", "--generation", "1", "--reason", "r"), 0)
    free = only(run("--json", "break", "repo-a", "--generation", "1", "--reason", "r"), 1)
    assert set(wrong) == set(broken) == set(free) == CLAIM | LEASE
    assert [each["outcome"] for each in (wrong, broken, free)] == ["superseded", "broken", "superseded"]
    assert [each["generation"] for each in (wrong, broken, free)] == [1, 2, 2]
    assert [each["session"] for each in (wrong, broken, free)] == ["w1", "w1", None]


def test_show(run: Run, held: dict[str, int]) -> None:
    found = [only(run("--json", "show", name), 0) for name in ("repo-a", "repo-b", "repo-c", "repo-d")]
    assert all(set(each) == CLAIM | LEASE | VERDICT | REFUSAL for each in found)
    assert [each["outcome"] for each in found] == ["held", "held", "free", "free"]
    assert [each["liveness"] for each in found] == ["alive", "dead", None, None]
    assert [(each["basis"], each["evidence_age"]) for each in found] == [("process", 0.0)] * 2 + [(None, None)] * 2
    assert [each["generation"] for each in found] == [1, 1, 2, 0]
    assert all({key: each[key] for key in LEASE} == NOBODY for each in found[2:])


def test_claims(run: Run, held: dict[str, int]) -> None:
    done = run("--json", "claims")
    found = objects(done)
    assert done.returncode == 0
    assert all(set(each) == CLAIM | LEASE | VERDICT for each in found)
    assert [(each["verb"], each["outcome"], each["name"], each["session"], each["liveness"]) for each in found] == [
        ("claims", "held", "repo-a", "w1", "alive"),
        ("claims", "held", "repo-b", "w2", "dead"),
    ]


def test_nothing_to_list_is_no_object(run: Run) -> None:
    for args in (("claims",), ("session", "list"), ("events",), ("reap",)):
        done = run("--json", *args)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_reap(run: Run, held: dict[str, int]) -> None:
    would = only(run("--json", "reap", "--dry-run"), 0)
    did = only(run("--json", "reap"), 0)
    assert set(would) == set(did) == CLAIM | LEASE | VERDICT
    assert (would["outcome"], did["outcome"]) == ("would_reap", "reaped")
    assert (did["verb"], did["name"], did["session"], did["liveness"]) == ("reap", "repo-b", "w2", "dead")
    assert did["evidence"] == f"pid {held['w2']} is gone"


def test_reap_that_could_not(run: Run, held: dict[str, int], data_dir: Path) -> None:
    (data_dir / "claims" / ".ledger" / "broken").write_text("not a directory")
    done = run("--json", "reap")
    reaped, failed = objects(done)
    assert done.returncode == 3
    assert reaped["outcome"] == "reaped"
    assert set(failed) == {"verb", "outcome", "name", "message"}
    assert (failed["verb"], failed["outcome"], failed["name"]) == ("reap", "failed", "broken")
    (data_dir / "sessions").rename(data_dir / "away")
    (data_dir / "sessions").write_text("not a directory")
    skipped = only(run("--json", "reap"), 3)
    assert set(skipped) == {"verb", "outcome", "message"}
    assert (skipped["verb"], skipped["outcome"]) == ("reap", "skipped")


def test_session(run: Run, held: dict[str, int]) -> None:
    pid = os.getpid()
    started = only(run("--json", "session", "start", "w3", "--pid", str(pid)), 0)
    assert set(started) == {
        "verb",
        "outcome",
        "session",
        "incarnation",
        "pid",
        "lease",
        "ttl",
        "process",
        "keeper",
        "trouble",
    }
    assert (started["lease"], started["keeper"], started["trouble"]) == (0, None, None)
    assert (started["verb"], started["outcome"], started["session"]) == ("session start", "started", "w3")
    assert started["pid"] == pid
    listed = objects(run("--json", "session", "list"))
    keys = {"verb", "outcome", "session", "incarnation", "pid", "host", "started_at", "lease", "ttl", "user", "command"}
    keys |= VERDICT
    assert all(set(each) == keys for each in listed)
    assert [(each["verb"], each["outcome"], each["session"], each["liveness"]) for each in listed] == [
        ("session list", "session", "w1", "alive"),
        ("session list", "session", "w2", "dead"),
        ("session list", "session", "w3", "alive"),
    ]
    stopped = only(run("--json", "session", "stop", "w3"), 0)
    again = only(run("--json", "session", "stop", "w3"), 0)
    assert stopped == {"verb": "session stop", "outcome": "stopped", "session": "w3", "released": []}
    assert again == {"verb": "session stop", "outcome": "ended_before", "session": "w3", "released": []}


def test_paths(run: Run, data_dir: Path) -> None:
    assert only(run("--json", "paths"), 0) == {
        "verb": "paths",
        "outcome": "paths",
        "data_dir": data_dir.as_posix(),
        "claims": (data_dir / "claims").as_posix(),
        "sessions": (data_dir / "sessions").as_posix(),
        "events": (data_dir / "events.jsonl").as_posix(),
    }


def test_events_are_the_objects_of_the_log(run: Run, held: dict[str, int]) -> None:
    run("claim", "repo-b", "--session", "w1")
    run("break", "repo-a", "--generation", "1", "--reason", "r")
    keys: dict[str, set[str]] = {}
    for each in objects(run("--json", "events")):
        keys.setdefault(each["event"], set(each))
        assert set(each) == keys[each["event"]]
    base = {"ts", "event", "claim", "session", "generation"}
    assert keys == {
        "claimed": base,
        "released": base,
        "taken_over": base | {"previous", "evidence"},
        "broken": base | {"reason", "by_user", "by_host"},
        "session_started": keys["session_started"],
    }


@pytest.mark.parametrize(
    "log",
    [
        b'{"ts": "\xed\xa0\x80"}\n',
        b'{"ts": "\xc2\x9b"}\n',
        '{"ts": "\U000e0001"}\n'.encode(),
        '\ufeff{"ts": 1}'.encode("utf-16-le") + b"\n",
        b'\xef\xbb\xbf{"ts": 1}\n',
        b"\xff\x00\n[1]\nnull\n{\n" + b"[" * 100_000 + b"\n",
        b'{"a": ' * 900 + b"1" + b"}" * 900 + b"\n",
    ],
    ids=["surrogate", "C1 control", "astral tag", "UTF-16", "byte order mark", "garbage", "deep"],
)
def test_events_are_objects_whatever_is_in_the_log(run: Run, data_dir: Path, log: bytes) -> None:
    data_dir.mkdir()
    (data_dir / "events.jsonl").write_bytes(log + b'{"ts": "t", "event": "claimed", "claim": "last"}\n')
    done = run("--json", "events")
    assert done.returncode == 0
    assert objects(done)[-1]["claim"] == "last"
    assert run("events").stdout.splitlines()[-1] == "t  claimed  last"


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("nonsense",), 2, "usage"),
        (("claim",), 2, "usage"),
        (("claim", "repo-x", "--nonsense"), 2, "usage"),
        (("check", "repo-x"), 2, "usage"),
        (("check", "repo-x", "--generation", "one"), 2, "usage"),
        (("session", "nonsense"), 2, "usage"),
        (("completion", "tcsh"), 2, "usage"),
        (("--nonsense", "claims"), 2, "usage"),
        (("--data-dir",), 2, "usage"),
        (("--backend", "memory", "claims"), 2, "usage"),
        (("--backend", "nonsense", "claims"), 2, "no_such_backend"),
        (("claim", "repo-x"), 2, "no_session"),
        (("claim", "a/b", "--session", "w1"), 2, "invalid_name"),
        (("claim", "repo-x", "--session", "a/b"), 2, "invalid_name"),
        (("session", "start", "w9", "--pid", "4194305"), 2, "no_such_process"),
        (("session", "stop", "w9"), 2, "no_session"),
        (("session", "start", "w1", "--pid", OUR_PID), 1, "session_alive"),
        (("--data-dir", FILE, "claims"), 3, "unavailable"),
        (("--data-dir", FILE, "claim", "repo-x", "--session", "w1"), 3, "unavailable"),
        (("--data-dir", FILE, "events"), 3, "unavailable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_error_is_an_object_too_and_its_code_the_same(
    run: Run,
    alive: Living,
    args: tuple[str, ...],
    code: int,
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive("w1")
    (tmp_path / FILE).touch()
    monkeypatch.chdir(tmp_path)
    args = tuple(str(os.getpid()) if word == OUR_PID else word for word in args)
    plain = run(*args)
    found = only(run("--json", *args), code)
    assert plain.returncode == code
    assert plain.stdout == ""
    assert set(found) == {"outcome", "code", "message"}
    assert (found["outcome"], found["code"]) == ("error", error)
    assert plain.stderr == f"looop: {found['message']}\n"


@pytest.mark.parametrize(
    "before",
    [
        ("--json",),
        ("-v", "--json"),
        ("--data-dir", "--json", "--json"),
        ("--data-dir", "here", "--json"),
        ("--backend=auto", "--json"),
        ("--json", "-v"),
    ],
)
def test_the_option_stands_anywhere_before_the_verb(
    run: Run, before: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(run(*before, "nonsense").stdout)["code"] == "usage"
    assert json.loads(run(*before, "show", "repo-x").stdout)["outcome"] == "free"


def test_as_the_value_of_an_option_it_is_none(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("--data-dir", "--json", "nonsense")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("words", [("show", "repo-x"), ("show",), ("show", "repo-x", "--nonsense"), ("session", "list")])
def test_after_the_verb_it_says_the_same_as_before_it(run: Run, words: tuple[str, ...]) -> None:
    before, after = run("--json", *words), run(*words, "--json")
    assert (after.returncode, after.stdout, after.stderr) == (before.returncode, before.stdout, before.stderr)


def test_an_id_in_an_object_is_itself_whatever_it_holds(run: Run) -> None:
    name, session = 'a\x1b[31m\n"\x9b\u202e', "w\x07\U000e0001"
    found = only(run("--json", "claim", name, "--session", session), 0)
    assert (found["name"], found["session"]) == (name, session)
    assert only(run("--json", "show", name), 0)["name"] == name
    assert objects(run("--json", "claims"))[0]["session"] == session
    assert objects(run("--json", "events"))[0]["claim"] == name


def test_as_a_process_it_says_the_same(looop: Run, alive: Living, tmp_path: Path) -> None:
    alive("w1")
    assert only(looop("--json", "claim", "repo-x", "--session", "w1"), 0)["outcome"] == "won"
    assert only(looop("--json", "claim", "repo-x", "--session", "w2"), 1)["outcome"] == "held"
    assert only(looop("--json", "claim", "a/b"), 2)["code"] == "invalid_name"
    (tmp_path / FILE).touch()
    assert only(looop("--json", "--data-dir", FILE, "claims", cwd=tmp_path), 3)["code"] == "unavailable"
