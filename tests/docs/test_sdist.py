"""What is distributed as source has all that its documents name: the README's commands work in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from support.capabilities import needs_hatchling, needs_sh

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
INCLUDED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
    "sdist"
]["include"]


def named_in(document: Path) -> set[str]:
    """What is at the top of the tree and linked to, or named in a command."""
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    links = [Path(os.path.relpath(document.parent / link, ROOT)).as_posix() for link in found]
    words = re.findall(r"(?<![\w./-])[\w.][\w./-]*", " ".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)))
    return {Path(word).parts[0] for word in [*links, *words] if (ROOT / word).exists() and word.strip("./")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_distributed(document: Path) -> None:
    assert document.relative_to(ROOT).parts[0] in INCLUDED
    assert named_in(document) <= set(INCLUDED)


@needs_hatchling
@needs_sh
def test_the_readme_s_first_command_does_what_it_says_in_what_is_distributed(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    source = next((tmp_path / "source").iterdir())
    assert [str(document) for document in DOCUMENTS if not (source / document.relative_to(ROOT)).exists()] == []
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "looop").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m looop_portable "$@"\n')
    (programs / "looop").chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(source), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"XDG_STATE_HOME": str(tmp_path / "state"), "LOOOP_LEASE": "0"}
    script = re.search(r"sh (examples/\S+)", (source / "README.md").read_text(encoding="utf-8"))
    assert script
    done = subprocess.run(
        [str(shutil.which("sh")), script[1]], cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "third" in done.stdout
