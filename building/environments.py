"""Environments with nothing in them but distributions of ours and what these depend on; not even pip.

Guarantees: no package of anybody else is taken for one of ours, whatever an index has under that name.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from distributions import Distribution, distributions


def made(where: Path, wanted: Sequence[Distribution], *more: str) -> Path:
    """A new environment with these, with what their extras add, and with `more`. Its Python."""
    venv.create(where, with_pip=False, symlinks=sys.platform != "win32")
    python = where / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-warn-script-location"]
    ours = [f"{each.name}=={each.version}" for each in wanted]
    subprocess.run([*pip, "--no-index", "--no-deps", "--find-links", _wheels(), *ours], check=True)
    subprocess.run([*pip, *theirs(wanted), *more], check=True)
    return python


def theirs(wanted: Sequence[Distribution]) -> list[str]:
    """What these need of others."""
    return sorted({each for found in wanted for each in found.requirements if not each.startswith("looop-portable")})


def packages(python: Path) -> Path:
    """The directory of what is installed for it."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())


def _wheels() -> str:
    """Where the wheels are: what DIST names, or a directory in which they are built now."""
    given = os.environ.get("DIST")
    return str(Path(given).resolve()) if given else _built().name


@functools.cache
def _built() -> tempfile.TemporaryDirectory[str]:
    into = tempfile.TemporaryDirectory(prefix="looop-portable-wheels-")
    folders = [str(each.folder) for each in distributions()]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", into.name, *folders], check=True
    )
    return into
