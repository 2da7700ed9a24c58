"""The threat model names a test for each attack: each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests|backends)/[\w/]+\.py(?:::\w+)?)`", MODEL)))
UNDEFENDED = "not defended"


def defined_in(path: Path) -> set[str]:
    return {each.name for each in ast.walk(ast.parse(path.read_bytes())) if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("named", NAMED)
def test_each_test_that_it_names_is_there(named: str) -> None:
    path, _, test = named.partition("::")
    assert (ROOT / path).is_file()
    assert not test or (test.startswith("test_") and test in defined_in(ROOT / path))


def test_each_attack_has_a_test_or_is_said_not_to_be_defended() -> None:
    attacks = MODEL.partition("## Attacks")[2].partition("## Fuzzing")[0]
    rows = [line for line in attacks.splitlines() if line.startswith("| ") and not line.startswith("| attack ")]
    assert len(rows) > 40
    assert len(NAMED) > 50
    for row in rows:
        attack, happens, *tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert ".py" in tests[-1] or UNDEFENDED in happens, attack
