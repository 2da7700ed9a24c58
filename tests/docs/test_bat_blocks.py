"""The `bat` blocks of the pages, typed into cmd.exe where there is one, line by line: none fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import CMD, needs_cmd
from support.pages import Block, blocks_of

import looop_portable

ROOT = Path(__file__).parents[2]
FAILED = "THAT LINE FAILED"
READ = {page.name: blocks_of(page) for page in sorted((ROOT / "docs").glob("**/*.md"))}
PAGES = {name: blocks for name, blocks in READ.items() if any(block.language == "bat" for block in blocks)}


def test_a_page_has_such_blocks() -> None:
    assert "windows.md" in PAGES


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With `looop.exe`, as pip makes it, and with each directory that a profile has below `tmp_path`."""
    scripts = pytest.importorskip("pip._vendor.distlib.scripts", reason="pip is missing, which makes launchers")
    maker = scripts.ScriptMaker(None, str(tmp_path))
    maker.executable, maker.variants = sys.executable, {""}
    maker.make("looop = looop_portable.__main__:main")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("LOOOP_")}
    profile = dict.fromkeys(("LOCALAPPDATA", "APPDATA", "PROGRAMDATA", "USERPROFILE"), str(tmp_path))
    package = str(Path(looop_portable.__file__).parents[1])
    return {**kept, **profile, "PATH": f"{tmp_path};{os.environ['PATH']}", "PYTHONPATH": package}


def typed(lines: list[str], where: Path, environment: dict[str, str]) -> str:
    """What cmd.exe prints, on stderr too, when somebody types these. After one that fails it says so."""
    # From a file, as Wine's cmd.exe loses what it has read too far of a pipe.
    script = where / "typed"
    script.write_text("".join(f"{line}\n@if errorlevel 1 echo {FAILED}\n" for line in [*lines, "exit /b 0"]))
    with script.open() as given:
        done = subprocess.run(
            [CMD, "/d", "/q"],
            cwd=where,
            env=environment,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
    return done.stdout


def tried(blocks: list[Block], where: Path, environment: dict[str, str]) -> str:
    lines = []
    for block in blocks:
        if "file" in block.says:
            (where / block.says["file"]).write_bytes(block.text.replace("\n", "\r\n").encode())
        elif block.language == "bat" and "not run" not in block.says:
            lines += block.text.splitlines()
    return typed(lines, where, environment)


@needs_cmd
@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_lines_of_a_page_can_be_typed(page: str, tmp_path: Path, environment: dict[str, str]) -> None:
    told = tried(PAGES[page], tmp_path, environment)
    assert FAILED not in told.replace(f"echo {FAILED}", ""), told
    assert "claimed" in told


@needs_cmd
def test_a_line_that_fails_is_found(tmp_path: Path, environment: dict[str, str]) -> None:
    told = tried([Block(1, "bat", "looop claim repo-x\n", {})], tmp_path, environment)
    assert FAILED in told.replace(f"echo {FAILED}", ""), told
