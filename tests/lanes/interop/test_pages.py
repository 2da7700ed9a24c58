"""The page that shows how to share a directory, with the real looop on PATH under the name that the page gives it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.capabilities import needs_bash
from support.pages import environment_in, try_page

from .rustlooop import Rust

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "how-to" / "share-with-looop.md"


@needs_bash
def test_the_examples_of_the_page_do_what_it_says(
    rust_looop: Rust, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not rust_looop.fails_closed:
        pytest.skip(f"looop {rust_looop.version} is older than the page says")
    links, home = short / "bin", tmp_path
    links.mkdir()
    (links / "rust-looop").symlink_to(rust_looop.path)
    rust = rust_looop.environment(short)["PATH"]
    monkeypatch.setenv("PATH", os.pathsep.join([str(links), rust]))  # By which it is found out what is here.
    assert try_page(PAGE, home, environment_in(home)) >= 6
