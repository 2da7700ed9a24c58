"""The README is short, and its sentences are, as are those of the pages that a newcomer reads first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FIRST_READ = [README, *(ROOT / "docs" / name for name in ("index.md", "tutorial.md", "explanation/guarantees.md"))]
LONGEST_README = 120
LONGEST_SENTENCE = 25
"""Words. A piece of code is one, however long; what a link shows is read, and where it leads is not."""
ENDS = re.compile(r"(?<=[.!?])[)*_\"']*\s+")


def spoken(tokens: list[Token]) -> str:
    """What is read aloud of one line, cell or paragraph."""
    said = ""
    for token in tokens:
        if token.type == "code_inline":
            said += "".join(token.content.split())
        elif token.type == "text":
            said += token.content
        elif token.type in {"softbreak", "hardbreak"}:
            said += " "
    return said


def sentences_in(text: str) -> Iterator[str]:
    """Of paragraphs, lists, headings, and each cell of a table. Blocks of code and comments have none."""
    for token in MarkdownIt().enable("table").parse(text):
        if token.type == "inline":
            yield from filter(None, (each.strip() for each in ENDS.split(spoken(token.children or []))))


def words_of(sentence: str) -> list[str]:
    return [word for word in sentence.split() if re.search(r"\w", word)]


def too_long(text: str) -> list[str]:
    return [sentence for sentence in sentences_in(text) if len(words_of(sentence)) > LONGEST_SENTENCE]


@pytest.mark.parametrize("page", FIRST_READ, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_sentence_is_long(page: Path) -> None:
    assert too_long(page.read_text(encoding="utf-8")) == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize(
    "text", ["{}.", "Short. {}!", "`a` is. {}", "- Short.\n- {}", "# {}", "|a|b|\n|-|-|\n|short|{}|", "[{}](a)"]
)
def test_a_long_sentence_is_found(text: str) -> None:
    allowed, long = (" ".join(["word"] * (LONGEST_SENTENCE + more)) for more in (0, 1))
    assert too_long(text.format(allowed)) == []
    (found,) = too_long(text.format(long))
    assert found.rstrip(".!") == long


def test_code_is_a_word_and_a_block_is_none() -> None:
    code = "`" + "word " * 30 + "`"
    assert list(sentences_in(f"Run {code} now. Then stop.\n\n```sh\n{code}\n```\n\n<!-- {code} -->\n")) == [
        f"Run {'word' * 30} now.",
        "Then stop.",
    ]
