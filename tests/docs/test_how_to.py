"""What the how-to pages show that no shell reads: files of CI services, of systemd and of Kubernetes."""

from __future__ import annotations

import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import BASH, needs_bash, needs_sh, needs_yaml
from support.commands import command_directory
from support.pages import blocks_of

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
UNITS = ROOT / "examples" / "systemd"
MAKE = 'echo "$1: $(looop claims -o name)" >> "$MADE"'
YAML = [
    (page.name, block.line, block.text)
    for page in sorted(HOW_TO.glob("*.md"))
    for block in blocks_of(page)
    if block.language == "yaml"
]


def shown(page: str, file: str) -> str:
    """The file that a page shows."""
    (text,) = [block.text for block in blocks_of(HOW_TO / page) if block.says.get("file") == file]
    return text


def read(text: str) -> Any:
    return import_module("yaml").safe_load(text)


def steps_of_github() -> list[str]:
    (job,) = read(shown("ci-steps.md", ".github/workflows/migrate.yml"))["jobs"].values()
    return [step["run"] for step in job["steps"]]


def steps_of_gitlab() -> list[str]:
    (job,) = read(shown("ci-steps.md", ".gitlab-ci.yml")).values()
    return ["\n".join(job["script"]), "\n".join(job["after_script"])]


def steps_of_jenkins() -> list[str]:
    return re.findall(r"\bsh '(.*?)'", shown("ci-steps.md", "Jenkinsfile"))


@needs_yaml
@needs_bash
@pytest.mark.parametrize("steps", [steps_of_github, steps_of_gitlab, steps_of_jenkins])
def test_the_steps_of_ci_hold_a_claim_together_and_then_let_go(steps: Any, tmp_path: Path) -> None:
    environment = {
        "PATH": f"{command_directory(tmp_path, make=MAKE)}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LOOOP_DATA_DIR": str(tmp_path / "data"),
        "LOOOP_SESSION_ID": "ci-4711",
        "MADE": str(tmp_path / "made"),
    }
    for step in steps():
        subprocess.run([BASH, "--noprofile", "--norc", "-eo", "pipefail", "-c", step], env=environment, check=True)
    made = (tmp_path / "made").read_text().splitlines()
    assert made
    assert all(line.endswith(": database") for line in made)
    left = subprocess.run(["looop", "claims"], env=environment, capture_output=True, text=True, check=True)
    assert left.stdout == ""


@needs_yaml
@pytest.mark.parametrize(("page", "line", "text"), YAML, ids=[f"{page}-{line}" for page, line, _ in YAML])
def test_yaml_can_be_read(page: str, line: int, text: str) -> None:
    documents = list(import_module("yaml").safe_load_all(text))
    assert documents
    assert all(isinstance(document, dict) for document in documents), f"{page}, line {line}"


def test_the_unit_that_is_shown_is_that_of_the_examples() -> None:
    lines = shown("cron-and-timers.md", "units/looop-job@.service").split("\n")
    there = (UNITS / "looop-job@.service").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and line not in there] == []
    assert sum("=" in line for line in lines) > 8


def test_the_hook_that_is_shown_is_that_of_the_examples() -> None:
    there = (ROOT / "examples" / "pre-commit" / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert shown("agents.md", ".pre-commit-config.yaml").strip() == re.sub(r"^#.*\n", "", there, flags=re.MULTILINE).strip()


@needs_yaml
@needs_sh
def test_the_command_of_the_cron_job_runs_while_it_holds_its_claim(tmp_path: Path) -> None:
    volume, job = import_module("yaml").safe_load_all(shown("containers.md", "nightly.yaml"))
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mounted,) = container["volumeMounts"]
    assert container["env"] == [{"name": "LOOOP_DATA_DIR", "value": mounted["mountPath"]}]
    assert [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"]] == [volume["metadata"]["name"]]
    programs = command_directory(tmp_path, backup='looop check nightly --generation "$LOOOP_CLAIM_GENERATION"')
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "LOOOP_DATA_DIR": str(tmp_path / "claims")}
    done = subprocess.run(container["command"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is current" in done.stdout
