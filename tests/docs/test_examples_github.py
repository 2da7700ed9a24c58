"""The action and the workflow of examples/github: their lines run as a runner runs them, and zizmor has nothing to say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import BASH, needs_bash, needs_yaml, program_or_skip
from support.commands import command_directory

ROOT = Path(__file__).parents[2]
ACTION, WORKFLOW = (ROOT / "examples" / "github" / name for name in ("action.yml", "deploy.yml"))
GITHUB = {"github.repository": "us/site", "github.run_id": "4711", "github.run_attempt": "1"}
MAKE = """
echo "$1: $(looop claims -o name | tr '\\n' ' ')" >> "$MADE"
test "$1" != broken
"""

pytestmark = [needs_yaml, needs_bash]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = import_module("yaml").safe_load(path.read_text(encoding="utf-8"))
    return found


class Runner:
    """Runs steps as GitHub's runner does: each in a bash of its own, with files for what goes on to the next ones."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.made = where / "made"
        programs = command_directory(where, make=MAKE)
        self.environment = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(where),
            "LOOOP_DATA_DIR": str(where / "data"),
            "LOOOP_LEASE": "0",
            "MADE": str(self.made),
        }
        self.outputs: dict[str, str] = {}

    def step(self, step: Mapping[str, Any], values: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """`values` are those of the expressions, which stand in `env` alone: in `run` they would be code."""
        assert "${{" not in step["run"]
        files = {name: self.where / name for name in ("GITHUB_ENV", "GITHUB_OUTPUT")}
        for file in files.values():
            file.write_text("")
        given = {name: filled(str(value), values) for name, value in step.get("env", {}).items()}
        script = self.where / "step.sh"
        script.write_text(step["run"])
        done = subprocess.run(
            [BASH, "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            env={**self.environment, **{name: str(file) for name, file in files.items()}, **given},
            cwd=self.where,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.environment |= pairs_in(files["GITHUB_ENV"])
        self.outputs |= pairs_in(files["GITHUB_OUTPUT"])
        return done

    def looop(self, *args: str) -> str:
        done = subprocess.run(["looop", *args], env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def has_made(self) -> list[str]:
        return [line.strip() for line in self.made.read_text().splitlines()] if self.made.exists() else []


def filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: values[found[1]], text)


def pairs_in(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def run_the_action(runner: Runner, **inputs: str) -> subprocess.CompletedProcess[str]:
    action = read(ACTION)
    missing = {name for name, of in action["inputs"].items() if of.get("required")} - {*inputs}
    assert not missing
    assert {*inputs} <= {*action["inputs"]}
    given = {name: of.get("default", "") for name, of in action["inputs"].items()} | inputs
    (step,) = action["runs"]["steps"]
    assert step["shell"] == "bash"
    return runner.step(step, GITHUB | {f"inputs.{name}": value for name, value in given.items()})


def test_the_lines_of_the_action_run_while_the_claim_is_held(runner: Runner) -> None:
    done = run_the_action(runner, claim="production", run="make one\nmake two")
    assert (done.returncode, runner.has_made()) == (0, ["one: production", "two: production"]), done.stderr
    assert runner.outputs == {"generation": "1"}
    assert read(ACTION)["outputs"]["generation"]["value"] == "${{ steps.run.outputs.generation }}"
    assert runner.looop("claims") == ""


def test_the_action_fails_where_its_lines_fail_and_lets_go(runner: Runner) -> None:
    done = run_the_action(runner, claim="production", run="make broken\nmake two")
    assert (done.returncode, runner.has_made()) == (1, ["broken: production"])
    assert runner.looop("claims") == ""


def test_the_action_runs_nothing_where_another_holds_the_claim(runner: Runner) -> None:
    runner.looop("claim", "production", "--session", "other", "--ttl", "1h")
    done = run_the_action(runner, claim="production", run="make one", wait="100ms")
    assert (done.returncode, runner.has_made()) == (124, [])
    assert "held by live session 'other'" in done.stderr


def test_an_input_is_no_code(runner: Runner) -> None:
    done = run_the_action(runner, claim='x"; touch pwned; "$(touch pwned)', run="make one")
    assert (done.returncode, len(runner.has_made())) == (0, 1)
    assert not (runner.where / "pwned").exists()


def test_the_runners_share_the_directory_that_the_action_is_given(runner: Runner, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    runner.looop("claim", "production", "--session", "other", "--ttl", "1h", "--data-dir", shared)
    done = run_the_action(runner, claim="production", run="make one", wait="0", **{"data-dir": shared})
    assert (done.returncode, runner.has_made()) == (1, [])


def steps_of(job: str) -> list[dict[str, Any]]:
    return [step for step in read(WORKFLOW)["jobs"][job]["steps"] if "run" in step]


def test_the_steps_of_the_workflow_hold_a_claim_together_and_then_let_go(runner: Runner) -> None:
    runner.environment["LOOOP_DATA_DIR"] = str(runner.where / "shared")
    assert [runner.step(step, GITHUB).returncode for step in steps_of("migrate")] == [0, 0, 0, 0]
    assert runner.has_made() == ["backup: database", "migrate: database"]
    assert runner.looop("claims") == ""
    assert steps_of("migrate")[-1]["if"] == "always()"


def test_a_workflow_whose_session_is_over_does_not_migrate(runner: Runner) -> None:
    take, backup, migrate, release = steps_of("migrate")
    runner.step(take, GITHUB)
    runner.step(backup, GITHUB)
    runner.looop("session", "stop", "github-4711-1")
    assert runner.step(migrate, GITHUB).returncode == 2
    assert runner.has_made() == ["backup: database"]
    assert runner.step(release, GITHUB).returncode == 0


def test_the_workflow_gives_the_action_what_it_takes(runner: Runner) -> None:
    (step,) = [step for step in read(WORKFLOW)["jobs"]["deploy"]["steps"] if step.get("name") == "Deploy"]
    assert run_the_action(runner, **step["with"]).returncode == 0
    assert runner.has_made() == ["deploy: production"]


@pytest.mark.parametrize("path", [ACTION, WORKFLOW], ids=lambda path: path.name)
def test_zizmor_has_nothing_to_say(path: Path) -> None:
    command = [program_or_skip("zizmor"), "--offline", "--persona", "pedantic", "--quiet", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [ACTION, WORKFLOW], ids=lambda path: path.name)
def test_it_says_what_it_is_and_how_to_install_it(path: Path) -> None:
    head = re.match(r"(?:#.*\n)+", path.read_text(encoding="utf-8"))
    assert head
    assert "To install it" in head[0]
