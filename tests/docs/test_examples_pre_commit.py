"""The hook of examples/pre-commit, with the real pre-commit, in a repository of its own. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.capabilities import needs_sh, program_or_skip
from support.commands import command_directory

CONFIGURATION = Path(__file__).parents[2] / "examples" / "pre-commit" / ".pre-commit-config.yaml"
MAKE = """
mkdir "$INSIDE" || { echo overlap >> "$MADE"; exit 1; }
echo "$1 $LOOOP_CLAIM_GENERATION" >> "$MADE"
sleep 0.3
rmdir "$INSIDE"
"""

pytestmark = needs_sh


class Repository:
    """With a second worktree; `make` says in `made` that it ran, and whether two of it ran at once."""

    def __init__(self, where: Path) -> None:
        for program in ("git", "pre-commit"):
            program_or_skip(program)
        self.made = where / "made"
        programs = command_directory(where, make=MAKE)
        self.environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(where),
            "LOOOP_DATA_DIR": str(where / "data"),
            "LOOOP_LEASE": "0",
            "MADE": str(self.made),
            "INSIDE": str(where / "inside"),
            "PRE_COMMIT_HOME": str(where / "pre-commit"),
            "GIT_CONFIG_GLOBAL": str(where / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        (where / "gitconfig").write_text("[user]\nname = A\nemail = a@example.org\n")
        self.worktrees = [where / "one", where / "two"]
        self.worktrees[0].mkdir()
        self.configuration = self.worktrees[0] / CONFIGURATION.name
        shutil.copy(CONFIGURATION, self.configuration)
        self.run("git", "init", "-q")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "The hook")
        self.run("git", "worktree", "add", "-q", str(self.worktrees[1]))
        self.run("pre-commit", "install")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.worktrees[0], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def commit(self, worktree: Path) -> subprocess.Popen[str]:
        command = ["git", "commit", "-q", "--allow-empty", "-m", "More"]
        environment = {**self.environment, "PRE_COMMIT_ALLOW_NO_CONFIG": "0"}
        return subprocess.Popen(
            command, cwd=worktree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def has_made(self) -> list[str]:
        return self.made.read_text().splitlines() if self.made.exists() else []


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_two_worktrees_that_commit_at_once_take_turns(repository: Repository) -> None:
    for worktree in repository.worktrees:
        (worktree / "file").write_text("text\n")
        subprocess.run(["git", "add", "file"], cwd=worktree, env=repository.environment, check=True)
    commits = [repository.commit(worktree) for worktree in repository.worktrees]
    said = [commit.communicate(timeout=120)[0] for commit in commits]
    assert [commit.returncode for commit in commits] == [0, 0], said
    first, second = repository.has_made()
    assert first == "test 1"
    assert second in ("test 3", "test 2"), "after a release; or taken over, between the end of the session and its release"


def test_a_commit_fails_where_the_turn_does_not_come_and_says_who_has_it(repository: Repository) -> None:
    text = repository.configuration.read_text(encoding="utf-8")
    assert "--timeout 30m" in text
    repository.configuration.write_text(text.replace("--timeout 30m", "--timeout 100ms"))
    repository.run("git", "add", "-A")
    repository.run("looop", "claim", "my-project-tests", "--session", "other", "--ttl", "1h")
    commit = repository.commit(repository.worktrees[0])
    said = commit.communicate(timeout=120)[0]
    assert commit.returncode == 1
    assert "held by live session 'other'" in said
    assert repository.has_made() == []


def test_it_says_what_it_is_and_how_to_install_it() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert text.startswith("# A hook of pre-commit")
    assert "# To install it" in text.partition("\nrepos:")[0]
