"""What the command says of itself: help, exit codes, version, paths and shell completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import BASH, NATIVE, needs_bash, needs_names_of_any_character

import looop_portable
from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

VERBS = [
    "claim",
    "unclaim",
    "run",
    "wait",
    "check",
    "transfer",
    "claims",
    "show",
    "watch",
    "queue",
    "events",
    "session",
    "break",
    "reap",
    "prune",
    "adopt",
    "doctor",
    "paths",
    "completion",
]


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_documents_every_exit_code_option_and_verb(run: Run, option: str) -> None:
    code, out, err = said(run(option))
    assert (code, err) == (0, "")
    section = out.split("Exit codes:\n")[1].split("\n\n")[0]
    lines = [line.split(maxsplit=1) for line in section.splitlines()]
    told = dict(lines)
    assert {int(each) for each in told} == {0, 1, 2, 3, 124, 130}
    assert "held by another" in told["1"]
    assert "no session" in told["2"]
    assert "could not answer" in told["3"]
    sections = out.split("\nClaims:\n")[1]
    assert re.findall(r"^  (\S+)  +[A-Z].*\.$", sections, re.MULTILINE) == VERBS
    assert {"--data-dir", "--backend", "--json", "--verbose", "--version", "--help"} <= set(re.findall(r"--[a-z-]+", out))
    assert {"$LOOOP_DATA_DIR", "$LOOOP_BACKEND", "$LOOOP_SESSION_ID"} <= set(re.findall(r"\$[A-Z_]+", out))


@pytest.mark.parametrize(
    "verb", [*VERBS, "session start", "session keep", "session stop", "session list", "_", "_ claim", "_ unclaim"]
)
def test_every_verb_has_help(run: Run, data_dir: Path, verb: str) -> None:
    code, out, err = said(run(*verb.split(), "--help"))
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: looop {verb} ")
    assert not data_dir.exists()


@pytest.mark.parametrize("group", [(), ("session",), ("_",)], ids=["looop", "session", "worker contract"])
def test_without_a_verb_help_is_shown_as_help_is(run: Run, group: tuple[str, ...]) -> None:
    bare, asked = run(*group), run(*group, "--help")
    assert (bare.stdout or bare.stderr) == asked.stdout


def test_the_version_is_the_packages(run: Run) -> None:
    assert said(run("--version")) == (0, f"looop-portable {looop_portable.__version__}\n", "")


def test_paths_follow_the_environment_and_the_option_beats_it(run: Run, data_dir: Path, tmp_path: Path) -> None:
    def expected(directory: Path) -> str:
        root = directory.as_posix()
        return f"data_dir  {root}\nclaims    {root}/claims\nsessions  {root}/sessions\nevents    {root}/events.jsonl\n"

    assert said(run("paths")) == (0, expected(data_dir), "")
    assert said(run("--data-dir", str(tmp_path / "other"), "paths")) == (0, expected(tmp_path / "other"), "")
    assert not data_dir.exists()
    assert not (tmp_path / "other").exists()


def test_a_relative_data_dir_is_told_in_full(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--data-dir", "here", "paths").stdout.splitlines()[0] == f"data_dir  {Path.cwd().as_posix()}/here"


@pytest.mark.skipif(sys.platform != "linux", reason="no XDG base directories")
def test_the_default_is_the_users_state_directory(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOOP_DATA_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run("paths").stdout.splitlines()[0] == f"data_dir  {tmp_path}/state/looop"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run("paths").stdout.splitlines()[0] == f"data_dir  {tmp_path}/home/.local/state/looop"
    monkeypatch.setenv("LOOOP_DATA_DIR", "")
    assert run("paths").stdout.splitlines()[0] == f"data_dir  {tmp_path}/home/.local/state/looop"


def test_a_store_that_would_be_another_one_elsewhere_is_refused_but_help_needs_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for there in ("~/store", "store"):
        monkeypatch.setenv("LOOOP_DATA_DIR", there)
        for args in (("claims",), ("claim", "x", "--session", "w"), ("paths",), ("run", "--claim", "x", "--", "true")):
            code, out, err = said(run(*args))
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert "--data-dir or LOOOP_DATA_DIR" in err
        assert run("claim", "--help").returncode == 0
    assert said(run("--data-dir", "~/store", "claims"))[0] == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shell", "word"),
    [
        ("bash", "complete -o"),
        ("zsh", "#compdef looop"),
        ("fish", "complete --no-files"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName looop, looop.exe"),
    ],
)
def test_each_shell_has_its_completion_script(run: Run, shell: str, word: str) -> None:
    code, out, _ = said(run("completion", shell))
    assert code == 0
    assert word in out
    assert f"_LOOOP_COMPLETE={shell}_complete" in out


def test_a_shell_without_completion_is_usage(run: Run) -> None:
    code, out, err = said(run("completion", "tcsh"))
    assert (code, out, err.count("\n")) == (2, "", 1)


@needs_bash
def test_bash_takes_its_completion_script() -> None:
    script = f'eval "$("{sys.executable}" -m looop_portable completion bash)" && complete -p looop'
    done = subprocess.run([BASH, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith(" looop")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("looop cl", ["claim", "claims"]),
        ("looop session st", ["start", "stop"]),
        ("looop unclaim repo", ["repo-a", "repo-b"]),
        ("looop session stop w", ["w1"]),
        ("looop completion z", ["zsh"]),
    ],
)
def test_verbs_claims_and_sessions_are_offered(run: Run, looop: Run, alive: Living, words: str, offered: list[str]) -> None:
    alive("w1")
    for name in ("repo-a", "repo-b", "other"):
        run("claim", name, "--session", "w1")
    count = str(len(words.split()) - 1)
    done = looop(env={**os.environ, "_LOOOP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count})
    assert done.stdout.splitlines() == [f"plain,{each}" for each in offered]


@pytest.mark.parametrize(
    ("typed", "word", "offered"),
    [
        ("looop cl", "cl", ["claim", "claims"]),
        ("looop ", "", ["claim", "unclaim", "run"]),
        ("looop.exe session stop w", "w", ["w1"]),
        (r"looop --data-dir C:\no\such unclaim r", "r", []),
        ("looop --data-dir '{}' unclaim r", "r", ["repo-a"]),
        ('looop --data-dir "{}" unclaim ', "", ["repo-a"]),
        ("looop unclaim --data-dir '{}' r", "r", ["repo-a"]),
        (r"looop unclaim --data-dir C:\no\such r", "r", []),
        ("looop claim --wait 5m r", "r", ["repo-a"]),
        ("looop claim --wait 5min r", "r", ["repo-a"]),
        ("looop unclaim 'rep", "'rep", ["repo-a"]),
        ("looop completion p", "p", ["powershell"]),
    ],
)
def test_powershell_is_offered_what_others_are(
    run: Run, looop: Run, alive: Living, data_dir: Path, typed: str, word: str, offered: list[str]
) -> None:
    """It hands over what was typed: with its own quotes, and backslashes that are backslashes."""
    alive("w1")
    run("claim", "repo-a", "--session", "w1")
    words = {"COMP_WORDS": typed.format(data_dir), "COMP_CWORD": word, "_LOOOP_COMPLETE": "powershell_complete"}
    done = looop(env={**os.environ, **words})
    assert done.stderr == ""
    assert done.stdout.split()[:3] == [f"plain,{each}" for each in offered]


def test_a_store_that_cannot_be_read_offers_nothing(looop: Run, data_dir: Path) -> None:
    data_dir.write_text("not a directory")
    for words in ("looop unclaim r", "looop session stop w", "looop --backend nonsense unclaim r"):
        count = str(len(words.split()) - 1)
        done = looop(env={**os.environ, "_LOOOP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count})
        assert (done.stdout.strip(), done.stderr) == ("", "")


@needs_names_of_any_character
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_name_is_offered_if_it_is_a_plain_word(looop: Run, data_dir: Path, shell: str) -> None:
    """Bash puts it on the command line as it is."""
    hostile = ["a$(touch pwned)", "a`id`", "a;b", "a b", "a'b", 'a"b', "a&b", "a|b", "a>b", "a*", "a{b,c}", "a#b", "a!b"]
    hostile += ["a\x1b[2J", "a\nb", "a?", "a[b]", "a(b)", "a^b", "a~", "-a", "~a", "=a", "$a"]
    claims = Claims.open(str(data_dir), NATIVE)
    for name in [*hostile, "a-b", "a.b_1", "a@b", "a+b=c", "a%"]:
        claims.claim(name, "gone")
    words = {"COMP_WORDS": "looop unclaim a", "COMP_CWORD": "a" if shell == "fish" else "2"}
    done = looop(env={**os.environ, **words, "_LOOOP_COMPLETE": f"{shell}_complete"})
    offered = set(re.findall(r"[^\n,]+", done.stdout)) - {"plain", "_"}
    assert offered == {"a-b", "a.b_1", "a@b", "a+b=c", "a%"}
