"""Our modules are found and read as Python would, at less cost; and no program is left with the finder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import looop_portable

PACKAGE = Path(looop_portable.__file__).parent
SAYS = "import sys, looop_portable, looop_portable.config as c; print(c.MARK, type(c.__spec__.loader).__name__)"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the package, in which a module says something."""
    shutil.copytree(PACKAGE, tmp_path / "looop_portable", ignore=shutil.ignore_patterns("__pycache__"))
    marked(tmp_path, "one")
    return tmp_path


def marked(place: Path, mark: str) -> None:
    path = place / "looop_portable" / "config.py"
    source = path.read_text(encoding="utf-8").partition("\nMARK = ")[0]
    path.write_text(f"{source}\nMARK = {mark!r}\n", encoding="utf-8")


def said(place: str | Path, program: str = SAYS, *options: str) -> str:
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=sys.prefix,  # Where we are comes first, and there is the package.
        env={**given, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_what_has_changed_is_read_anew(copied: Path) -> None:
    assert said(copied) == "one _Loader"
    compiled = list((copied / "looop_portable" / "__pycache__").glob("config.*.pyc"))
    assert len(compiled) == 1
    assert said(copied) == "one _Loader"
    marked(copied, "another")
    assert said(copied) == "another _Loader"
    assert said(copied) == "another _Loader"


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"short"])
def test_what_is_compiled_otherwise_is_not_taken(copied: Path, damage: bytes) -> None:
    assert said(copied) == "one _Loader"
    for compiled in (copied / "looop_portable" / "__pycache__").glob("config.*.pyc"):
        compiled.write_bytes(damage)
    assert said(copied) == "one _Loader"


def test_what_is_checked_by_its_content_is_python_s(copied: Path) -> None:
    how = "py_compile.PycInvalidationMode.CHECKED_HASH"
    program = f"import py_compile; py_compile.compile('looop_portable/config.py', invalidation_mode={how})"
    subprocess.run([sys.executable, "-c", program], cwd=copied, check=True)
    marked(copied, "another")
    assert said(copied) == "another _Loader"


@pytest.mark.parametrize("options", [["-O"], ["-OO"], ["-X", "pycache_prefix=elsewhere"]])
def test_where_python_is_told_otherwise_it_finds_them_itself(copied: Path, tmp_path: Path, options: list[str]) -> None:
    options = [each.replace("elsewhere", str(tmp_path / "elsewhere")) for each in options]
    assert said(copied, SAYS, *options) == "one SourceFileLoader"


def test_in_a_zip_file_python_finds_them_itself(copied: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", copied, "looop_portable")
    assert said(archive) == "one zipimporter"


def test_no_program_is_left_with_the_finder() -> None:
    program = "import sys; before = list(sys.meta_path); import looop_portable; print(before == sys.meta_path)"
    assert said(PACKAGE.parent, program) == "True"


def test_a_traceback_names_the_file_where_it_is(copied: Path, tmp_path: Path) -> None:
    assert said(copied) == "one _Loader"
    shutil.copytree(copied / "looop_portable", tmp_path / "moved" / "looop_portable", copy_function=shutil.copy2)
    program = "import looop_portable.config as c; print(c.resolve.__code__.co_filename)"
    assert said(tmp_path / "moved", program) == str(tmp_path / "moved" / "looop_portable" / "config.py")
