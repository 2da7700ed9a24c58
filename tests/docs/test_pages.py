"""What the documents show is run, and does what they say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.capabilities import needs_bash, needs_zombies
from support.pages import Block, Lacking, Untrue, blocks_of, environment_in, fits, is_accounted_for, try_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    ROOT / "docs" / "tutorial.md",
    *sorted((ROOT / "docs").glob("how-to/*.md")),
    *sorted((ROOT / "docs").glob("reference/*.md")),
]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@needs_bash
@needs_zombies
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_examples_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    try:
        try_page(page, tmp_path, environment_in(tmp_path))
    except Lacking as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_example_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    assert [(block.line, block.language) for block in blocks_of(page) if not is_accounted_for(block)] == []


def test_not_one_in_five_examples_is_not_run() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    assert 5 * sum("not run" in block.says for block in blocks) <= len(blocks)


@needs_bash
@needs_zombies
@pytest.mark.parametrize(
    "text",
    [
        "```sh\nfalse\ntrue\n```",
        "```sh\nexit 9\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ echo one; echo two\none\n```",
        "```python\nraise SystemExit(1)\n```",
        "```python\nprint(1)\n```\n\n<!-- prints -->\n```text\n2\n```",
        "<!-- file: a -->\n```text\none\n```\n\n```console\n$ cat a\ntwo\n```",
    ],
)
def test_a_page_that_is_wrong_is_found(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(Untrue):
        try_page(page, tmp_path, dict(os.environ))


RIGHT = """
<!-- file: a -->
```text
one
```

```console
$ cat a; \\
> echo 12 days
one
... days
$ false; echo $?
1
```

<!-- shell: second -->
```sh
name=ours
```

```sh
test -z "${name:-}"
```

<!-- shell: second -->
```console
$ echo $name
ours
$ kill -9 $$
```

<!-- shell: second -->
```console
$ echo "$name"; read x; echo $?

1
```
"""


@needs_bash
@needs_zombies
def test_a_page_that_is_right_passes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(RIGHT, encoding="utf-8")
    assert try_page(page, tmp_path, dict(os.environ)) == 5


def test_what_nobody_runs_has_to_say_why() -> None:
    assert not is_accounted_for(Block(1, "powershell", "x", {}))
    assert is_accounted_for(Block(1, "powershell", "x", {"not run": "no PowerShell here"}))


def test_dots_stand_for_a_part_of_a_line_or_for_lines() -> None:
    assert fits("a ... c\n", "a b c\n")
    assert not fits("a ... c\n", "a b\nc\n")
    assert fits("a\n...\nc\n", "a\nb\nb\nc\n")
    assert fits("", "")
    assert not fits("", "a\n")
