"""What the documents link to and name is there, each is found from the map, and the benchmarks' picture can be shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.pages import blocks_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "looop_portable"
MAP = ROOT / "ARCHITECTURE.md"
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
OF_THE_CODE = [MAP, *ROOT.glob("docs/**/*.md")]
"""Those that name files of this repository."""
LONGEST_MAP = 150
FOLDERS = ["looop_portable", "tests", "benchmarks", "building", "examples"]
PROGRAMS = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def links_in(document: Path) -> Iterator[tuple[Path, str]]:
    """What is linked to below `ROOT`: the file, and which heading of it, if one is named."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path, _, heading = link.partition("#")
        yield (document.parent / path).resolve() if path else document, heading


def headings_of(document: Path) -> set[str]:
    """As GitHub spells them in links."""
    prose = without_examples(document.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def without_examples(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def programs_named_in(text: str) -> set[str]:
    """The words in backticks that end in .py."""
    quoted = re.findall(r"`([^`\n]+)`", without_examples(text))
    return {word.strip(",;:()") for each in quoted for word in each.split() if word.strip(",;:()").endswith(".py")}


def missing(programs: set[str]) -> list[str]:
    """Those that are neither below the repository nor below the package."""
    return sorted(each for each in programs if not ((ROOT / each).is_file() or (PACKAGE / each).is_file()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_a_document_links_to_is_there(document: Path) -> None:
    assert [str(target) for target, _ in links_in(document) if not target.exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_headings_that_a_document_links_to_are_there(document: Path) -> None:
    linked = [(target, heading) for target, heading in links_in(document) if heading]
    assert [(name_of(target), heading) for target, heading in linked if heading not in headings_of(target)] == []


@pytest.mark.parametrize("document", OF_THE_CODE, ids=name_of)
def test_each_program_that_a_document_names_is_there(document: Path) -> None:
    its_own = {block.says["file"] for block in blocks_of(document) if "file" in block.says}
    assert missing(programs_named_in(document.read_text(encoding="utf-8")) - its_own) == []


def test_the_check_of_programs_sees_one_that_is_not_there() -> None:
    text = "`claims/gate.py`, `python examples/takeover.py`, `claims/gates.py`; `gate.py`\n```sh\npython nowhere.py\n```\n"
    assert missing(programs_named_in(text)) == ["claims/gates.py", "gate.py"]


def test_each_document_that_a_program_names_is_there() -> None:
    named = {
        (name_of(program), document)
        for program in PROGRAMS
        for document in re.findall(r"\bdocs/[\w./-]+\.md\b", program.read_text(encoding="utf-8"))
    }
    assert named
    assert [(program, document) for program, document in sorted(named) if not (ROOT / document).is_file()] == []


def test_the_map_is_short() -> None:
    assert len(MAP.read_text(encoding="utf-8").splitlines()) <= LONGEST_MAP


def test_the_map_has_each_room_and_no_other() -> None:
    rooms = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")} - {"."}
    table = MAP.read_text(encoding="utf-8").partition("\n## Rooms\n")[2].partition("\n## ")[0]
    named = {folder.rstrip("/") for folder in re.findall(r"`([\w/]+/)`", table)}
    assert named == rooms


def test_each_document_is_found_from_the_map() -> None:
    found, new = {MAP}, [MAP]
    while new:
        targets = {target for target, _ in links_in(new.pop()) if target.suffix == ".md" and target.is_file()}
        new += targets - found
        found |= targets
    assert [name_of(document) for document in OF_THE_CODE if document not in found] == []


def test_the_readme_links_to_the_benchmarks_and_they_to_their_picture() -> None:
    assert "](docs/benchmarks.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](benchmarks.svg)" in (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    picture = ElementTree.parse(ROOT / "docs" / "benchmarks.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
