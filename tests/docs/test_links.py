"""What the documents link to is there; the benchmarks' picture can be shown."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_links_to_is_there(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_links_to_the_benchmarks_and_they_to_their_picture() -> None:
    assert "](docs/benchmarks.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](benchmarks.svg)" in (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    picture = ElementTree.parse(ROOT / "docs" / "benchmarks.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
