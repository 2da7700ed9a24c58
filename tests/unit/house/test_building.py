"""What is uploaded: which tag may be released, which licences, and what an audit says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest
from audit import SKIPPED, judged
from distributions import ROOT, Distribution, distributions, problems_of_tag
from licences import ALLOWED, ELSEWHERE, listed, problems_of
from tag import notes_of

import looop_portable

FOUND = distributions()


def test_all_distributions_are_found_and_have_the_version_that_the_code_has() -> None:
    engines = [f"looop-portable-{extra}" for extra in sorted(FOUND[0].extras)]
    assert [each.name for each in FOUND] == ["looop-portable", *engines]
    assert {each.version for each in FOUND} == {looop_portable.__version__}


@pytest.mark.parametrize("tag", ["v0.2.0", "0.2.0", "v0.2", "v0.2.0-rc1", "v0.2.0 ", "release", ""])
def test_a_tag_that_some_distribution_has_not_is_refused(tag: str) -> None:
    found = [Distribution(ROOT, "core", "0.2.0", (), ()), Distribution(ROOT, "engine", "0.1.0", (), ())]
    assert list(problems_of_tag(tag, found)) != []


def test_a_tag_that_all_have_is_released() -> None:
    assert list(problems_of_tag("v0.2.0rc1", [Distribution(ROOT, "core", "0.2.0rc1", (), ())])) == []
    assert list(problems_of_tag(f"v{looop_portable.__version__}", FOUND)) == []


def test_the_command_refuses_a_tag_and_says_why_for_each_distribution() -> None:
    command = [sys.executable, str(ROOT / "building" / "tag.py"), "v99.0.0"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert [refused.stderr.count(f"{each.name} has version") for each in FOUND] == [1] * len(FOUND)
    assert "CHANGELOG.md" in refused.stderr


def test_the_table_of_licences_has_each_package_that_is_asked_for() -> None:
    asked = {re.split(r"[\[<>=; ]", each)[0] for found in FOUND for each in found.requirements}
    table = listed()
    assert {name for name in asked if not name.startswith("looop-portable")} <= table.keys()
    assert set(ELSEWHERE) <= table.keys()
    assert problems_of({}, table) == []


def test_a_licence_that_is_not_allowed_or_not_in_the_table_is_a_problem() -> None:
    assert "AGPL-3.0-only" not in ALLOWED
    assert problems_of({"one": "AGPL-3.0-only"}, {"one": "AGPL-3.0-only"}) == ["one: AGPL-3.0-only is not allowed"]
    assert problems_of({"one": "MIT"}, {}) == ["one: MIT, and the table has no line"]
    assert problems_of({"one": "MIT"}, {"one": "Apache-2.0"}) == ["one: MIT, and the table has Apache-2.0"]


def audited(*packages: dict[str, object]) -> tuple[str, list[str]]:
    return judged(json.dumps({"dependencies": packages}), "", {"ours"})


def test_an_audit_says_what_is_vulnerable_and_that_it_could_not_ask() -> None:
    fine: dict[str, object] = {"name": "click", "version": "8.2", "vulns": []}
    unknown: dict[str, object] = {"name": "rich", "skip_reason": "not found"}
    assert audited(fine, {"name": "ours", "skip_reason": "not found"}) == ("asked about: click", [])
    assert audited({**fine, "vulns": [{"id": "CVE-1"}]})[1] == ["click 8.2: CVE-1"]
    assert audited(fine, unknown)[1] == ["rich: not known to PyPI"]
    assert audited(unknown) == (f"{SKIPPED}: it knows none of 1 packages", [])
    assert judged("", "Traceback\nno route to host\n", set()) == (f"{SKIPPED}: no route to host", [])


def test_each_distribution_brings_the_licence() -> None:
    texts = {each.name: (each.folder / "LICENSE").read_text(encoding="utf-8") for each in FOUND}
    assert set(texts.values()) == {texts["looop-portable"]}
    projects = [tomllib.loads((each.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"] for each in FOUND]
    assert [project["license-files"] for project in projects] == [["LICENSE"]] * len(FOUND)


def test_what_is_new_in_a_version_is_what_stands_below_its_heading() -> None:
    older = "## 0.1.0 - 2026-01-01\n\n- first\n"
    changelog = f"# Changes\n\n## Unreleased\n\nold\n\n## 0.2.0 - 2026-12-01\n\n### Added\n\n- one\n\n{older}"
    assert notes_of("0.2.0", changelog) == "### Added\n\n- one"
    assert notes_of("0.1.0", changelog) == "- first"
    assert notes_of("0.3.0", changelog) == notes_of("0.2", changelog) == ""
