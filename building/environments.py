"""Environments with nothing in them but distributions of ours and what these depend on; not even pip."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from distributions import ROOT, Distribution


def made(where: Path, wanted: Sequence[Distribution], *more: str) -> Path:
    """A new environment with these, and with `more`: its Python. With the extras of engines; those of the core are engines.

    They are built anew; where DIST names a directory, the wheels there are what is installed.
    """
    venv.create(where, with_pip=False, symlinks=True)
    python = where / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    extras = [f"[{','.join(each.extras)}]" if each.extras and each.folder != ROOT else "" for each in wanted]
    sources = [str(_source(each)) for each in wanted]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-warn-script-location"]
    subprocess.run([*command, *map("".join, zip(sources, extras, strict=True)), *more], check=True)
    return python


def _source(each: Distribution) -> Path:
    dist = os.environ.get("DIST")
    return Path(dist).resolve() / f"{each.file_name}-py3-none-any.whl" if dist else each.folder


def packages(python: Path) -> Path:
    """The directory of what is installed for it."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
