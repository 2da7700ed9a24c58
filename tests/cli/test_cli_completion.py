"""What is offered behind the verbs and options that there are: in each shell the same; and in PowerShell itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import PWSH, needs_pwsh, needs_sh
from support.commands import command_directory

from looop_portable.cli.root import SECTIONS

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

OFFERED = {
    "looop claim --wait r": ["repo-a"],
    "looop claim --wait 5m r": ["repo-a"],
    "looop claim --note two r": ["repo-a"],
    "looop claims r": ["repo-a"],
    "looop claims --session w": ["w1"],
    "looop claims -o p": ["prometheus"],
    "looop claims --js": ["--json"],
    "looop claim --back": ["--backend"],
    "looop session stop --data": ["--data-dir"],
    "looop events --claim r": ["repo-a"],
    "looop unclaim --pattern r": ["repo-a"],
    "looop break --pattern r": ["repo-a"],
    "looop run --claim r": ["repo-a"],
    "looop wait r": ["repo-a"],
    "looop queue r": ["repo-a"],
    "looop transfer repo-a --to w": ["w1"],
    "looop session renew w": ["w1"],
    "looop session ren": ["renew"],
}


@pytest.fixture
def held(run: Run, alive: Living) -> None:
    alive("w1")
    assert run("claim", "repo-a", "--session", "w1").returncode == 0


def offered(looop: Run, shell: str, words: dict[str, str]) -> list[str]:
    done = looop(env={**os.environ, **words, "_LOOOP_COMPLETE": f"{shell}_complete"})
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("typed", OFFERED)
@pytest.mark.parametrize("shell", ["bash", "powershell"])
def test_what_is_there_is_offered(looop: Run, held: None, shell: str, typed: str) -> None:
    last = typed.rpartition(" ")[2]
    count = last if shell == "powershell" else str(len(typed.split()) - 1)
    assert offered(looop, shell, {"COMP_WORDS": typed, "COMP_CWORD": count}) == OFFERED[typed]


@pytest.mark.parametrize("verb", [verb for verbs in SECTIONS.values() for verb in verbs])
def test_each_verb_is_offered(looop: Run, verb: str) -> None:
    assert verb in offered(looop, "powershell", {"COMP_WORDS": f"looop {verb[:2]}", "COMP_CWORD": verb[:2]})


def test_powershell_replaces_the_whole_word(looop: Run, held: None) -> None:
    words = {"COMP_WORDS": "looop claim --session=w", "COMP_CWORD": "--session=w"}
    assert offered(looop, "powershell", words) == ["--session=w1"]


@needs_pwsh
@needs_sh
@pytest.mark.parametrize("typed", OFFERED)
def test_in_powershell_itself(held: None, tmp_path: Path, typed: str) -> None:
    path = os.pathsep.join([str(command_directory(tmp_path)), os.environ["PATH"]])
    lines = [
        "looop completion powershell | Out-String | Invoke-Expression",
        f"(TabExpansion2 -inputScript '{typed}' -cursorColumn {len(typed)}).CompletionMatches.CompletionText",
    ]
    command = [PWSH, "-NoProfile", "-NonInteractive", "-Command", "; ".join(lines)]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, OFFERED[typed]), done.stderr
