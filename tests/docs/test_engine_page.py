"""The page that builds the example of an engine up shows the code of the example, all of it."""

from __future__ import annotations

from pathlib import Path

from support.pages import blocks_of

ROOT = Path(__file__).resolve().parents[2]


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def test_the_pieces_of_the_page_are_the_example() -> None:
    blocks = blocks_of(ROOT / "docs" / "how-to" / "write-an-engine.md")
    pieces = {block.says["file"]: block.text for block in blocks if block.says.get("file", "").startswith("part-")}
    shown = [line for name in sorted(pieces) for line in lines_of(pieces[name])]
    assert shown == lines_of((ROOT / "examples" / "sqlite_engine.py").read_text(encoding="utf-8"))
