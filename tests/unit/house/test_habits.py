"""What the tools go by names what is there: files, lanes and versions. A file that moves takes its name along."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = [ROOT / name for name in ("tox.ini", ".ci/run", "CONTRIBUTING.md", ".pre-commit-config.yaml", "pyproject.toml")]
FILES += sorted(path for path in ROOT.glob(".github/**/*") if path.is_file())
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOX = (ROOT / "tox.ini").read_text(encoding="utf-8")


def paths_in(text: str) -> set[str]:
    """What is named below a folder of ours, without what goes on with a pattern."""
    found = re.findall(
        r"(?<![\w./-])(?:tests|benchmarks|building|examples|docs|looop_portable|changelog\.d)/[\w./*-]*",
        text.replace("\\.", "."),
    )
    return {path.rstrip(".").partition("*")[0].rpartition("/")[0] if "*" in path else path.rstrip(".") for path in found}


def lanes_in(text: str) -> set[str]:
    """The environments of tox that commands name, but those that are Pythons."""
    found = re.findall(r"tox (?:run )?(?:--\S+ \S+ )*-e ([a-z][\w,]*)", text)
    return {lane for each in found for lane in each.split(",") if not re.fullmatch(r"py\d*", lane)}


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_paths_that_a_tool_is_given_are_there(file: Path) -> None:
    assert [path for path in sorted(paths_in(file.read_text(encoding="utf-8"))) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_lanes_that_are_named_are_tox_s(file: Path) -> None:
    assert lanes_in(file.read_text(encoding="utf-8")) <= {*re.findall(r"^\[testenv:(\w+)\]", TOX, flags=re.MULTILINE)}


def test_the_checks_see_what_is_named() -> None:
    assert paths_in("run `tests/gone.py`, docs/*.svg, tests/lanes/old/run.") == {
        "tests/gone.py",
        "docs",
        "tests/lanes/old/run",
    }
    assert lanes_in("tox run -e lint,types; tox -e py311 -- x; tox run --workdir there -e chaos") == {
        "lint",
        "types",
        "chaos",
    }


def test_what_coverage_leaves_out_is_there() -> None:
    left_out = CONFIGURATION["tool"]["coverage"]["report"]["omit"]
    assert [pattern for pattern in left_out if not list((ROOT / "looop_portable").glob(pattern.removeprefix("*/")))] == []


def test_each_hook_is_one_version_and_actionlint_s_is_that_of_its_lane() -> None:
    pins = re.findall(r"additional_dependencies: \[(.*)\]", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert len(pins) >= 5
    assert all(re.fullmatch(r'"[\w./-]+(==|@v)[\d.]+"', pin) for pin in pins)
    assert re.findall(r"actionlint@\S+", TOX)[0] in " ".join(pins)


def test_the_changelog_has_the_line_that_releases_go_below() -> None:
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").count(
        CONFIGURATION["tool"]["towncrier"]["start_string"]
    ) == 1


def test_each_fragment_is_of_a_known_type_and_has_a_sentence() -> None:
    types = "|".join(each["directory"] for each in CONFIGURATION["tool"]["towncrier"]["type"])
    for fragment in (ROOT / "changelog.d").iterdir():
        assert fragment.name == "README.md" or re.fullmatch(rf"(\+[\w-]+|\d+)\.({types})\.md", fragment.name)
        assert fragment.read_text(encoding="utf-8").rstrip().endswith(".")
