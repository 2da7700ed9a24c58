"""`claim` and `unclaim`: the words and the exit codes that looop's workers rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_stopping, needs_zombies
from support.refusals import facts

from looop_portable import Claims, Won
from looop_portable.protocol.liveness import Here
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.processes import SYSTEM

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]

NO_SESSION = "looop: no session: pass --session ID, or set LOOOP_SESSION_ID (see `looop session start --help`)\n"
BAD_NAMES = ("", ".", "..", ".hidden", "a/b", "../a", "/", "a\\b", "\udcff")


@pytest.fixture(params=[(), ("_",)], ids=["public", "worker contract"])
def group(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Where the verb stands: on its own, or below `_`, as looop's workers call it."""
    found: tuple[str, ...] = request.param
    return found


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def test_a_free_claim_is_won_in_these_words(run: Run, alive: Living, group: tuple[str, ...]) -> None:
    alive("w1")
    assert said(run(*group, "claim", "repo-x", "--session", "w1")) == (0, "claimed repo-x\n", "")


def test_the_owners_repeat_says_nothing_and_writes_nothing(
    run: Run, alive: Living, tree: Tree, group: tuple[str, ...]
) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    before = tree()
    assert said(run(*group, "claim", "repo-x", "--session", "w1")) == (0, "", "")
    assert tree() == before


def test_a_claim_of_a_live_session_is_refused_in_these_words(
    run: Run, alive: Living, tree: Tree, group: tuple[str, ...]
) -> None:
    holder = alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    before = tree()
    code, out, err = said(run(*group, "claim", "repo-x", "--session", "w2"))
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "claim repo-x: held by live session 'w1'"
    assert facts(err)["evidence"] == f"pid {holder.pid} runs (seen now)"
    assert tree() == before


@needs_stopping
def test_a_stopped_holder_is_a_live_one(run: Run, alive: Living) -> None:
    holder = alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    os.kill(holder.pid, signal.SIGSTOP)
    os.waitpid(holder.pid, os.WUNTRACED)
    done = run("claim", "repo-x", "--session", "w2")
    assert done.returncode == 1
    assert facts(done.stderr)["evidence"] == f"pid {holder.pid} is stopped (seen now)"
    assert facts(done.stderr)["end"].endswith(": looop break repo-x --generation 1 --reason TEXT")
    holder.kill()
    holder.wait()


def test_a_dead_sessions_claim_is_taken_over_in_these_words(
    run: Run, alive: Living, dead: Dying, data_dir: Path, group: tuple[str, ...]
) -> None:
    dead("w1", "repo-x")
    alive("w2")
    assert said(run(*group, "claim", "repo-x", "--session", "w2")) == (0, "claimed repo-x\n", "")
    lease = json.loads((data_dir / "claims" / "repo-x.json").read_text())
    assert (lease["session"], lease["generation"]) == ("w2", 2)


@needs_zombies
def test_a_zombie_holds_nothing(run: Run, alive: Living) -> None:
    holder = alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert said(run("claim", "repo-x", "--session", "w2")) == (0, "claimed repo-x\n", "")


def test_a_new_session_does_not_inherit_the_lease_of_a_dead_one_of_its_id(run: Run, alive: Living, dead: Dying) -> None:
    dead("w1", "repo-x")
    alive("w1")
    assert run("claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
    assert run("check", "repo-x", "--generation", "2").returncode == 0


def test_the_owner_releases_without_a_word(run: Run, alive: Living, data_dir: Path, group: tuple[str, ...]) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    lease = json.loads((data_dir / "claims" / "repo-x.json").read_text())
    assert (lease["session"], lease["name"]) == ("w1", "repo-x")
    assert said(run(*group, "unclaim", "repo-x", "--session", "w1")) == (0, "", "")
    assert not (data_dir / "claims" / "repo-x.json").exists()
    assert run("show", "repo-x").stdout == "repo-x: free, at generation 2\n"


def test_releasing_a_free_claim_is_no_error(run: Run, alive: Living, group: tuple[str, ...]) -> None:
    alive("w1")
    assert said(run(*group, "unclaim", "repo-x", "--session", "w1")) == (0, "", "")
    assert run("show", "repo-x").stdout == "repo-x: free, at generation 0\n"


def test_anothers_live_claim_is_not_released_in_these_words(
    run: Run, alive: Living, tree: Tree, group: tuple[str, ...]
) -> None:
    alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    before = tree()
    code, out, err = said(run(*group, "unclaim", "repo-x", "--session", "w2"))
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "unclaim repo-x: held by another live session 'w1'"
    assert tree() == before


def test_a_dead_sessions_claim_is_released_by_anybody(
    run: Run, alive: Living, dead: Dying, data_dir: Path, group: tuple[str, ...]
) -> None:
    dead("w1", "repo-x")
    alive("w2")
    assert said(run(*group, "unclaim", "repo-x", "--session", "w2")) == (0, "", "")
    assert not (data_dir / "claims" / "repo-x.json").exists()


def test_the_option_beats_the_environment(run: Run, alive: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    alive("w1")
    alive("w2")
    monkeypatch.setenv("LOOOP_SESSION_ID", "w1")
    run("claim", "repo-x")
    assert run("show", "repo-x").stdout.startswith("repo-x: held by session 'w1'")
    assert said(run("claim", "repo-x")) == (0, "", "")
    assert run("claim", "repo-x", "--session", "w2").returncode == 1
    assert run("unclaim", "repo-x", "--session", "w2").returncode == 1
    assert run("unclaim", "repo-x").returncode == 0


@pytest.mark.parametrize(
    "args",
    [("--session", "w1", "repo-x"), ("repo-x", "--session", "w1"), ("repo-x", "--session=w1"), ("--session=w1", "repo-x")],
)
def test_the_option_may_stand_on_either_side_of_the_name(
    run: Run, alive: Living, args: tuple[str, ...], group: tuple[str, ...]
) -> None:
    alive("w1")
    assert said(run(*group, "claim", *args)) == (0, "claimed repo-x\n", "")
    assert said(run(*group, "unclaim", *args)) == (0, "", "")
    assert run("show", "repo-x").stdout == "repo-x: free, at generation 2\n"


def test_a_name_that_looks_like_an_option_stands_after_two_dashes(run: Run, alive: Living) -> None:
    alive("w1")
    assert said(run("claim", "--session", "w1", "--", "-x")) == (0, "claimed -x\n", "")


@pytest.mark.parametrize("verb", ["claim", "unclaim"])
@pytest.mark.parametrize("environment", [None, ""], ids=["unset", "empty"])
def test_without_a_session_it_is_usage(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch, verb: str, environment: str | None, group: tuple[str, ...]
) -> None:
    if environment is not None:
        monkeypatch.setenv("LOOOP_SESSION_ID", environment)
    assert said(run(*group, verb, "repo-x")) == (2, "", NO_SESSION)
    assert not data_dir.exists()


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(
    "args",
    [
        ("claim", "--session", "w1"),
        ("unclaim", "--session", "w1"),
        ("_", "claim", "--session", "w1"),
        ("_", "unclaim", "--session", "w1"),
        ("show",),
        ("check", "--generation", "1"),
        ("break", "--generation", "1", "--reason", "r"),
    ],
    ids=" ".join,
)
def test_a_bad_name_is_usage_in_one_line(run: Run, data_dir: Path, args: tuple[str, ...], name: str) -> None:
    code, out, err = said(run(*args, "--", name))
    assert (code, out) == (2, "")
    assert err.startswith("looop: invalid claim name")
    assert err.count("\n") == 1
    assert not data_dir.exists()


@pytest.mark.parametrize("session", [bad for bad in BAD_NAMES if bad])
@pytest.mark.parametrize("verb", ["claim", "unclaim"])
def test_a_bad_session_id_is_usage_in_one_line(run: Run, data_dir: Path, verb: str, session: str) -> None:
    code, out, err = said(run(verb, "repo-x", "--session", session))
    assert (code, out) == (2, "")
    assert err.startswith("looop: invalid session id")
    assert err.count("\n") == 1
    assert not data_dir.exists()


def test_more_is_said_of_its_generation_if_it_is_asked_for(run: Run, alive: Living) -> None:
    alive("w1")
    for names, said_on_stdout in ((("x", "y"), "claimed x\nclaimed y\n"), (("y", "x"), "")):
        code, out, err = said(run("-v", "claim", *names, "--session", "w1"))
        assert (code, out) == (0, said_on_stdout)
        assert [line for line in err.splitlines() if "generation" in line] == ["x: generation 1", "y: generation 1"]


def test_a_session_that_is_not_registered_claims_and_is_warned(run: Run, alive: Living, group: tuple[str, ...]) -> None:
    code, out, err = said(run(*group, "claim", "repo-x", "--session", "nobody"))
    assert (code, out) == (0, "claimed repo-x\n")
    assert err == (
        "looop: warning: session 'nobody' is not registered (no such session), so this claim can be taken over at once: "
        "register with `looop session start`, or claim with `--ttl 30m`\n"
    )
    assert said(run(*group, "claim", "repo-x", "--session", "nobody")) == (0, "", "")
    alive("w1")
    assert said(run(*group, "claim", "repo-x", "--session", "w1")) == (0, "claimed repo-x\n", "")


def test_a_holder_that_nobody_can_examine_is_alive_and_the_refusal_tells_the_way_out(
    run: Run, alive: Living, data_dir: Path
) -> None:
    class Far(type(SYSTEM)):  # type: ignore[misc]
        def here(self) -> Here:
            return Here("another kernel", "another namespace")

    far = Claims.open(str(data_dir))
    far.sessions = Sessions(far.backend.sessions, Far())
    assert isinstance(far.claim("repo-x", far.sessions.register("far").holder), Won)
    alive("w2")
    done = run("claim", "repo-x", "--session", "w2")
    first, told = done.stderr.splitlines()[0], facts(done.stderr)
    assert (done.returncode, first) == (1, "claim repo-x: held by live session 'far'")
    assert "it promised no heartbeat" in told["evidence"]
    assert told["end"] == "if it is gone for good: looop break repo-x --generation 1 --reason TEXT"


@pytest.mark.parametrize(("state", "code"), [("running", 1), ("exited", 0)])
def test_a_lease_that_looop_wrote_is_judged_by_its_session(
    run: Run, alive: Living, data_dir: Path, state: str, code: int
) -> None:
    alive("w2")
    foreign = data_dir / "sessions" / "w1"
    foreign.mkdir()
    (foreign / "meta.json").write_text(json.dumps({"babysit_pid": os.getpid(), "started_at": "2026-01-01T00:00:00Z"}))
    (foreign / "status.json").write_text(json.dumps({"state": state}))
    (data_dir / "claims").mkdir()
    (data_dir / "claims" / "repo-x.json").write_text('{"session": "w1", "name": "repo-x"}')
    done = run("claim", "repo-x", "--session", "w2")
    assert done.returncode == code
    assert (done.stdout or done.stderr.splitlines()[0]) == (
        "claim repo-x: held by live session 'w1'" if code else "claimed repo-x\n"
    )


def test_as_a_process_it_says_the_same(looop: Run, alive: Living) -> None:
    alive("w1")
    alive("w2")
    assert said(looop("claim", "repo-x", "--session", "w1")) == (0, "claimed repo-x\n", "")
    assert said(looop("_", "claim", "repo-x", "--session", "w1")) == (0, "", "")
    refused = looop("claim", "repo-x", "--session", "w2")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[0] == "claim repo-x: held by live session 'w1'"
    refused = looop("_", "unclaim", "repo-x", "--session", "w2")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[0] == "unclaim repo-x: held by another live session 'w1'"
    assert said(looop("unclaim", "repo-x", "--session", "w1")) == (0, "", "")
    assert said(looop("claim", "a/b", "--session", "w1"))[0] == 2


def test_one_of_several_processes_that_claim_at_once_wins(alive: Living) -> None:
    sessions = ["w1", "w2", "w3", "w4"]
    for session in sessions:
        alive(session)
    command = [sys.executable, "-m", "looop_portable", "claim", "repo-x", "--session"]
    claimers = [subprocess.Popen([*command, each], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for each in sessions]
    found = [(*claimer.communicate(timeout=60), claimer.returncode) for claimer in claimers]
    assert sorted(code for _, _, code in found) == [0, 1, 1, 1]
    winner = next(session for session, (_, _, code) in zip(sessions, found, strict=True) if code == 0)
    refusal = f"claim repo-x: held by live session '{winner}'".encode()
    assert all(err.splitlines()[0] == refusal for _, err, code in found if code)
    assert all(out.splitlines() == [b"claimed repo-x"] for out, _, code in found if not code)
