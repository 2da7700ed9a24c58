"""The completion files of the wheel, each loaded by its own shell from where that shell looks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from completions import completions
from support.capabilities import needs_sh, program_or_skip
from support.commands import command_directory

FILES = completions()
BASH, ZSH, FISH = (next(place for place in FILES if shell in place) for shell in ("bash", "zsh", "fish"))
ZSH_COMPLETES = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1= PS2= RPS1= ; fpath=($1 \\$fpath); autoload -U compinit; compinit -u -D"
zpty -w shell "bindkey '^I' complete-word; zle_done() { print -r -- \\"<\\$BUFFER>\\"; zle kill-whole-line }"
zpty -w shell "zle -N zle_done; bindkey '^X' zle_done; print -r -- read'y'"
zpty -r -m shell seen '*ready*' || exit 1
zpty -w -n shell $'looop session ren\\t\\x18'
zpty -r -m shell seen '*<looop*>*' || exit 1
print -r -- "$seen"
"""

pytestmark = needs_sh


@pytest.fixture
def share(tmp_path: Path) -> Path:
    for place, text in FILES.items():
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(text, encoding="utf-8")
    return tmp_path / "share"


def environment_of(share: Path) -> dict[str, str]:
    path = os.pathsep.join([str(command_directory(share.parent)), os.environ["PATH"]])
    home = {"HOME": str(share.parent), "LOOOP_DATA_DIR": str(share.parent / "data")}
    return {**os.environ, **home, "PATH": path, "XDG_DATA_DIRS": str(share), "TERM": "dumb"}


def said(share: Path, *command: str) -> str:
    program_or_skip(command[0])
    done = subprocess.run(
        command,
        env=environment_of(share),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(("place", "shell"), [(BASH, "bash"), (ZSH, "zsh"), (FISH, "fish")])
def test_a_file_is_what_the_command_prints(share: Path, place: str, shell: str) -> None:
    environment = environment_of(share)
    program = shutil.which("looop", path=environment["PATH"])
    assert program
    printed = subprocess.run([program, "completion", shell], env=environment, capture_output=True, text=True, check=True)
    assert FILES[place].strip() == printed.stdout.strip()


def test_bash_completes(share: Path) -> None:
    words = "COMP_WORDS=(looop session ren) COMP_CWORD=2; _looop_completion looop; printf '%s\\n' \"${COMPREPLY[@]}\""
    assert said(share, "bash", "--norc", "-c", f'. "{share.parent / BASH}" && {words}') == "renew\n"


def test_zsh_completes(share: Path) -> None:
    assert "<looop session renew >" in said(
        share, "zsh", "-f", "-c", ZSH_COMPLETES, "zsh", str((share.parent / ZSH).parent)
    )


def test_fish_completes(share: Path) -> None:
    offered = said(share, "fish", "-c", "complete -C 'looop session ren'")
    assert [line.partition("\t")[0] for line in offered.splitlines()] == ["renew"]
