"""The page on choosing an engine does what it says, down to the server that it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.capabilities import needs_bash, needs_zombies
from support.pages import Lacking, environment_in, try_page

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "choose-an-engine.md"


@needs_bash
@needs_zombies
def test_the_examples_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    try:
        try_page(PAGE, tmp_path, environment_in(tmp_path))
    except Lacking as reason:
        pytest.skip(str(reason))
