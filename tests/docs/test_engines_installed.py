"""How an engine is installed from a clone: the documents give the command, and it has all that the extra asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/how-to/choose-an-engine.md")
DOCUMENTS = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_documents_give_the_command_that_installs_it_from_a_clone(extra: str) -> None:
    """The distributions are not on PyPI: what the extra names is found nowhere, and its folder has to be named."""
    (wanted,) = EXTRAS[extra]
    name, _, more = wanted.partition("[")
    folder = ROOT / "backends" / extra
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == name
    assert not more or more.rstrip("]") in project["optional-dependencies"]
    path = f"./backends/{extra}{f'[{more}' if more else ''}"
    assert re.search(rf'^pip install \. "?{re.escape(path)}"?$', DOCUMENTS, flags=re.MULTILINE)
    own = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(rf'pip install \. "?{re.escape(path)}', own)
    for line in [*DOCUMENTS.splitlines(), *own.splitlines()]:
        assert not re.search(r"pip install \S*looop-portable", line), f"nothing of that name is published: {line}"
