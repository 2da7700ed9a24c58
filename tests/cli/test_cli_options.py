"""Options of all verbs: before and after the verb, durations, --quiet, and what people type who know other tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

PRINTS = (sys.executable, "-I", "-S", "-c", "print('ran')")


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def held(alive: Living) -> str:
    """A claim that w1 holds."""
    alive("w1")
    Claims.open().claim("repo-x", "w1")
    return "repo-x"


# Durations.


@pytest.mark.parametrize(
    "words",
    [
        ("repo-x", "--wait", "200ms"),
        ("repo-x", "--wait", "0.2"),
        ("--wait", "0.2s", "repo-x"),
        ("repo-x", "--wait=0.2"),
        ("repo-x", "--wait", "--timeout", "0.2"),
        ("repo-x", "--wait", "1h", "--timeout", "0.2s"),
        ("repo-x", "--timeout", "0.2s", "--wait", "1h30m"),
    ],
    ids=" ".join,
)
def test_claim_waits_as_long_as_it_is_told(run: Run, held: str, words: tuple[str, ...]) -> None:
    code, out, err = said(run("claim", "--session", "w2", *words))
    assert (code, out) == (124, "")
    assert err.endswith("waited in vain\n")
    assert list(Claims.open().backend.claims()) == [held]


@pytest.mark.parametrize("words", [("--wait", "0.1"), ("--wait=100ms",), ("-w", "0.1s"), ("-w0.1",)], ids=" ".join)
def test_run_waits_as_long_as_it_is_told_and_runs_nothing_else(looop: Run, held: str, words: tuple[str, ...]) -> None:
    code, out, err = said(looop("run", "--claim", held, *words, "--", *PRINTS))
    assert (code, out) == (124, "")
    assert err.endswith("waited in vain\n")


def test_a_name_behind_wait_is_a_name(run: Run, alive: Living) -> None:
    alive("w2")
    assert said(run("claim", "--wait", "repo-y", "--session", "w2")) == (0, "claimed repo-y\n", "")
    assert said(run("claim", "--wait", "--session", "w2", "--", "5")) == (0, "claimed 5\n", "")


def test_the_value_of_another_option_is_no_option(run: Run, alive: Living) -> None:
    alive("w2")
    code, _, err = said(run("break", "repo-y", "--generation", "5", "--reason", "--json"))
    assert (code, err.count("\n"), "{" in err) == (1, 1, False)


@pytest.mark.parametrize("option", ["--lease", "LOOOP_LEASE"])
@pytest.mark.parametrize(("value", "seconds"), [("5m", 300), ("1h30m", 5400), ("90", 90)])
def test_a_lease_is_a_duration(run: Run, monkeypatch: pytest.MonkeyPatch, option: str, value: str, seconds: int) -> None:
    words: tuple[str, ...] = (option, value)
    if not option.startswith("--"):
        monkeypatch.setenv(option, value)
        words = ()
    code, out, err = said(run("--json", "session", "start", "w9", "--pid", str(os.getpid()), *words))
    assert (code, err) == (0, "")
    assert json.loads(out)["lease"] == seconds
    assert run("session", "stop", "w9").returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("claim", "x", "--wait=", "--session", "w"),
        ("claim", "x", "--timeout", "5 minutes", "--session", "w"),
        ("run", "--wait=1y", "--", "true"),
        ("session", "start", "--lease", "3.5s"),
        ("session", "start", "--lease", "1s"),
        ("session", "start", "--lease", "9999w"),
        ("reap", "--watch", "0"),
        ("doctor", "--seconds", "nan"),
        ("doctor", "--timeout", "2d"),
    ],
    ids=" ".join,
)
def test_what_is_no_duration_here_is_one_line_of_usage(run: Run, words: tuple[str, ...], data_dir: Path) -> None:
    code, out, err = said(run(*words))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not data_dir.exists()


# Where options stand.


def test_the_options_of_all_verbs_may_stand_behind_the_verb(run: Run, alive: Living, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    alive("w2")
    assert run("claim", "repo-y", "--data-dir", elsewhere, "--session", "w2").returncode == 0
    assert json.loads(run("claims", "--data-dir", elsewhere, "--json").stdout)["name"] == "repo-y"
    assert run("claims").stdout == ""
    code, _, err = said(run("claims", "--backend", "nonsense"))
    assert (code, "nonsense" in err) == (2, True)
    assert "backend " in run("claims", "-v").stderr


def test_what_stands_behind_the_verb_counts(run: Run, tmp_path: Path) -> None:
    found = run("--data-dir", str(tmp_path / "one"), "paths", "--data-dir", str(tmp_path / "two")).stdout
    assert (tmp_path / "two").as_posix() in found
    assert (tmp_path / "one").as_posix() not in found


@pytest.mark.parametrize("word", ["--json", "-v", "--wait", "-q", "--data-dir"])
def test_what_stands_behind_the_command_of_run_is_the_commands(looop: Run, word: str) -> None:
    shows = (sys.executable, "-I", "-S", "-c", "import sys; print(sys.argv[1:])")
    assert said(looop("run", "--", *shows, word, "5")) == (0, f"['{word}', '5']\n", "")
    assert said(looop("run", *shows, word, "5")) == (0, f"['{word}', '5']\n", "")


# Nothing to say.


@pytest.mark.parametrize(
    "quiet", [lambda words: ("-q", *words), lambda words: (*words, "--quiet")], ids=["before", "behind"]
)
def test_quiet_leaves_it_to_the_exit_code(run: Run, held: str, quiet: Callable[..., tuple[str, ...]]) -> None:
    assert said(run(*quiet(("claim", held, "--session", "w2")))) == (1, "", "")
    assert said(run(*quiet(("claim", "repo-y", "--session", "w1")))) == (0, "", "")
    assert said(run(*quiet(("unclaim", held, "--session", "w2")))) == (1, "", "")
    assert said(run(*quiet(("check", held, "--generation", "7")))) == (1, "", "")


def test_quiet_says_what_is_wrong(run: Run, data_dir: Path) -> None:
    assert run("-q", "claim", "a/b", "--session", "w").stderr.count("\n") == 1
    assert "not registered" in run("-q", "claim", "repo-x", "--session", "stranger").stderr
    data_dir.rename(data_dir.with_name("gone"))
    data_dir.write_text("a file")
    code, _, err = said(run("-q", "claims"))
    assert (code, err.count("\n")) == (3, 1)


@pytest.mark.parametrize("words", [(), ("--timeout", "0.1"), ("-w", "0.1"), ("-n",)], ids=" ".join)
def test_a_skipped_run_says_nothing_where_its_code_is_0(looop: Run, held: str, words: tuple[str, ...]) -> None:
    assert said(looop("run", "--claim", held, "-E", "0", *words, "--", *PRINTS)) == (0, "", "")


@pytest.mark.parametrize("words", [(), ("--timeout", "0.1"), ("-w", "0.1"), ("-n",), ("-xn",)], ids=" ".join)
def test_the_code_of_a_conflict_is_that_of_the_time_that_is_over_too(looop: Run, held: str, words: tuple[str, ...]) -> None:
    code, out, err = said(looop("run", "--claim", held, *words, "-E", "75", "--", *PRINTS))
    assert (code, out) == (75, "")
    assert err.startswith(f"run {held}: held by live session 'w1'")
    assert said(looop("run", "--claim", held, "-q", *words, "-E", "75", "--", *PRINTS)) == (75, "", "")


def test_as_in_flock_n_does_not_wait(looop: Run, held: str) -> None:
    code, out, err = said(looop("run", "-n", "-w", "1h", "--claim", held, "--", *PRINTS))
    assert (code, out, "waited" in err) == (1, "", False)
    assert said(looop("run", "-x", "-n", "--claim", "repo-y", "--", *PRINTS)) == (0, "ran\n", "")


# Words of other tools.


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ls", "looop claims"),
        ("lock", "looop claim NAME"),
        ("release", "looop unclaim NAME"),
        ("status", "looop show NAME"),
        ("log", "looop events"),
        ("handover", "looop transfer"),
        ("waiters", "looop queue"),
        ("sessions", "looop session list"),
        ("help", "looop --help"),
        ("clam", "`looop claim`"),
        ("evnts", "`looop events`"),
        ("session ls", "looop session list"),
        ("session strat", "`looop session start`"),
        ("claim x --sesion w", "--session"),
    ],
)
def test_a_user_of_another_tool_is_told_the_right_word(run: Run, typed: str, meant: str) -> None:
    code, out, err = said(run(*typed.split()))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert meant in err


def test_what_is_like_nothing_is_told_where_to_look(run: Run) -> None:
    assert run("xyzzy").stderr == "looop: there is no verb 'xyzzy' (see `looop --help`)\n"
    assert "see `looop claim --help`" in run("claim").stderr
