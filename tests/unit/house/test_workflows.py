"""The workflows: what may write, what is pinned, and that a release is tested as any change is."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import needs_yaml

ROOT = Path(__file__).parents[3]
FILES = sorted(ROOT.glob(".github/workflows/*.yml"))
CLASSIFIERS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]

pytestmark = needs_yaml


def jobs_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read(ROOT / ".github" / "workflows" / name)["jobs"]
    return found


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = import_module("yaml").safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_nothing_is_permitted_but_to_jobs_and_each_action_is_pinned(file: Path) -> None:
    assert read(file)["permissions"] == {}
    used = re.findall(r"uses: (.*)", file.read_text(encoding="utf-8"))
    assert [each for each in used if not re.match(r"\./|[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", each)] == []


def test_an_action_is_pinned_to_one_version_everywhere() -> None:
    pins = [re.findall(r"uses: ([\w-]+/[\w.-]+)@(\S+)", path.read_text(encoding="utf-8")) for path in FILES]
    assert len({name for found in pins for name, _ in found}) == len({pin for found in pins for pin in found})


def test_only_what_publishes_has_an_identity_and_people_have_to_agree() -> None:
    writes = {
        (path.name, job, right)
        for path in FILES
        for job, found in read(path)["jobs"].items()
        for right, degree in found["permissions"].items()
        if degree == "write"
    }
    assert writes == {("release.yml", "publish", "id-token"), ("release.yml", "announce", "contents")}
    publish = jobs_of("release.yml")["publish"]
    assert publish["environment"] == "pypi"
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_a_release_publishes_the_files_that_were_tested() -> None:
    jobs = jobs_of("release.yml")
    assert (jobs["wheels"]["uses"], jobs["wheels"]["needs"]) == (jobs_of("ci.yml")["wheels"]["uses"], "tag")
    assert {"wheels", "contents"} == set(jobs["publish"]["needs"])
    assert jobs["announce"]["needs"] == "publish"
    builds = [path.name for path in FILES if "-m build" in path.read_text(encoding="utf-8")]
    assert builds == ["wheels.yml"]


def test_each_python_that_the_classifiers_name_is_tried() -> None:
    matrix = jobs_of("wheels.yml")["tests"]["strategy"]["matrix"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(CLASSIFIERS))
    assert matrix["python"] == [*named, f"{named[-1]}t"]
    assert [each.partition("-")[0] for each in matrix["os"]] == ["ubuntu", "macos", "windows"]


def test_what_the_workflows_build_with_is_what_builds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["package"])
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["suite"])
